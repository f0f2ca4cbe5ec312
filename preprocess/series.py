"""A study's series: what each one is, whether it is a usable volume, and which one is taken first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from preprocess.dicom_headers import DicomHeader
from preprocess.series_rules import CONTRAST, is_sharp, load_series_rules, phase_of, phase_rank

SeriesChoice = Literal["primary", "one_per_phase", "all"]


@dataclass(frozen=True)
class SeriesSource:
    """One series as it lies on disk, and what its headers say.

    Attributes:
        name: Series UID, or what stands for it where that is empty or not unique; private, never stored as it is.
        kind: How its files are read.
        paths: Of its files, sorted part by part.
        refusal: Why it cannot be a volume; None for a candidate.
        slices: Number of frames.
        step_mm: Distance between slices, from positions; None where unknown before reading.
        coverage_mm: Distance from the first to the last slice.
        range_mm: Lowest and highest place (S) of its slices in the patient.
        plane: How the slices lie in the patient.
        original: False for derived or secondary images.
        kernel: Reconstruction kernel, as written.
        phase: Contrast phase, where a header says it.
        phase_source: Which header said so.
    """

    name: str
    kind: Literal["dicom", "nifti", "itk"]
    paths: tuple[str, ...]
    refusal: str | None = None
    slices: int | None = None
    step_mm: float | None = None
    coverage_mm: float | None = None
    range_mm: tuple[float, float] | None = None
    plane: Literal["axial", "coronal", "sagittal", "unknown"] = "unknown"
    original: bool = True
    kernel: str | None = None
    phase: str | None = None
    phase_source: str | None = None

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """Its files, sorted."""
        return tuple(map(Path, self.paths))


def path_order(path: str) -> list[str]:
    """What paths are sorted by: their parts, as `Path` does."""
    return path.split("/")


def series_from_headers(headers: Sequence[DicomHeader], folder: Path) -> list[SeriesSource]:
    """Series of one study's files, usable or not, sorted by name.

    Files belong together by series UID, orientation, size and pixel spacing; by folder too where the UID is empty.
    Slices that then share a place are parted by folder, acquisition, time point, series number, kernel or
    description, whichever first gives every slice its own place.

    Args:
        headers: Sorted by path.
        folder: Where the archive begins.
    """
    found = [_refused_series(group, name, reason) for (name, reason), group in _group_refused(headers, folder)]
    for group in _group_images([header for header in headers if header.shared.refusal is None]):
        unique = _without_copies(group)
        parts = _part(unique)
        for number, part in enumerate(parts):
            suffix = f"#{number}" if len(parts) > 1 else ""
            found.append(_candidate(part, _name(part[0], folder) + suffix))
    return sorted(_with_unique_names(found), key=lambda series: series.name)


def choose_series(found: Iterable[SeriesSource]) -> tuple[list[SeriesSource], list[tuple[SeriesSource, str]]]:
    """Candidates, the one to take first at the head, and the rest with the reason.

    The order is that of `data/series.yaml`, at last by name.
    """
    candidates = [series for series in found if series.refusal is None]
    left_out = [(series, series.refusal) for series in found if series.refusal is not None]
    axial = [series for series in candidates if series.plane == "axial"]
    longest = max(axial, key=lambda series: (series.coverage_mm or 0, series.name), default=None)
    whole = []
    for series in candidates:
        fragment = _fragment(series, longest)
        if fragment is None:
            whole.append(series)
        else:
            left_out.append((series, fragment))
    return sorted(whole, key=_rank), left_out


def passed_over(series: SeriesSource, kept: Sequence[SeriesSource], choice: SeriesChoice) -> str | None:
    """Why a candidate is not read, given those of its study that were; None where it is to be read.

    Args:
        series: The next candidate, in the order of `choose_series`.
        kept: Series that were read and stored.
        choice: How many volumes of a study are kept.
    """
    if not kept or choice == "all":
        return None
    if choice == "primary":
        return "another series was preferred"
    if any(_same_phase(series, other) and _same_region(series, other) for other in kept):
        return "another series of this phase and region was preferred"
    return None


def _fragment(series: SeriesSource, longest: SeriesSource | None) -> str | None:
    """Why an axial series is a mere fragment beside the longest one, or None."""
    if longest is None or series is longest or series.plane != "axial":
        return None
    rules, covered, most = load_series_rules().fragment, series.coverage_mm or 0, longest.coverage_mm or 0
    short = covered < rules.share * most and _same_region(series, longest)
    if short or covered < min(rules.mm, rules.share * most):
        return f"covers {covered:.0f} mm of the {most:.0f} mm that another series covers"
    return None


def _same_phase(series: SeriesSource, kept: SeriesSource) -> bool:
    """Whether nothing tells that a series shows another phase than one that is kept.

    An unknown phase may be any, and one that is only known to have contrast may be any but native: mostly they are
    further reconstructions of the same scan.
    """
    if series.phase == CONTRAST:
        return kept.phase not in (None, "native")
    return series.phase is None or series.phase == kept.phase


def _same_region(one: SeriesSource, other: SeriesSource) -> bool:
    """Whether the ranges of two series overlap by a good part of the shorter one; so they do where one is unknown."""
    if one.range_mm is None or other.range_mm is None:
        return True
    overlap = min(one.range_mm[1], other.range_mm[1]) - max(one.range_mm[0], other.range_mm[0])
    shorter = min(high - low for low, high in (one.range_mm, other.range_mm))
    return overlap >= load_series_rules().same_region * shorter


def _rank(series: SeriesSource) -> tuple[object, ...]:
    places = {
        "axial": series.plane not in ("axial", "unknown"),
        "original": not series.original,
        "soft": is_sharp(series.kernel),
        "thin": round(series.step_mm or 0, 2),
        "many": -(series.slices or 0),
        "phase": phase_rank(series.phase),
    }
    return (*(places[criterion] for criterion in load_series_rules().order), series.name)


def _name(header: DicomHeader, folder: Path) -> str:
    """Series UID, else the folder below the archive."""
    return header.shared.series_uid or Path(header.path).parent.relative_to(folder).as_posix()


def _group_refused(headers: Sequence[DicomHeader], folder: Path) -> list[tuple[tuple[str, str], list[DicomHeader]]]:
    groups: dict[tuple[str, str], list[DicomHeader]] = {}
    for header in headers:
        if header.shared.refusal is not None:
            groups.setdefault((_name(header, folder), header.shared.refusal), []).append(header)
    return sorted(groups.items(), key=lambda item: item[0])


def _refused_series(headers: Sequence[DicomHeader], name: str, reason: str) -> SeriesSource:
    paths = tuple(header.path for header in headers)
    return SeriesSource(name, "dicom", paths, refusal=reason, slices=len(paths))


def _group_images(headers: Sequence[DicomHeader]) -> list[list[DicomHeader]]:
    """Headers that belong together; those that share an object, and the folder where it counts, are compared once."""
    groups: list[list[DicomHeader]] = []
    homes: dict[tuple[int, str], list[DicomHeader]] = {}
    for header in headers:
        kind = (id(header.shared), "" if header.shared.series_uid else _folder(header))
        home = homes.get(kind)
        if home is None:
            home = next((group for group in groups if _belong_together(group[0], header)), None)
            if home is None:
                groups.append(home := [])
            homes[kind] = home
        home.append(header)
    return groups


def _belong_together(one: DicomHeader, other: DicomHeader) -> bool:
    first, second = one.shared, other.shared
    if first.series_uid != second.series_uid or first.size != second.size:
        return False
    if not first.series_uid and _folder(one) != _folder(other):
        return False
    turned = np.abs(np.subtract(first.orientation, second.orientation)).max()  # type: ignore[arg-type]
    scaled = np.abs(np.subtract(first.pixel_spacing, second.pixel_spacing)).max()  # type: ignore[arg-type]
    return bool(turned < 1e-2 and scaled < 1e-3)


def _folder(header: DicomHeader) -> str:
    return header.path.rpartition("/")[0]


def _without_copies(headers: Sequence[DicomHeader]) -> list[DicomHeader]:
    """One file of each SOP instance.

    An empty instance UID says nothing, and one that several files of other places or other acquisitions share says
    nothing either.
    """
    kept: dict[object, DicomHeader] = {}
    for number, header in enumerate(headers):
        uid = header.instance_uid
        kept.setdefault((uid, header.positions, header.shared.splits) if uid else number, header)
    return list(kept.values())


def _part(headers: list[DicomHeader]) -> list[list[DicomHeader]]:
    """The headers as one series, or parted so that no two slices of a part share a place."""
    if not _collide(headers):
        return [headers]
    labels = [[("folder", _folder(header)), *header.shared.splits] for header in headers]
    for choice in range(len(labels[0])):
        parts: dict[str, list[DicomHeader]] = {}
        for header, of_header in zip(headers, labels, strict=True):
            parts.setdefault(of_header[choice][1], []).append(header)
        if len(parts) > 1 and not any(_collide(part) for part in parts.values()):
            return [parts[label] for label in sorted(parts)]
    return [headers]  # the reader refuses it and says where slices share a place


def _normal(header: DicomHeader) -> tuple[float, float, float]:
    """Unit vector across a slice that has a place in the patient."""
    ux, uy, uz, vx, vy, vz = header.shared.orientation  # type: ignore[misc]
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


def _positions(headers: Sequence[DicomHeader]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(frame, 3) places of all frames in LPS mm."""
    return np.frombuffer(b"".join([header.positions for header in headers])).reshape(-1, 3)


