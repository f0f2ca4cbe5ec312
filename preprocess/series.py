"""A study's series: what each one is, whether it is a usable volume, and which one is taken first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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
        files: Sorted paths.
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
    files: tuple[Path, ...]
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


def series_from_headers(headers: Sequence[DicomHeader], folder: Path) -> list[SeriesSource]:
    """Series of one study's files, usable or not, sorted by name; `folder` is where the archive begins.

    Files belong together by series UID, orientation, size and pixel spacing; by folder too where the UID is empty.
    Slices that then share a place are parted by folder, acquisition, time point, series number, kernel or
    description, whichever first gives every slice its own place.
    """
    found = [_refused_series(group, name, reason) for (name, reason), group in _group_refused(headers, folder)]
    for group in _group_images([header for header in headers if header.refusal is None]):
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
    return header.series_uid or header.path.parent.relative_to(folder).as_posix()


def _group_refused(headers: Sequence[DicomHeader], folder: Path) -> list[tuple[tuple[str, str], list[DicomHeader]]]:
    groups: dict[tuple[str, str], list[DicomHeader]] = {}
    for header in headers:
        if header.refusal is not None:
            groups.setdefault((_name(header, folder), header.refusal), []).append(header)
    return sorted(groups.items())


def _refused_series(headers: Sequence[DicomHeader], name: str, reason: str) -> SeriesSource:
    files = tuple(sorted(header.path for header in headers))
    return SeriesSource(name, "dicom", files, refusal=reason, slices=len(files))


def _group_images(headers: Sequence[DicomHeader]) -> list[list[DicomHeader]]:
    groups: list[list[DicomHeader]] = []
    for header in sorted(headers, key=lambda header: header.path):
        home = next((group for group in groups if _belong_together(group[0], header)), None)
        if home is None:
            groups.append([header])
        else:
            home.append(header)
    return groups


def _belong_together(one: DicomHeader, other: DicomHeader) -> bool:
    if one.series_uid != other.series_uid or one.size != other.size:
        return False
    if not one.series_uid and one.path.parent != other.path.parent:
        return False
    turned = np.abs(np.subtract(one.orientation, other.orientation)).max()  # type: ignore[arg-type]
    scaled = np.abs(np.subtract(one.pixel_spacing, other.pixel_spacing)).max()  # type: ignore[arg-type]
    return bool(turned < 1e-2 and scaled < 1e-3)


def _without_copies(headers: Sequence[DicomHeader]) -> list[DicomHeader]:
    """One file of each SOP instance.

    An empty instance UID says nothing, and one that several files of other places or other acquisitions share says
    nothing either.
    """
    kept: dict[object, DicomHeader] = {}
    for number, header in enumerate(headers):
        instance = (header.instance_uid, header.positions, header.splits) if header.instance_uid else number
        kept.setdefault(instance, header)
    return list(kept.values())


def _part(headers: list[DicomHeader]) -> list[list[DicomHeader]]:
    """The headers as one series, or parted so that no two slices of a part share a place."""
    if not _collide(headers):
        return [headers]
    labels = [[("folder", str(header.path.parent)), *header.splits] for header in headers]
    for choice in range(len(labels[0])):
        parts: dict[str, list[DicomHeader]] = {}
        for header, of_header in zip(headers, labels, strict=True):
            parts.setdefault(of_header[choice][1], []).append(header)
        if len(parts) > 1 and not any(_collide(part) for part in parts.values()):
            return [parts[label] for label in sorted(parts)]
    return [headers]  # the reader refuses it and says where slices share a place


def _along(headers: Sequence[DicomHeader]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Sorted places of all frames along their normal, in mm."""
    orientation = np.array(headers[0].orientation).reshape(2, 3)
    normal = np.cross(orientation[0], orientation[1])
    positions = np.array([position for header in headers for position in header.positions]).reshape(-1, 3)
    places: np.ndarray[tuple[int], np.dtype[np.float64]] = np.sort(positions @ normal)
    return places


def _collide(headers: Sequence[DicomHeader]) -> bool:
    return bool((np.diff(_along(headers)) < 1e-3).any())


def _candidate(headers: Sequence[DicomHeader], name: str) -> SeriesSource:
    first = headers[0]
    places, heights = _along(headers), [place[2] for header in headers for place in header.positions]
    orientation = np.array(first.orientation).reshape(2, 3)
    main = int(np.abs(np.cross(orientation[0], orientation[1])).argmax())
    phase, phase_source = phase_of(first.description, first.contrast)
    few = f"only {len(places)} slices" if len(places) < load_series_rules().min_slices else None
    return SeriesSource(
        name=name,
        kind="dicom",
        files=tuple(sorted(header.path for header in headers)),
        refusal=few,
        slices=len(places),
        step_mm=float(np.median(np.diff(places))) if len(places) > 1 else None,
        coverage_mm=float(np.ptp(places)),
        range_mm=(min(heights), max(heights)),
        plane=("sagittal", "coronal", "axial")[main],
        original=all(header.original for header in headers),
        kernel=first.kernel,
        phase=phase,
        phase_source=phase_source,
    )


def _with_unique_names(found: Sequence[SeriesSource]) -> list[SeriesSource]:
    """Series that share a UID get numbers, in the order of their first files."""
    seen: dict[str, int] = {}
    named = []
    for series in sorted(found, key=lambda series: (series.name, series.files)):
        count = seen.get(series.name, 0)
        seen[series.name] = count + 1
        named.append(replace(series, name=f"{series.name}@{count}") if count else series)
    return named
