"""A crop cut into tokens: cubes of voxels that touch the region, each with its place relative to the mask's centre."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from preprocess.crops import Crop
    from preprocess.vocabulary import Anatomy

Shift = tuple[int, int, int]
AnyT = TypeVar("AnyT", bound=np.generic)

OUTSIDE, ORGAN, RIM = 0, 1, 2
"""A voxel is outside the region, in the organ, or in the region outside the organ."""
REGION_VALUE = 255
"""Value of a crop's mask in the region outside the organ."""
PAD_HU = -1024
"""Attenuation of the voxels by which a patch sticks out of its crop."""
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
        dropped: Patches left out because the crop has more than the cap.
    """

    patches: npt.NDArray[np.int16]
    inside: npt.NDArray[np.uint8]
    positions_mm: npt.NDArray[np.float32]
    index: npt.NDArray[np.int32]
    measures: npt.NDArray[np.float32]
    patch_voxels: int
    dropped: int = 0

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
    code = _inside(crop.mask)
    padded = _pad(code, patch_voxels, shift, OUTSIDE)
    touching = np.argwhere(_block_sums(padded > 0, patch_voxels))  # (n, 3), in patches
    organ = _block_sums(padded == ORGAN, patch_voxels)[tuple(touching.T)]
    index = (touching * patch_voxels - np.asarray(shift)).astype(np.int32)
    centres = _lps(crop.affine, index + (patch_voxels - 1) / 2)
    keep = _nearest_to_organ(organ, centres, anatomy.max_tokens if max_tokens is None else max_tokens)
    kept = tuple(touching[keep].T)
    image = _cubes(_pad(crop.image, patch_voxels, shift, PAD_HU), patch_voxels)[kept]
    patches, inside = _blocks(image, _cubes(padded, patch_voxels)[kept], block_voxels)
    return Tokens(
        patches=patches,
        inside=inside,
        positions_mm=(centres - _lps(crop.affine, _centre(code)))[keep].astype(np.float32),
        index=index[keep],
        measures=_measure(crop.image, crop.mask, code, crop.spacing_mm),
        patch_voxels=patch_voxels,
        dropped=len(touching) - len(keep),
    )


def count_tokens(crop: "Crop", patch_voxels: int) -> int:
    """Return how many patches of a crop touch its region, for the unshifted grid; 0 for an absent anatomy."""
    if crop.mask is None:
        return 0
    padded = _pad(crop.mask, patch_voxels, (0, 0, 0), 0)
    return int(np.count_nonzero(_block_sums(padded > 0, patch_voxels)))


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
    return _measure(crop.image, crop.mask, _inside(crop.mask), crop.spacing_mm)


def _measure(
    image: npt.NDArray[np.int16],
    mask: npt.NDArray[np.uint8],
    code: npt.NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
) -> npt.NDArray[np.float32]:
    result = np.zeros(MEASURES, dtype=np.float32)
    spacing, organ = np.asarray(spacing_mm), code == ORGAN
    parts = [np.count_nonzero(mask == part) for part in range(1, int((mask * organ).max()) + 1)]
    sizes = np.array([count for count in parts if count]) * float(spacing.prod()) / 1000
    if len(sizes):
        result[:3] = np.log([sizes.sum(), sizes.min(), sizes.max()])
        box = [np.ptp(np.flatnonzero(line)) + 1 for line in _along_axes(organ)]
        result[3:6] = np.log(np.asarray(box) * spacing / 10)
        values = image[organ]
        result[6:8] = values.mean() / 100, values.std() / 100
        result[8:13] = _percentiles(values, _ORGAN_PERCENTILES) / 100
    rim = image[code == RIM]
    if len(rim):
        result[13:] = _percentiles(rim, _RIM_PERCENTILES) / 100
    return result


def _percentiles(values: npt.NDArray[np.int16], wanted: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """What `np.percentile` gives, by counting, which is quicker for whole HU."""
    lowest = int(values.min())
    ends = np.bincount(values.astype(np.intp) - lowest).cumsum()  # how many values there are up to each
    place = np.asarray(wanted) / 100 * (len(values) - 1)
    below = np.floor(place)
    low, high = (np.searchsorted(ends, rank, side="right") for rank in (below, np.ceil(place)))
    return lowest + low + (high - low) * (place - below)


def _along_axes(voxels: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.int64]]:
    """Number of voxels in each slice along z, y and x."""
    across = voxels.sum(axis=0, dtype=np.int32)  # (y, x)
    along = np.count_nonzero(voxels.reshape(len(voxels), -1), axis=1)
    return [along, across.sum(axis=1), across.sum(axis=0)]


def _inside(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What each voxel is: `OUTSIDE`, `ORGAN` or `RIM`."""
    code: npt.NDArray[np.uint8] = (mask > 0).view(np.uint8) + (mask == REGION_VALUE).view(np.uint8)
    return code


