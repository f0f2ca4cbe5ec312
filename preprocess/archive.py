"""Finds the studies of an archive: a folder or file of DICOM and NIfTI, in any arrangement."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from multiprocessing import get_context
from pathlib import Path

from preprocess.dicom_headers import DicomHeader, read_header
from preprocess.errors import InputError, Reason, StudyError
from preprocess.readers_dicom import read_dicom
from preprocess.readers_nifti import is_nifti, nifti_stem, read_nifti
from preprocess.series import SeriesSource, series_from_headers
from preprocess.volume import Volume

logger = logging.getLogger(__name__)

FILES_FOR_PROCESSES = 4000


@dataclass(frozen=True)
class StudySource:
    """One study as it lies in the archive; private, for it names the patient.

    Attributes:
        root: Folder below which the archive lies.
        key: What joins masks and reports first: StudyInstanceUID, AccessionNumber or folder of a DICOM study; path
            below the archive without suffix of a NIfTI.
        keys: All that may join it, `key` first.
        patient: PatientID, or None.
        series: What was found, usable or not, sorted by name.
        day: Date of the study, or None.
        age_years: Age at the study, or None.
        sex: "M", "F", "O" or None.
        manufacturer: Of the scanner, or None.
        model: Of the scanner, or None.
        defect: Why no series of it can be trusted, or None; recorded as `DUPLICATE`.
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

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the study, sorted."""
        return tuple(sorted(path for series in self.series for path in series.files))


@dataclass(frozen=True)
class Listing:
    """What an archive holds.

    Attributes:
        studies: Sorted by key.
        other_files: Number of files that are neither DICOM nor NIfTI.
    """

    studies: tuple[StudySource, ...]
    other_files: int = field(default=0)


def find_studies(archive: Path, *, leave_out: Sequence[Path] = (), workers: int = 1) -> Listing:
    """Studies below a folder, or in one file.

    Args:
        archive: Folder or file.
        leave_out: Files and folders below it that are something else: masks, the store.
        workers: Processes that read the headers of a large archive.

    Raises:
        InputError: Where it does not exist, cannot be read or holds no study.
    """
    if not archive.exists():
        raise InputError(f"archive {archive} does not exist")
    root = archive.resolve()
    paths = [root] if root.is_file() else list(_walk(root, {path.resolve() for path in leave_out}))
    folder = root.parent if root.is_file() else root
    nifti = [path for path in paths if is_nifti(path)]
    rest = [path for path in paths if not is_nifti(path)]
    headers = _read_headers(rest, workers)
    studies = [*_nifti_studies(nifti, folder), *_dicom_studies(headers, folder)]
    if not studies:
        raise InputError(f"archive {archive} holds no DICOM and no NIfTI image ({len(paths)} files looked at)")
    other = len(rest) - len(headers)
    if other:
        logger.info("%d files of the archive are neither DICOM nor NIfTI", other)
    return Listing(tuple(sorted(studies, key=lambda study: study.key)), other)


def read_series(series: SeriesSource) -> Volume:
    """Volume of one series.

    Raises:
        StudyError: See `read_dicom` and `read_nifti`.
    """
    return read_nifti(series.files[0]) if series.kind == "nifti" else read_dicom(series.files)


def source_digest(study: StudySource, extra: Iterable[Path] = ()) -> str:
    """Changes whenever a file of the study, or one of `extra`, changes its path, size or time of modification.

    Cheap, for it opens no file: it tells whether a study has to be done again. Attributes that reach the store count.

    Raises:
        StudyError: `DISK` where a file is gone.
    """
    lines = [f"{study.key}|{study.day}|{study.age_years}|{study.sex}|{study.manufacturer}|{study.model}"]
    for path in (*study.files, *sorted(extra)):
        try:
            status = path.stat()
        except OSError as error:
            raise StudyError(Reason.DISK, f"{path.name} cannot be read: {error.strerror}") from error
        lines.append(f"{os.path.relpath(path, study.root)}|{status.st_size}|{status.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def content_digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the bytes of files, in sorted order of these bytes' own digests: names and places do not count."""
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _walk(root: Path, leave_out: set[Path]) -> Iterator[Path]:
    """Files below `root` in sorted order, without hidden ones."""

    def refuse(error: OSError) -> None:
        raise InputError(f"the archive's folder {error.filename} cannot be read: {error.strerror}") from error

    for folder, names, files in os.walk(root, onerror=refuse):
        here = Path(folder)
        names[:] = sorted(name for name in names if not name.startswith(".") and here / name not in leave_out)
        for name in sorted(files):
            path = here / name
            if not name.startswith(".") and name.upper() != "DICOMDIR" and path not in leave_out and path.is_file():
                yield path


def _read_headers(paths: Sequence[Path], workers: int) -> list[DicomHeader]:
    """Headers of the DICOM files among `paths`, in their order; new processes pay off only for many files."""
    try:
        if workers <= 1 or len(paths) < FILES_FOR_PROCESSES:
            found = [read_header(path) for path in paths]
        else:
            with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
                found = list(pool.map(read_header, paths, chunksize=256))
    except OSError as error:
        raise InputError(f"{error.filename} of the archive cannot be read: {error.strerror}") from error
    return [header for header in found if header is not None]


def _nifti_studies(paths: Sequence[Path], folder: Path) -> list[StudySource]:
    by_key: dict[str, list[Path]] = {}
    for path in paths:
        by_key.setdefault((path.parent / nifti_stem(path)).relative_to(folder).as_posix(), []).append(path)
    return [
        StudySource(
            root=folder,
            key=key,
            keys=(key,),
            patient=None,
            series=tuple(SeriesSource(path.name, "nifti", (path,)) for path in same),
            defect=f"{len(same)} files carry the same key" if len(same) > 1 else None,
        )
        for key, same in by_key.items()
    ]


def _dicom_studies(headers: Sequence[DicomHeader], folder: Path) -> list[StudySource]:
    by_key: dict[str, list[DicomHeader]] = {}
    for header in headers:
        by_key.setdefault(header.study_uid or header.accession or _folder_key(header, folder), []).append(header)
    return [_dicom_study(key, same, folder) for key, same in by_key.items()]


def _folder_key(header: DicomHeader, folder: Path) -> str:
    """Folder below the archive; the archive's own name where the files lie directly in it."""
    below = header.path.parent.relative_to(folder).as_posix()
    return folder.name if below == "." else below


def _dicom_study(key: str, headers: Sequence[DicomHeader], folder: Path) -> StudySource:
    def first(value: Callable[[DicomHeader], object]) -> object:
        return next((found for found in map(value, ordered) if found not in (None, "")), None)

    ordered = sorted(headers, key=lambda header: (header.refusal is not None, header.path))
    patients = sorted({header.patient for header in headers if header.patient})
    keys = [key, first(lambda header: header.accession), _folder_key(ordered[0], folder)]
    days = [header.day for header in ordered if header.day is not None]
    ages = [header.age_years for header in ordered if header.age_years is not None]
    texts = [first(get) for get in (lambda h: h.sex, lambda h: h.manufacturer, lambda h: h.model)]
    sex, manufacturer, model = (None if text is None else str(text) for text in texts)
    return StudySource(
        root=folder,
        key=key,
        keys=tuple(dict.fromkeys(str(name) for name in keys if name)),
        patient=patients[0] if patients else None,
        series=tuple(series_from_headers(headers, folder)),
        day=days[0] if days else None,
        age_years=ages[0] if ages else None,
        sex=sex,
        manufacturer=manufacturer,
        model=model,
        defect=f"its files name {len(patients)} different patients" if len(patients) > 1 else None,
    )
