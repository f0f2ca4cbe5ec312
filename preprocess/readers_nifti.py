"""Reads a NIfTI file as HU with its true place, or refuses it."""

import logging
import zlib
from gzip import BadGzipFile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError

from preprocess.errors import Reason, StudyError
from preprocess.geometry import SLIGHT_SKEW, Affine, affine_from_nifti, canonical, orthonormal
from preprocess.volume import Volume

logger = logging.getLogger(__name__)
logging.getLogger("nibabel.global").setLevel(logging.ERROR)  # header repairs that it makes are judged here

SUFFIXES = (".nii.gz", ".nii")
PADDING_HU = -1024


def nifti_stem(path: Path) -> str:
    """File name without `.nii` or `.nii.gz`."""
    return next((path.name[: -len(end)] for end in SUFFIXES if path.name.lower().endswith(end)), path.name)


def is_nifti(path: Path) -> bool:
    """Whether the name ends like a NIfTI file's."""
    return path.name.lower().endswith(SUFFIXES)


def read_nifti(path: Path) -> Volume:
    """Volume of one NIfTI file.

    The header's scl_slope and scl_inter are applied once, values are rounded to whole HU, and voxels that are not
    numbers become -1024.

    Raises:
        StudyError: `UNREADABLE` for a damaged file or one that is no three-dimensional grey image, `GEOMETRY` for a
            missing or skewed affine.
    """
    array, affine, flags = read_nifti_grid(path)
    hu, value_flags = _whole_hu(array)
    return Volume(hu, affine, hu_source=_hu_source(path), flags=(*flags, *value_flags))


def read_nifti_grid(path: Path) -> tuple[npt.NDArray[Any], Affine, tuple[str, ...]]:
    """Values of one NIfTI file, scaled, on canonical axes (z, y, x), their affine, and what was tolerated.

    Label maps are read through this function too: their values are left as they are.

    Raises:
        StudyError: As for `read_nifti`.
    """
    image = _open(path)
    try:
        array = np.asanyarray(image.dataobj)
    except (ValueError, EOFError, zlib.error, BadGzipFile) as error:
        raise StudyError(Reason.UNREADABLE, f"{path.name} cannot be decoded: {error}") from error
    except OSError as error:
        raise _unreadable_or_disk(path, error) from error
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3 or 0 in array.shape or array.dtype.names or array.dtype.kind not in "iuf":
        raise StudyError(
            Reason.UNREADABLE, f"{path.name} is no grey volume: its shape is {array.shape}, its type {array.dtype}"
        )
    reversed_array = array.transpose(2, 1, 0)
    shape = (reversed_array.shape[0], reversed_array.shape[1], reversed_array.shape[2])
    affine, off = orthonormal(affine_from_nifti(_trusted_affine(image, path)), shape)
    flags = (f"axes made orthogonal (cosine {off:.5f})",) if off > SLIGHT_SKEW else ()
    moved, affine = canonical(reversed_array, affine)
    return moved, affine, flags


def _open(path: Path) -> Any:
    try:
        return nibabel.load(path)
    except (ImageFileError, ValueError, EOFError, zlib.error, BadGzipFile) as error:
        raise StudyError(Reason.UNREADABLE, f"{path.name} is no readable NIfTI file: {error}") from error
    except OSError as error:
        raise _unreadable_or_disk(path, error) from error


def _unreadable_or_disk(path: Path, error: OSError) -> StudyError:
    """A file that is too short gives an OSError without a number; one with a number comes from the system."""
    reason = Reason.UNREADABLE if error.errno is None else Reason.DISK
    return StudyError(reason, f"{path.name} cannot be read: {error.strerror or error}")


def _trusted_affine(image: Any, path: Path) -> Affine:
    """The sform if its code is set, else the qform if its code is set; never an invented one."""
    header = image.header
    if not hasattr(header, "get_sform"):
        raise StudyError(Reason.GEOMETRY, f"{path.name} has no orientation (it is {type(image).__name__})")
    affine = header.get_sform(coded=True)[0]
    if affine is None:
        affine = header.get_qform(coded=True)[0]
    if affine is None:
        raise StudyError(Reason.GEOMETRY, f"{path.name} has neither an sform nor a qform: its orientation is unknown")
    return np.asarray(affine, dtype=np.float64)


def _hu_source(path: Path) -> str:
    proxy = _open(path).dataobj
    if (proxy.slope, proxy.inter) == (1, 0):
        return "nifti values"
    return f"nifti scl_slope={proxy.slope:g} scl_inter={proxy.inter:g}"


def _whole_hu(array: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int16], tuple[str, ...]]:
    if array.dtype == np.int16:
        return array, ()
    if array.dtype.kind in "iu":
        return array.clip(-32768, 32767).astype(np.int16), ()
    flags: tuple[str, ...] = ()
    finite = np.isfinite(array)
    if not finite.all():
        flags = (f"{int((~finite).sum())} voxels are not numbers",)
        array = np.where(finite, array, PADDING_HU)
    return np.rint(array).clip(-32768, 32767).astype(np.int16), flags
