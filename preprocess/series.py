"""A study's series: what each one is, whether it is a usable volume, and which one is taken first."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from preprocess.dicom_headers import DicomHeader

MIN_SLICES = 3
MIN_COVERAGE = 0.5
"""Share of the longest candidate's coverage below which a series is a fragment, e.g. of bolus tracking."""

_PHASES = (
    ("arterial", r"\b(arteri|art\b|cta\b|angio)"),
    ("portal", r"\b(portal|portov|venous|ven\b|pv\b|pvp\b)"),
    ("delayed", r"\b(delay|late\b|excret|urograph)"),
    ("native", r"\b(native?\b|nativ|non.?contrast|without|w/?o\b|unenhanced|plain|nc\b|ncct)"),
)


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
        plane: How the slices lie in the patient.
        original: False for derived or secondary images.
        kernel: Reconstruction kernel, as written.
        phase: Contrast phase, where a header says it.
        phase_source: Which header said so.
    """

    name: str
    kind: Literal["dicom", "nifti"]
    files: tuple[Path, ...]
    refusal: str | None = None
    slices: int | None = None
    step_mm: float | None = None
    coverage_mm: float | None = None
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

    The order: axial before other planes, original before derived, soft kernels before sharp ones, thin before thick,
    many slices before few, then by name.
    """
    candidates = [series for series in found if series.refusal is None]
    left_out = [(series, series.refusal) for series in found if series.refusal is not None]
    longest = max((series.coverage_mm or 0 for series in candidates if series.plane == "axial"), default=0)
    whole = []
    for series in candidates:
        covered = series.coverage_mm or 0
        if series.plane == "axial" and covered < MIN_COVERAGE * longest:
            left_out.append((series, f"covers {covered:.0f} mm of the {longest:.0f} mm that another series covers"))
        else:
            whole.append(series)
    return sorted(whole, key=_rank), left_out


def _rank(series: SeriesSource) -> tuple[bool, bool, bool, float, int, str]:
    return (
        series.plane not in ("axial", "unknown"),
        not series.original,
        is_sharp(series.kernel),
        round(series.step_mm or 0, 2),
        -(series.slices or 0),
        series.name,
    )


def is_sharp(kernel: str | None) -> bool:
    """Whether a kernel is meant for lung or bone; unknown kernels count as soft.

    Siemens kernels carry a number (Br38, B70f: sharp from 50 on), Toshiba's too (FC50: sharp from 30 on); GE and
    Philips use names.
    """
    text = (kernel or "").upper()
    if re.search(r"LUNG|BONE|EDGE|SHARP|CHST|ULTRA|DETAIL|HRCT", text) or text.strip() in ("L", "YA", "YB", "YC", "YD"):
        return True
    canon = re.search(r"\bFC\s?(\d{2})", text)
    if canon:
        return int(canon.group(1)) >= 30
    siemens = re.search(r"\b[BHIJTQ][A-Z]?\s?(\d{2})", text)
    return bool(siemens) and int(siemens.group(1)) >= 50 if siemens else False


def phase_of(description: str, contrast: bool | None) -> tuple[str | None, str | None]:
    """Contrast phase and the header it was read from; (None, None) where nothing tells."""
    for phase, pattern in _PHASES:
        if re.search(pattern, description.lower()):
            return phase, "description"
    return ("contrast", "contrast agent") if contrast else (None, None)


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
    """One file of each SOP instance; an empty instance UID says nothing."""
    kept: dict[str, DicomHeader] = {}
    for number, header in enumerate(headers):
        kept.setdefault(header.instance_uid or f"#{number}", header)
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
    places = _along(headers)
    orientation = np.array(first.orientation).reshape(2, 3)
    main = int(np.abs(np.cross(orientation[0], orientation[1])).argmax())
    phase, phase_source = phase_of(first.description, first.contrast)
    few = f"only {len(places)} slices" if len(places) < MIN_SLICES else None
    return SeriesSource(
        name=name,
        kind="dicom",
        files=tuple(sorted(header.path for header in headers)),
        refusal=few,
        slices=len(places),
        step_mm=float(np.median(np.diff(places))) if len(places) > 1 else None,
        coverage_mm=float(np.ptp(places)),
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
