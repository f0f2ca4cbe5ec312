"""How much memory a series will need, told by its headers before any pixel is read."""

import logging
from dataclasses import dataclass
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
Spacing = tuple[float, float, float]

GIB = 1 << 30
BASE_BYTES = 400 << 20
"""The interpreter, its libraries, and crops."""
BYTES_PER_VOXEL = 5.0
"""HU, labels, and what is made of them on the way to crops, part by part."""
NETWORK_MM = 1.5
"""Voxel size of TotalSegmentator's finer networks; what the 3 mm network needs is less."""
NETWORK_BASE_BYTES = 4 << 30
"""Five networks of some 31 million parameters, their libraries, and one tile on its way through a network."""
NETWORK_BYTES_PER_VOXEL = 14.0
"""The image and its labels at the networks' voxel size, and what is made of them."""
NETWORK_BYTES_PER_COLUMN = 8192.0
"""Scores of all labels of a network that lie above each other in one row of tiles."""
UNKNOWN_STEP_MM = 2.0
"""Between slices, where headers do not tell."""


@dataclass(frozen=True)
class Extent:
    """What headers say of a series' grid.

    Attributes:
        shape: Number of voxels along (slices, rows, columns).
        spacing_mm: Their distance along the same axes.
    """

    shape: Shape
    spacing_mm: Spacing


def read_extent(series: SeriesSource) -> Extent | None:
    """The grid of a series as its headers have it; None where they cannot be read."""
    try:
        if series.kind == "dicom":
            return _dicom_extent(series)
        if series.kind == "nifti":
            header = nibabel.load(series.files[0]).header
            (x, y, z), zooms = header.get_data_shape()[:3], header.get_zooms()[:3]
        else:
            reader = SimpleITK.ImageFileReader()
            reader.SetFileName(str(series.files[0]))
            reader.ReadImageInformation()
            (x, y, z), zooms = reader.GetSize()[:3], reader.GetSpacing()[:3]
        dx, dy, dz = (abs(float(zoom)) for zoom in zooms)
    except (*DECODE_ERRORS, OSError, ValueError, RuntimeError, ImageFileError) as error:
        logger.debug("no size of %s: %s", series.kind, error)
        return None
    return Extent((int(z), int(y), int(x)), (dz, dy, dx))


def _dicom_extent(series: SeriesSource) -> Extent | None:
    tags = ["Rows", "Columns", "NumberOfFrames", "PixelSpacing"]
    header = pydicom.dcmread(series.files[0], stop_before_pixels=True, force=True, specific_tags=tags)
    rows, columns = header.get("Rows"), header.get("Columns")
    if not rows or not columns:
        return None
    slices = series.slices or int(header.get("NumberOfFrames") or 1) * len(series.files)
    down, across = (float(distance) for distance in header.get("PixelSpacing") or (1.0, 1.0))
    return Extent((slices, int(rows), int(columns)), (abs(series.step_mm or UNKNOWN_STEP_MM), down, across))


def estimate_bytes(extent: Extent, *, network: bool) -> int:
    """Most memory that a volume needs at a time, libraries included.

    Args:
        extent: Its grid.
        network: The segmenter runs in the same process. What it needs hangs on the millimetres that are covered, for
            it works on a grid of its own.
    """
    held = BYTES_PER_VOXEL * prod(extent.shape)
    if not network:
        return BASE_BYTES + int(held)
    depth, *plane = (length * mm / NETWORK_MM for length, mm in zip(extent.shape, extent.spacing_mm, strict=True))
    held += NETWORK_BYTES_PER_VOXEL * depth * prod(plane) + NETWORK_BYTES_PER_COLUMN * prod(plane)
    return NETWORK_BASE_BYTES + int(held)


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
    extent = read_extent(series)
    if extent is None:
        return
    needed = estimate_bytes(extent, network=network)
    tell(shape=extent.shape, needed_bytes=needed)
    if budget_bytes is not None and needed > budget_bytes:
        need = describe_need(extent.shape, needed)
        raise StudyError(Reason.OUT_OF_MEMORY, f"not read: {need}, {budget_bytes / GIB:.2f} GiB allowed a study")
