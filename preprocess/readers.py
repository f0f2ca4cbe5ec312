"""The one door to all readers: which files are volumes by their name, and the volume of a series."""

from pathlib import Path
from typing import Literal

from preprocess.readers_dicom import read_dicom
from preprocess.readers_itk import is_itk, itk_files, itk_stem, read_itk
from preprocess.readers_nifti import is_nifti, nifti_stem, read_nifti
from preprocess.series import SeriesSource
from preprocess.stack import Gaps
from preprocess.volume import Volume


def volume_kind(path: Path) -> Literal["nifti", "itk"] | None:
    """How a file is read that is a whole volume by its name; None for every other."""
    if is_nifti(path):
        return "nifti"
    return "itk" if is_itk(path) else None


def volume_stem(path: Path) -> str:
    """File name of a volume without its suffix."""
    return itk_stem(path) if is_itk(path) else nifti_stem(path)


def volume_files(path: Path) -> tuple[Path, ...]:
    """The files of a volume, sorted: itself, and what its header names.

    Raises:
        OSError: The file cannot be read.
    """
    return tuple(sorted(itk_files(path))) if is_itk(path) else (path,)


def read_series(series: SeriesSource, *, gaps: Gaps = "refuse") -> Volume:
    """Volume of one series.

    Args:
        series: What the archive holds.
        gaps: What to do with missing slices, see `read_dicom`.

    Raises:
        StudyError: See `read_dicom`, `read_nifti` and `read_itk`.
    """
    if series.kind == "dicom":
        return read_dicom(series.files, gaps=gaps)
    path = next(path for path in series.files if volume_kind(path) is not None)
    return read_nifti(path) if series.kind == "nifti" else read_itk(path)
