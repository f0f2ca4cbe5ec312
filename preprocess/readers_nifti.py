"""Reads a NIfTI file as HU with its true place, or refuses it."""

import logging
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from gzip import BadGzipFile
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.volumeutils import apply_read_scaling
from zlib_ng import gzip_ng, zlib_ng

from preprocess.errors import Reason, StudyError
from preprocess.geometry import SLIGHT_SKEW, Affine, affine_from_nifti, canonical_grid, in_file_order, orthonormal
from preprocess.volume import Volume

logger = logging.getLogger(__name__)
logging.getLogger("nibabel.global").setLevel(logging.ERROR)  # header repairs that it makes are judged here

SUFFIXES = (".nii.gz", ".nii")
PADDING_HU = -1024
_SLAB_BYTES = 1 << 21  # decoded at a time: what a processor core has near it
_DECODE_ERRORS = cast(
    "tuple[type[Exception], ...]",
    (ValueError, EOFError, zlib.error, isal_zlib.error, zlib_ng.error, BadGzipFile),
)


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
    not_numbers = 0

    def rounded(values: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
        nonlocal not_numbers
        hu, missing = _rounded(values)
        not_numbers += missing
        return hu

    hu, affine, flags = read_nifti_grid(path, rounded)
    return Volume(hu, affine, hu_source=_hu_source(path), flags=(*flags, *_missing_flags(not_numbers)))


def read_nifti_grid(
    path: Path, convert: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None
) -> tuple[npt.NDArray[Any], Affine, tuple[str, ...]]:
    """Values of one NIfTI file, scaled, on canonical axes (z, y, x), their affine, and what was tolerated.

    The file is decoded a few slices at a time, each brought to its place at once, so that a volume never lies in memory
    twice. Label maps are read through this function too: their values are left as they are.

    Args:
        path: The file.
        convert: Applied to some slices' values at a time, to keep them in a smaller type; the type widens to what all
            of them need.

    Raises:
        StudyError: As for `read_nifti`.
    """
    file = open_nifti(path)
    shape, affine = canonical_grid(file.shape, file.affine)
    array: npt.NDArray[Any] = np.empty((0, 0, 0), dtype=np.bool_)
    target = array
    for part, stored in file.slabs():
        values = stored if convert is None else convert(stored)
        if not array.size or not np.can_cast(values.dtype, array.dtype):
            wider = np.empty(shape, dtype=np.promote_types(values.dtype, array.dtype))
            if array.size:
                wider[:] = array
            array, target = wider, in_file_order(wider, file.affine)
        target[part] = values
    return array, affine, file.flags


@dataclass(frozen=True)
class NiftiFile:
    """A NIfTI file whose header was read and found good.

    Attributes:
        path: The file.
        image: As nibabel opened it.
        shape: Number of voxels along (z, y, x), in the file's own axis order reversed.
        affine: 4x4, voxel index (z, y, x, 1) to LPS mm, with orthogonal axes.
        flags: What was tolerated.
    """

    path: Path
    image: Any
    shape: tuple[int, int, int]
    affine: Affine
    flags: tuple[str, ...]

    def slabs(self) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """Some slices after the other: which of the first axis, and their values (z, y, x), scaled.

        Values may lie in memory that the next ones come to lie in.

        Raises:
            StudyError: `UNREADABLE` where they cannot be decoded.
        """
        stored = self.image.dataobj
        slope, inter = np.asanyarray(stored.slope), np.asanyarray(stored.inter)
        try:
            for part, values in self._decode(stored.dtype, int(stored.offset)):
                yield part, apply_read_scaling(values, slope, inter)
        except _DECODE_ERRORS as error:
            raise StudyError(Reason.UNREADABLE, f"{self.path.name} cannot be decoded: {error}") from error
        except OSError as error:
            raise _unreadable_or_disk(self.path, error) from error

    def _decode(self, dtype: np.dtype[Any], start: int) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """Slices as they are stored, in memory that is used again. What follows them is read for its checksum."""
        depth, *plane = self.shape
        size = dtype.itemsize * math.prod(plane)
        step = max(1, min(depth, _SLAB_BYTES // size))
        memory = np.empty(step * size, dtype=np.uint8)
        packed = self.path.name.lower().endswith(".gz")
        with _open_gzip(self.path, dtype) if packed else self.path.open("rb") as stream:
            stream.read(start)
            for z in range(0, depth, step):
                part = slice(z, min(z + step, depth))
                content = memory[: size * (part.stop - z)]
                _fill(content, stream)
                yield part, content.view(dtype).reshape(-1, *plane)
            while packed and stream.readinto(memory.data):
                pass


def _open_gzip(path: Path, dtype: np.dtype[Any]) -> Any:
    """A stream; zlib-ng decodes the long runs of masks in a third of the time that ISA-L takes, and images in more."""
    return gzip_ng.open(path) if dtype.itemsize == 1 else igzip.open(path)


def _fill(memory: npt.NDArray[np.uint8], stream: Any) -> None:
    filled = 0
    while filled < memory.size:
        count = stream.readinto(memory[filled:].data)
        if not count:
            raise EOFError("it ends before its last slice")
        filled += count


def open_nifti(path: Path) -> NiftiFile:
    """Read the header of a file and judge it.

    Raises:
        StudyError: As for `read_nifti`.
    """
    image = _open(path)
    stored = image.dataobj
    shape = tuple(stored.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or 0 in shape or stored.dtype.names or stored.dtype.kind not in "iuf":
        raise StudyError(
            Reason.UNREADABLE, f"{path.name} is no grey volume: its shape is {shape}, its type {stored.dtype}"
        )
    x, y, z = shape
    affine, off = orthonormal(affine_from_nifti(_trusted_affine(image, path)), (z, y, x))
    flags = (f"axes made orthogonal (cosine {off:.5f})",) if off > SLIGHT_SKEW else ()
    return NiftiFile(path, image, (z, y, x), affine, flags)


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


def whole_hu(array: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int16], tuple[str, ...]]:
    """Values rounded to whole HU, those that are no numbers set to -1024, and what was tolerated."""
    hu, missing = _rounded(array)
    return hu, _missing_flags(missing)


def _rounded(values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int16], int]:
    """Values rounded to whole HU, those that are no numbers set to -1024, and how many these are."""
    if values.dtype == np.int16:
        return values, 0
    if values.dtype.kind in "iu":
        return values.clip(-32768, 32767).astype(np.int16), 0
    finite = np.isfinite(values)
    missing = finite.size - int(np.count_nonzero(finite))
    whole = np.rint(np.where(finite, values, PADDING_HU) if missing else values)
    return np.clip(whole, -32768, 32767, out=whole).astype(np.int16), missing


def _missing_flags(missing: int) -> tuple[str, ...]:
    return (f"{missing} voxels are not numbers",) if missing else ()
