"""One study as it lies in the archive: how its files come together, and when it counts as changed."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from preprocess.dicom_headers import DicomHeader, SharedHeader
from preprocess.errors import Reason, StudyError
from preprocess.series import SeriesSource, path_order, series_from_headers


@dataclass(frozen=True)
class StudySource:
    """One study as it lies in the archive; private, for it names the patient.

    Attributes:
        root: Folder below which the archive lies.
        key: What joins masks and reports first: StudyInstanceUID, AccessionNumber or folder of a DICOM study; path
            below the archive without suffix of an image file.
        keys: All that may join it, `key` first.
        patient: PatientID, or None.
        series: What was found, usable or not, sorted by name.
        day: Date of the study, or None.
        age_years: Age at the study, or None.
        sex: "M", "F", "O" or None.
        manufacturer: Of the scanner, or None.
        model: Of the scanner, or None.
        defect: Why no series of it can be trusted, or None; recorded as `DUPLICATE`.
        stamp: Digest of path, size and time of modification of its files, as the index last saw them.
    """

    root: Path
    key: str
    keys: tuple[str, ...]
    patient: str | None
    series: tuple[SeriesSource, ...]
    day: date | None = None
    age_years: float | None = None
    sex: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    defect: str | None = None
    stamp: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the study, sorted."""
        return tuple(sorted(path for series in self.series for path in series.files))

    @property
    def first(self) -> Path:
        """The first file of the study."""
        return Path(min((series.paths[0] for series in self.series), key=path_order))

    @property
    def digest(self) -> str:
        """Changes whenever a file of the study, or an attribute that reaches the store, changes."""
        attributes = (self.key, self.day, self.age_years, self.sex, self.manufacturer, self.model)
        text = "\n".join(("|".join(map(str, attributes)), self.stamp))
        return hashlib.sha256(text.encode()).hexdigest()


def text_of(path: str) -> str:
    r"""A path as text that every file and database can hold: bytes that are no UTF-8 become `\xe4` and the like."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def folder_key(folder: str, root: Path) -> str:
    """What stands for a study without identifiers: its folder below the archive, or the archive's own name."""
    return text_of(folder or root.name)


def build_study(
    key: str, headers: Sequence[DicomHeader], images: Sequence[SeriesSource], root: Path, stamp: str = ""
) -> StudySource:
    """The study that carries one key.

    Args:
        key: Its key.
        headers: Of its DICOM files, in any order.
        images: Its image files that are a series each (NIfTI and the like), in any order.
        root: Folder below which the archive lies.
        stamp: See `StudySource`.
    """
    if not headers:
        several = f"{len(images)} files carry the same key" if len(images) > 1 else None
        return StudySource(root, key, (key,), None, _by_name(images), defect=several, stamp=stamp)
    return _dicom_study(key, headers, images, root, stamp)


def _dicom_study(
    key: str, headers: Sequence[DicomHeader], images: Sequence[SeriesSource], root: Path, stamp: str
) -> StudySource:
    def first(value: Callable[[SharedHeader], object]) -> str | None:
        return next((str(found) for found in map(value, shared) if found not in (None, "")), None)

    in_order = sorted(headers, key=lambda header: path_order(header.path))
    ordered = sorted(in_order, key=lambda header: header.shared.refusal is not None)
    shared = list({id(header.shared): header.shared for header in ordered}.values())
    patients = sorted({one.patient for one in shared if one.patient})
    below = Path(ordered[0].path).parent.relative_to(root).as_posix()
    keys = [key, first(lambda one: one.accession), folder_key("" if below == "." else below, root)]
    days = [one.day for one in shared if one.day is not None]
    ages = [one.age_years for one in shared if one.age_years is not None]
    defect = f"its files name {len(patients)} different patients" if len(patients) > 1 else None
    if images:
        defect = f"{len(headers)} DICOM files and {len(images)} image files carry the same key"
    return StudySource(
        root=root,
        key=key,
        keys=tuple(dict.fromkeys(name for name in keys if name)),
        patient=patients[0] if patients else None,
        series=_by_name([*series_from_headers(in_order, root), *images]),
        day=days[0] if days else None,
        age_years=ages[0] if ages else None,
        sex=first(lambda one: one.sex),
        manufacturer=first(lambda one: one.manufacturer),
        model=first(lambda one: one.model),
        defect=defect,
        stamp=stamp,
    )


def _by_name(series: Iterable[SeriesSource]) -> tuple[SeriesSource, ...]:
    return tuple(sorted(series, key=lambda one: one.name))


def source_digest(study: StudySource, extra: Iterable[Path] = ()) -> str:
    """Changes whenever a file of the study, or one of `extra`, changes its path, size or time of modification.

    Cheap, for it opens no file: it tells whether a study has to be done again. Attributes that reach the store count.

    Raises:
        StudyError: `DISK` where a file of `extra` is gone.
    """
    return with_files(study.digest, study.root, extra)


def with_files(digest: str, root: Path, extra: Iterable[Path]) -> str:
    """A digest that hangs on another one and on path, size and time of modification of files.

    Raises:
        StudyError: `DISK` where a file is gone.
    """
    lines = [digest]
    for path in sorted(extra):
        try:
            status = path.stat()
        except OSError as error:
            raise StudyError(Reason.DISK, f"{path.name} cannot be read: {error.strerror}") from error
        lines.append(f"{text_of(os.path.relpath(path, root))}|{status.st_size}|{status.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def content_digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the bytes of files, in sorted order of these bytes' own digests: names and places do not count."""
    digests = sorted(_file_digest(path) for path in paths)
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
