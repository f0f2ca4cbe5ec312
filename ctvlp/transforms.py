"""A crop cut into tokens: cubes of voxels that touch the region, each with its place relative to the mask's centre."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from preprocess.crops import Crop
    from preprocess.vocabulary import Anatomy

Shift = tuple[int, int, int]

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
    image, index = _cut(crop.image, patch_voxels, shift, PAD_HU)
    code, _ = _cut(_inside(crop.mask), patch_voxels, shift, OUTSIDE)
    touches = code.any(axis=(1, 2, 3))
    image, code, index = image[touches], code[touches], index[touches]
    centres = _lps(crop.affine, index + (patch_voxels - 1) / 2)
    keep = _nearest_to_organ(code, centres, anatomy.max_tokens if max_tokens is None else max_tokens)
    patches, inside = _blocks(image[keep], code[keep], block_voxels)
    return Tokens(
        patches=patches,
        inside=inside,
        positions_mm=(centres - _mask_centre(crop))[keep].astype(np.float32),
        index=index[keep],
        measures=measure_crop(crop),
        patch_voxels=patch_voxels,
        dropped=len(image) - len(keep),
    )


def count_tokens(crop: "Crop", patch_voxels: int) -> int:
    """Return how many patches of a crop touch its region, for the unshifted grid; 0 for an absent anatomy."""
    if crop.mask is None:
        return 0
    cubes, _ = _cut(crop.mask, patch_voxels, (0, 0, 0), 0)
    return int(cubes.any(axis=(1, 2, 3)).sum())


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
    result = np.zeros(MEASURES, dtype=np.float32)
    if crop.image is None or crop.mask is None:
        return result
    code = _inside(crop.mask)
    spacing = np.asarray(crop.spacing_mm)
    counts = np.bincount(crop.mask.ravel(), minlength=256)[1:REGION_VALUE]
    sizes = counts[counts > 0] * float(spacing.prod()) / 1000
    if len(sizes):
        result[:3] = np.log([sizes.sum(), sizes.min(), sizes.max()])
        box = [np.ptp(np.flatnonzero((code == ORGAN).any(axis=axes))) + 1 for axes in ((1, 2), (0, 2), (0, 1))]
        result[3:6] = np.log(np.asarray(box) * spacing / 10)
        organ = crop.image[code == ORGAN]
        result[6:8] = organ.mean() / 100, organ.std() / 100
        result[8:13] = np.percentile(organ, _ORGAN_PERCENTILES) / 100
    rim = crop.image[code == RIM]
    if len(rim):
        result[13:] = np.percentile(rim, _RIM_PERCENTILES) / 100
    return result


def _inside(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    code = np.minimum(mask, 1)
    code[mask == REGION_VALUE] = RIM
    return code


def _cut(
    array: npt.NDArray[np.generic], patch: int, shift: Shift, fill: int
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.int32]]:
    """Cut (z, y, x) into cubes (n, p, p, p) of a grid that starts `shift` voxels early; also their first voxels."""
    pads = [(s, -(n + s) % patch) for n, s in zip(array.shape, shift, strict=True)]
    padded = np.pad(array, pads, constant_values=fill)
    z, y, x = (n // patch for n in padded.shape)
    cubes = padded.reshape(z, patch, y, patch, x, patch).transpose(0, 2, 4, 1, 3, 5).reshape(-1, patch, patch, patch)
    index = np.indices((z, y, x), dtype=np.int32).reshape(3, -1).T * patch - np.asarray(shift, dtype=np.int32)
    return cubes, index


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
    code: npt.NDArray[np.generic], centres: npt.NDArray[np.float64], cap: int
) -> npt.NDArray[np.int64]:
    """Positions of the patches to keep, in their order."""
    if len(code) <= cap:
        return np.arange(len(code))
    organ = (code == ORGAN).sum(axis=(1, 2, 3))
    held = centres[organ > 0] if organ.any() else centres.mean(axis=0, keepdims=True)
    distance = np.sqrt(((centres[:, None] - held[None]) ** 2).sum(axis=-1)).min(axis=1)
    order = np.lexsort((-organ, distance.round(3)))
    return np.sort(order[:cap])


def _mask_centre(crop: "Crop") -> npt.NDArray[np.float64]:
    """Centre of mass of the organ in LPS mm; of the region where the organ is empty."""
    if crop.mask is None or crop.affine is None:
        raise ValueError("an absent anatomy has no centre")
    code = _inside(crop.mask)
    voxels = np.argwhere(code == ORGAN)
    if not len(voxels):
        voxels = np.argwhere(code == RIM)
    return _lps(crop.affine, voxels.mean(axis=0))


def _lps(affine: npt.NDArray[np.float64], index: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])