def _along(headers: Sequence[DicomHeader]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Sorted places of all frames along their normal, in mm."""
    places: np.ndarray[tuple[int], np.dtype[np.float64]] = np.sort(_positions(headers) @ np.array(_normal(headers[0])))
    return places


def _collide(headers: Sequence[DicomHeader]) -> bool:
    places = _along(headers)
    return bool((places[1:] - places[:-1] < 1e-3).any())


def _candidate(headers: Sequence[DicomHeader], name: str) -> SeriesSource:
    first = headers[0].shared
    places, heights = _along(headers), _positions(headers)[:, 2]
    main = int(np.abs(_normal(headers[0])).argmax())
    phase, phase_source = phase_of(first.description, first.contrast)
    few = f"only {len(places)} slices" if len(places) < load_series_rules().min_slices else None
    return SeriesSource(
        name=name,
        kind="dicom",
        paths=tuple(header.path for header in headers),
        refusal=few,
        slices=len(places),
        step_mm=float(np.median(np.diff(places))) if len(places) > 1 else None,
        coverage_mm=float(np.ptp(places)),
        range_mm=(float(heights.min()), float(heights.max())),
        plane=("sagittal", "coronal", "axial")[main],
        original=all(header.shared.original for header in headers),
        kernel=first.kernel,
        phase=phase,
        phase_source=phase_source,
    )


def _with_unique_names(found: Sequence[SeriesSource]) -> list[SeriesSource]:
    """Series that share a UID get numbers, in the order of their first files."""
    seen: dict[str, int] = {}
    named = []
    for series in sorted(found, key=lambda series: (series.name, path_order(series.paths[0]))):
        count = seen.get(series.name, 0)
        seen[series.name] = count + 1
        named.append(replace(series, name=f"{series.name}@{count}") if count else series)
    return named
