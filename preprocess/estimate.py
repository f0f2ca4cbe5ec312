"""How much memory a series will need, told by its headers before any pixel is read."""

import logging
from math import prod

import nibabel
import pydicom
import SimpleITK
from nibabel.filebasedimages import ImageFileError

from preprocess.attempt import Tell
from preprocess.errors import Reason, StudyError
from preprocess.readers_dicom import DECODE_ERRORS
from preprocess.series import SeriesSource

logger = logging.getLogger(__name__)

Shape = tuple[int, int, int]

GIB = 1 << 30
BASE_BYTES = 400 << 20
"""The interpreter, its libraries, and crops."""
BYTES_PER_VOXEL = 5.0
"""HU, labels, and what is made of them on the way to crops, part by part."""
NETWORK_BASE_BYTES = 5 << 30
"""Networks, their library, and the scores of the tiles under way."""
NETWORK_BYTES_PER_VOXEL = 13.0


def read_shape(series: SeriesSource) -> Shape | None:
    """Number of voxels along (slices, rows, columns) as the headers have it; None where they cannot be read."""
    try:
        if series.kind == "dicom":
            return _dicom_shape(series)
        if series.kind == "nifti":
            x, y, z = nibabel.load(series.files[0]).shape[:3]
        else:
            reader = SimpleITK.ImageFileReader()
            reader.SetFileName(str(series.files[0]))
            reader.ReadImageInformation()
            x, y, z = reader.GetSize()[:3]
    except (*DECODE_ERRORS, OSError, ValueError, RuntimeError, ImageFileError) as error:
        logger.debug("no size of %s: %s", series.kind, error)
        return None
    return int(z), int(y), int(x)


def _dicom_shape(series: SeriesSource) -> Shape | None:
    tags = ["Rows", "Columns", "NumberOfFrames"]
    header = pydicom.dcmread(series.files[0], stop_before_pixels=True, force=True, specific_tags=tags)
    rows, columns = header.get("Rows"), header.get("Columns")
    if not rows or not columns:
        return None
    frames = int(header.get("NumberOfFrames") or 1)
    return series.slices or frames * len(series.files), int(rows), int(columns)


def estimate_bytes(shape: Shape, *, network: bool) -> int:
    """Most memory that a volume of this shape needs at a time, libraries included.

    Args:
        shape: Number of voxels along (slices, rows, columns).
        network: The segmenter runs in the same process.
    """
    voxels = prod(shape)
    if network:
        return NETWORK_BASE_BYTES + int(NETWORK_BYTES_PER_VOXEL * voxels)
    return BASE_BYTES + int(BYTES_PER_VOXEL * voxels)


def describe_need(shape: Shape, needed_bytes: int) -> str:
    """Shape and estimate in words, for messages."""
    slices, rows, columns = shape
    return f"{slices} x {rows} x {columns} voxels, estimated at {needed_bytes / GIB:.2f} GiB"


def admit(series: SeriesSource, budget_bytes: int | None, *, network: bool, tell: Tell) -> None:
    """Refuse a series that will need more memory than there is, before its pixels are read.

    Args:
        series: The series; one whose headers cannot be read is admitted, for its reader says what is wrong with it.
        budget_bytes: Memory that there is; None sets no limit.
        network: The segmenter runs in the same process.
        tell: Hears of `shape` and `needed_bytes`.

    Raises:
        StudyError: `OUT_OF_MEMORY`.
    """
    shape = read_shape(series)
    if shape is None:
        return
    needed = estimate_bytes(shape, network=network)
    tell(shape=shape, needed_bytes=needed)
    if budget_bytes is not None and needed > budget_bytes:
        need = describe_need(shape, needed)
        raise StudyError(Reason.OUT_OF_MEMORY, f"not read: {need}, {budget_bytes / GIB:.2f} GiB allowed a study")