def _pad(array: npt.NDArray[AnyT], patch: int, shift: Shift, fill: int) -> npt.NDArray[AnyT]:
    """Fill an array up to whole patches of a grid that starts `shift` voxels early."""
    pads = [(s, -(n + s) % patch) for n, s in zip(array.shape, shift, strict=True)]
    return np.pad(array, pads, constant_values=fill)


def _cubes(padded: npt.NDArray[AnyT], patch: int) -> npt.NDArray[AnyT]:
    """Patches of an array as a view, (Z, Y, X, p, p, p)."""
    z, y, x = (n // patch for n in padded.shape)
    return padded.reshape(z, patch, y, patch, x, patch).transpose(0, 2, 4, 1, 3, 5)


def _block_sums(voxels: npt.NDArray[np.bool_], patch: int) -> npt.NDArray[np.int32]:
    """Number of voxels in each patch, (Z, Y, X); axis by axis, so that all but the last sum runs along rows."""
    z, y, x = (n // patch for n in voxels.shape)
    layers = voxels.view(np.uint8).reshape(z, patch, -1).sum(axis=1, dtype=np.uint16)
    rows = layers.reshape(z, y, patch, -1).sum(axis=2, dtype=np.int32)
    return np.asarray(rows.reshape(z, y, x, patch).sum(axis=3, dtype=np.int32))


def _blocks(
    image: npt.NDArray[np.generic], code: npt.NDArray[np.generic], block: int
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Reduce patches (n, p, p, p) to their blocks' statistics, see `Tokens.patches` and `Tokens.inside`."""
    if block == 1:
        codes = np.stack([code == ORGAN, code == RIM], axis=1)
        return image[:, None].astype(np.int16), codes.astype(np.uint8) * 255
    n, h = len(image), image.shape[1] // block
    parts = (n, h, block, h, block, h, block)
    hu, kind = (
        np.ascontiguousarray(a.reshape(parts).transpose(0, 1, 3, 5, 2, 4, 6).reshape(n, h, h, h, -1))
        for a in (image, code)
    )
    region = kind != OUTSIDE
    count = region.sum(axis=-1)
    mean = np.where(region, hu, 0).sum(axis=-1, dtype=np.int32) / np.maximum(count, 1)
    lowest = np.where(region, hu, np.iinfo(np.int16).max).min(axis=-1)
    highest = np.where(region, hu, np.iinfo(np.int16).min).max(axis=-1)
    statistics = np.stack([np.where(count > 0, value, PAD_HU) for value in (mean.round(), lowest, highest)], axis=1)
    shares = np.stack([(kind == value).mean(axis=-1) for value in (ORGAN, RIM)], axis=1)
    return statistics.astype(np.int16), (shares * 255).round().astype(np.uint8)


def _nearest_to_organ(
    organ: npt.NDArray[np.int32], centres: npt.NDArray[np.float64], cap: int
) -> npt.NDArray[np.int64]:
    """Positions of the patches to keep, in their order; `organ` are their organ voxels."""
    if len(organ) <= cap:
        return np.arange(len(organ))
    held = centres[organ > 0] if organ.any() else centres.mean(axis=0, keepdims=True)
    distance = np.zeros(len(organ))
    between = centres[organ == 0][:, None] - held[None]
    distance[organ == 0] = np.sqrt((between**2).sum(axis=-1)).min(axis=1, initial=np.inf)
    order = np.lexsort((-organ, distance.round(3)))
    return np.sort(order[:cap])


def _centre(code: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Centre of mass of the organ in voxels (z, y, x); of the region where the organ is empty."""
    lines = _along_axes(code == ORGAN)
    if not lines[0].any():
        lines = _along_axes(code == RIM)
    return np.array([line @ np.arange(len(line)) / line.sum() for line in lines])


def _lps(affine: npt.NDArray[np.float64], index: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])
