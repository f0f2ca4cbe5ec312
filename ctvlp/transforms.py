"""A crop cut into tokens: cubes of voxels that touch the region, each with its place relative to the mask's centre."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ctvlp.crop_kernels import (
    ORGAN,
    REGION_VALUE,
    RIM,
    Counts,
    Survey,
    count_patches,
    cut_patches,
    nearest,
    reduce_blocks,
    survey,
)

if TYPE_CHECKING:
    from preprocess.crops import Crop
    from preprocess.vocabulary import Anatomy

Shift = tuple[int, int, int]
MEASURES = 18
"""Length of `Tokens.measures`."""
HU_MEASURES = slice(6, 18)
"""The entries of `Tokens.measures` that are attenuations (in units of 100 HU)."""

_ORGAN_PERCENTILES = (1, 10, 50, 90, 99)
_RIM_PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class Tokens:
    """The tokens of one crop: cubes of h x h x h blocks, a block being one voxel or a small cube of them.

    Attributes:
        patches: int16 (n, s, h, h, h), HU. Where a block is one voxel, s = 1. Else s = 3: mean, lowest and highest of
            the block's voxels in the region, so that a focus of one voxel is not averaged away; `PAD_HU` in all
            three where the block has none.
        inside: uint8 (n, 2, h, h, h): share of the block's voxels in the organ, and in the region outside the organ;
            255 is all.
        positions_mm: float32 (n, 3): patch centre minus mask centre, in patient mm (L, P, S).
        index: int32 (n, 3): the patch's first voxel (z, y, x) on the crop's grid; negative where the patch sticks out.
        measures: float32 (MEASURES,): size and attenuation of the whole crop, see `measure_crop`.
        patch_voxels: Edge of a patch in crop voxels.
    """

    patches: npt.NDArray[np.int16]
    inside: npt.NDArray[np.uint8]
    positions_mm: npt.NDArray[np.float32]
    index: npt.NDArray[np.int32]
    measures: npt.NDArray[np.float32]
    patch_voxels: int

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.patches)


def tokenize_crop(
    crop: "Crop",
    anatomy: "Anatomy",
    *,
    patch_voxels: int = 8,
    block_voxels: int = 2,
    max_tokens: int | None = None,
    shift: Shift = (0, 0, 0),
) -> Tokens:
    """Cut a crop into patches and keep those that touch the region.

    Above the cap, patches are left out by their distance from the organ, farthest first; among patches that hold organ
    voxels, those with the fewest first.

    Args:
        crop: Crop of a complete or truncated anatomy.
        anatomy: The anatomy; gives the cap unless `max_tokens` does.
        patch_voxels: Edge p of a patch in crop voxels.
        block_voxels: Edge of a block in crop voxels; divides p.
        max_tokens: Largest number of tokens.
        shift: Voxels (z, y, x), 0 to p - 1, by which the patch grid starts before the crop's first voxel.

    Raises:
        ValueError: The crop is of an absent anatomy, its mask is empty, or p is no multiple of `block_voxels`.
    """
    if crop.image is None or crop.mask is None or crop.affine is None:
        raise ValueError(f"{anatomy.name}: an absent anatomy has no tokens")
    if not crop.mask.any():
        raise ValueError(f"{anatomy.name}: the mask of the crop is empty, so there is nothing to cut into tokens")
    if patch_voxels % block_voxels:
        raise ValueError(f"patch_voxels={patch_voxels} is no multiple of block_voxels={block_voxels}")
    _, *counts = count_patches(crop.mask, patch_voxels, shift)
    organ, rim = counts
    touching = np.argwhere(organ + rim)  # (n, 3), in patches
    index = (touching * patch_voxels - np.asarray(shift)).astype(np.int32)
    centres = _lps(crop.affine, index + (patch_voxels - 1) / 2)
    cap = anatomy.max_tokens if max_tokens is None else max_tokens
    keep = _nearest_to_organ(organ[tuple(touching.T)], centres, cap)
    hu, kind = cut_patches(crop.image, crop.mask, index[keep], patch_voxels)
    if block_voxels == 1:
        patches, inside = hu[:, None], np.stack([kind == ORGAN, kind == RIM], axis=1) * np.uint8(255)
    else:
        patches, inside = reduce_blocks(hu, kind, block_voxels)
    counted = survey(crop.image, crop.mask)
    return Tokens(
        patches=patches,
        inside=inside,
        positions_mm=(centres - _lps(crop.affine, _centre(counted)))[keep].astype(np.float32),
        index=index[keep],
        measures=_measure(counted, crop.spacing_mm),
        patch_voxels=patch_voxels,
    )


def count_tokens(crop: "Crop", patch_voxels: int) -> int:
    """Return how many patches of a crop touch its region, for the unshifted grid; 0 for an absent anatomy."""
    if crop.mask is None:
        return 0
    return int(np.count_nonzero(count_patches(crop.mask, patch_voxels, (0, 0, 0)).sum(axis=0)))


def measure_crop(crop: "Crop") -> npt.NDArray[np.float32]:
    """Size and attenuation of a whole crop: what an average over tokens cannot tell.

    Entries 0 to 2: natural logarithm of the organ's volume in ml, of its smallest and of its largest part; 3 to 5:
    logarithm of the organ's extent along (z, y, x) in cm; 6 to 12: mean, standard deviation and percentiles
    1, 10, 50, 90, 99 of the attenuation in the organ; 13 to 17: percentiles 5, 25, 50, 75, 95 in the region outside
    the organ; attenuations in units of 100 HU. An empty organ or rim gives zeros.

    Args:
        crop: Crop of a complete or truncated anatomy.

    Returns:
        float32 (MEASURES,).
    """
    if crop.image is None or crop.mask is None:
        return np.zeros(MEASURES, dtype=np.float32)
    return _measure(survey(crop.image, crop.mask), crop.spacing_mm)


def _measure(counted: Survey, spacing_mm: tuple[float, float, float]) -> npt.NDArray[np.float32]:
    result = np.zeros(MEASURES, dtype=np.float32)
    spacing, parts = np.asarray(spacing_mm), counted.parts[1:REGION_VALUE]
    sizes = parts[parts > 0] * float(spacing.prod()) / 1000
    if len(sizes):
        result[:3] = np.log([sizes.sum(), sizes.min(), sizes.max()])
        box = [np.ptp(np.flatnonzero(line[ORGAN])) + 1 for line in counted.lines]
        result[3:6] = np.log(np.asarray(box) * spacing / 10)
        histogram = counted.histograms[ORGAN]
        values = np.arange(len(histogram)) + counted.lowest
        mean = histogram @ values / histogram.sum()
        result[6:8] = mean / 100, np.sqrt(histogram @ (values - mean) ** 2 / histogram.sum()) / 100
        result[8:13] = (counted.lowest + _percentiles(histogram, _ORGAN_PERCENTILES)) / 100
    if counted.parts[REGION_VALUE]:
        result[13:] = (counted.lowest + _percentiles(counted.histograms[RIM], _RIM_PERCENTILES)) / 100
    return result


def _percentiles(histogram: Counts, wanted: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """What `np.percentile` gives for the values 0, 1, ... that a histogram counts."""
    ends = histogram.cumsum()  # how many values there are up to each
    place = np.asarray(wanted) / 100 * (ends[-1] - 1)
    below = np.floor(place)
    low, high = (np.searchsorted(ends, rank, side="right") for rank in (below, np.ceil(place)))
    values: npt.NDArray[np.float64] = low + (high - low) * (place - below)
    return values


def _nearest_to_organ(organ: Counts, centres: npt.NDArray[np.float64], cap: int) -> npt.NDArray[np.int64]:
    """Positions of the patches to keep, in their order; `organ` are their organ voxels."""
    if len(organ) <= cap:
        return np.arange(len(organ))
    held = centres[organ > 0] if organ.any() else centres.mean(axis=0, keepdims=True)
    distance = np.zeros(len(organ))
    distance[organ == 0] = nearest(centres[organ == 0], held)
    order = np.lexsort((-organ, distance.round(3)))
    return np.sort(order[:cap])


def _centre(counted: Survey) -> npt.NDArray[np.float64]:
    """Centre of mass of the organ in voxels (z, y, x); of the region where the organ is empty."""
    kind = ORGAN if counted.along_z[ORGAN].any() else RIM
    return np.array([line[kind] @ np.arange(line.shape[1]) / line[kind].sum() for line in counted.lines])


def _lps(affine: npt.NDArray[np.float64], index: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])
