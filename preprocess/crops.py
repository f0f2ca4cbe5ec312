"""One anatomy of one volume on its own grid: image by anti-aliased linear interpolation, mask by nearest label."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from preprocess.extent import measure_extent, reconstruction_field
from preprocess.geometry import Affine
from preprocess.interpolation import axis_weights, interpolate
from preprocess.regions import AnatomyMask, RegionMask, anatomy_mask, anatomy_region
from preprocess.vocabulary import Anatomy
from preprocess.volume import LabelMap, Volume

Extent = Literal["complete", "truncated", "absent"]
Spacing = tuple[float, float, float]
Line = npt.NDArray[np.float64]

OUTSIDE_ORGAN = 255
"""Mask value of the region outside the organ."""
OVERVIEW_SPACING_MM: Spacing = (6.0, 6.0, 6.0)
_TIE = 1e-3  # a centre this near to the border of two source voxels, in voxels, has no clear nearest one


@dataclass(frozen=True)
class SourceGrid:
    """The canonical grid that a crop was sampled from.

    Attributes:
        shape: Number of voxels along (z, y, x).
        affine: 4x4, voxel index (z, y, x, 1) to LPS mm.
    """

    shape: tuple[int, int, int]
    affine: Affine


@dataclass(frozen=True)
class Crop:
    """One anatomy of one volume; an absent anatomy has no arrays.

    Attributes:
        image: int16 HU (z, y, x), or None.
        mask: uint8 (z, y, x): 0 outside the region, 1, 2, ... the organ's parts, 255 region outside the organ; or None.
        affine: 4x4, voxel index (z, y, x, 1) to LPS mm, or None.
        spacing_mm: Voxel size along (z, y, x); the anatomy's, save where the crop spans the whole volume along an axis.
        extent: Whether the volume holds all of the anatomy, some of it or none.
        cut_fraction: Voxels that touch a border over the largest cross-section parallel to it; 0 if complete.
        volume_ml: Volume of the organ in the source.
        parts: Names of the mask's values 1, 2, ...
        source_grid: Where it was sampled from.
    """

    image: npt.NDArray[np.int16] | None
    mask: npt.NDArray[np.uint8] | None
    affine: Affine | None
    spacing_mm: Spacing
    extent: Extent
    cut_fraction: float
    volume_ml: float
    parts: tuple[str, ...]
    source_grid: SourceGrid


@dataclass(frozen=True)
class CropGrid:
    """Voxel centres of a crop along each source axis, in fractional source indices, ascending."""

    centres: tuple[Line, Line, Line]
    affine: Affine
    spacing_mm: Spacing

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        z, y, x = (len(axis) for axis in self.centres)
        return (z, y, x)


def crop_grid(
    source: SourceGrid, source_spacing_mm: Spacing, box: npt.NDArray[np.float64], spacing_mm: Spacing
) -> CropGrid:
    """Lay crop voxels into a box, axis-parallel to the source.

    Along each axis as many whole cells as fit best lie in the box, so that every centre is inside. They start at the
    box's low end, or end at its high end where only that one is the volume's face; where the box reaches both faces,
    the cells are stretched by less than half a cell in all, to fill it exactly. Where centres would fall on the border
    of two source voxels, so that no label is nearest, the grid moves by up to a quarter of a voxel.

    Args:
        source: Grid of the volume.
        source_spacing_mm: Its voxel size along (z, y, x).
        box: (2, 3) low and high corner in voxel edges (voxel i spans i to i + 1); may reach beyond the volume.
        spacing_mm: Wanted voxel size along (z, y, x).

    Returns:
        The centres, and where they lie.
    """
    lines = []
    step = np.empty(3)
    for axis in range(3):
        count = float(source.shape[axis])
        low, high = max(float(box[0, axis]), 0.0), min(float(box[1, axis]), count)
        cell = spacing_mm[axis] / source_spacing_mm[axis]
        cells = max(1, int(np.floor((high - low) / cell + 0.5)))
        low_face, high_face = box[0, axis] <= 0, box[1, axis] >= count
        if low_face and high_face:
            cell = (high - low) / cells
        start = high - cells * cell if high_face else low
        step[axis] = cell
        lines.append(_without_ties(start - 0.5 + cell * (np.arange(cells, dtype=np.float64) + 0.5), cell))
    affine = source.affine.copy()
    affine[:3, 3] += source.affine[:3, :3] @ np.array([line[0] for line in lines])
    affine[:3, :3] *= step
    z, y, x = (float(value) for value in step * np.array(source_spacing_mm))
    return CropGrid(centres=(lines[0], lines[1], lines[2]), affine=affine, spacing_mm=(z, y, x))


def _without_ties(centres: Line, cell: float) -> Line:
    """Move centres a little, if needed, until each has one nearest source index."""
    for share in (0.0, 0.25, 0.125, 0.1875, 0.0625):
        moved: Line = centres + share * min(1.0, cell)
        if np.abs(moved - np.floor(moved) - 0.5).min() > _TIE:
            return moved
    return centres


def resample_image(hu: npt.NDArray[np.int16], grid: CropGrid) -> npt.NDArray[np.int16]:
    """HU at the centres of a grid, int16 (z, y, x), rounded."""
    z, y, x = (axis_weights(centres, length) for centres, length in zip(grid.centres, hu.shape, strict=True))
    return interpolate(hu, z, y, x)


def nearest_indices(grid: CropGrid, shape: tuple[int, int, int]) -> tuple[npt.NDArray[np.int64], ...]:
    """Index of the nearest source voxel along each axis, for each centre of a grid."""
    return tuple(
        np.clip(np.floor(centres + 0.5).astype(np.int64), 0, length - 1)
        for centres, length in zip(grid.centres, shape, strict=True)
    )


def build_crops(volume: Volume, label_map: LabelMap, anatomies: Mapping[str, Anatomy]) -> dict[str, Crop]:
    """Crop every anatomy of a volume.

    Args:
        volume: The image.
        label_map: Structures on the image's own grid (`masks.place_labels`).
        anatomies: Name to anatomy.

    Returns:
        Name to crop, in the same order.
    """
    field = reconstruction_field(volume)
    return {name: _build_crop(volume, label_map, anatomy, field) for name, anatomy in anatomies.items()}


def _build_crop(volume: Volume, label_map: LabelMap, anatomy: Anatomy, field: npt.NDArray[np.bool_]) -> Crop:
    source = SourceGrid(volume.shape, volume.affine)
    organ = anatomy_mask(label_map, anatomy)
    common: dict[str, Any] = {"parts": tuple(anatomy.parts), "source_grid": source}
    if organ is None:
        return Crop(None, None, None, anatomy.spacing_mm, "absent", 0.0, 0.0, **common)
    region = anatomy_region(label_map, anatomy, organ)
    margin = anatomy.margin_mm / np.array(volume.spacing_mm)
    grid = crop_grid(source, volume.spacing_mm, region.box + np.array([-margin, margin]), anatomy.spacing_mm)
    cut_fraction = measure_extent(organ, field)
    return Crop(
        image=resample_image(volume.hu, grid),
        mask=_sample_mask(organ, region, nearest_indices(grid, volume.shape)),
        affine=grid.affine,
        spacing_mm=grid.spacing_mm,
        extent="truncated" if cut_fraction > 0 else "complete",
        cut_fraction=cut_fraction,
        volume_ml=float(label_map.places.count(organ.numbers) * np.prod(volume.spacing_mm) / 1000),
        **common,
    )


def _sample_mask(
    organ: AnatomyMask, region: RegionMask, indices: Iterable[npt.NDArray[np.int64]]
) -> npt.NDArray[np.uint8]:
    """Region and organ at source voxels: 0, 1, 2, ... or 255, (z, y, x)."""
    indices = tuple(indices)
    parts = organ.at(indices)
    return np.where(parts > 0, parts, np.uint8(OUTSIDE_ORGAN) * region.at(indices))


def resample_volume(volume: Volume, spacing_mm: Spacing) -> tuple[npt.NDArray[np.int16], Affine]:
    """The whole volume at another spacing, by the crops' rule: int16 HU (z, y, x), and its affine."""
    box = np.array([(0.0, 0.0, 0.0), volume.shape])
    grid = crop_grid(SourceGrid(volume.shape, volume.affine), volume.spacing_mm, box, spacing_mm)
    return resample_image(volume.hu, grid), grid.affine
