"""Random changes of a crop in attenuation, size and tokens: parameters from a passed generator, then applied."""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from pydantic import NonNegativeFloat

from ctvlp.bounds import ShareBelowOne, check_values
from ctvlp.compiled import compiled
from ctvlp.transforms import HU_MEASURES, Tokens

Image = npt.NDArray[np.int16]

_LEVELS = ([6, 8, 9, 10, 11, 12], [13, 14, 15, 16, 17])
"""Measures of organ and of rim that an offset moves: all but the standard deviation, see `measure_crop`."""
_STRIDE, _FIRST, _SECOND = map(np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_PART, _MIDDLE = np.uint64(0xFFFF), np.int32(2 * 0xFFFF)
_PER_SUM = np.float32(math.sqrt(3 / (2**32 - 1)))
"""One over the standard deviation of a sum of four whole numbers, each uniform below 2^16."""
_LOWEST, _HIGHEST = (np.float32(limit) for limit in (np.iinfo(np.int16).min, np.iinfo(np.int16).max))


@dataclass(frozen=True)
class AugmentationSettings:
    """How much crops are changed; 0 switches a change off. Sides are never exchanged, since reports name them.

    Attributes:
        offset_hu: Standard deviation of what is added to all attenuations of a crop.
        contrast: Standard deviation of the logarithm of what they are multiplied by.
        noise_hu: Standard deviation of the noise of single blocks, or voxels of a volume.
        size: Standard deviation of the logarithm of a crop's size; of crops alone.
        drop_tokens: Share of tokens left out; of crops alone.

    Raises:
        InputError: A value cannot be; it is named.
    """

    offset_hu: NonNegativeFloat = 8.0
    contrast: NonNegativeFloat = 0.03
    noise_hu: NonNegativeFloat = 6.0
    size: NonNegativeFloat = 0.03
    drop_tokens: ShareBelowOne = 0.0

    def __post_init__(self) -> None:
        check_values(self, "training.augmentation")


STILL = AugmentationSettings(offset_hu=0.0, contrast=0.0, noise_hu=0.0, size=0.0)
"""Changes nothing."""


def augment(tokens: Tokens, settings: AugmentationSettings, rng: np.random.Generator) -> Tokens:
    """Change a crop at random.

    Args:
        tokens: Of the crop; not changed.
        settings: How much.
        rng: Draws all parameters.

    Returns:
        The changed tokens; attenuations are whole HU, as before.
    """
    if settings.drop_tokens > 0:
        tokens = _drop(tokens, settings.drop_tokens, rng)
    patches, contrast, offset = augment_hu(tokens.patches, settings, rng)
    size = np.float32(rng.normal(0, settings.size))
    measures = tokens.measures.copy()
    measures[HU_MEASURES] *= contrast
    for levels in _LEVELS:
        if tokens.measures[levels].any():  # those of an empty organ or rim stay zero
            measures[levels] += offset / 100
    measures[:3] += 3 * size  # logarithms of volumes
    measures[3:6] += size  # logarithms of lengths
    return replace(
        tokens,
        patches=patches,
        measures=measures,
        positions_mm=tokens.positions_mm * np.exp(size),
    )


def augment_hu(
    hu: Image, settings: AugmentationSettings, rng: np.random.Generator
) -> tuple[Image, np.float32, np.float32]:
    """Change attenuations at random: all of them alike, and each place by noise.

    Args:
        hu: HU; (n, statistics, ...) of blocks, whose mean, lowest and highest value share their noise and so keep their
            order, or (z, y, x) of voxels. Not changed.
        settings: How much.
        rng: Draws all parameters.

    Returns:
        The changed whole HU, what they were multiplied by, and what was then added.
    """
    contrast = np.float32(np.exp(rng.normal(0, settings.contrast)))
    offset = np.float32(rng.normal(0, settings.offset_hu))
    rows = np.ascontiguousarray(hu).reshape(*(hu.shape[:2] if hu.ndim > 3 else (1, 1)), -1)
    changed = _change(rows, contrast, offset, np.float32(settings.noise_hu), rng.integers(2**64, dtype=np.uint64))
    return changed.reshape(hu.shape), contrast, offset


@compiled()
def _change(hu: Image, contrast: np.float32, offset: np.float32, spread: np.float32, key: np.uint64) -> Image:
    """Return attenuations (n, statistics, q) times contrast plus offset plus noise of a spread.

    The noise of a place is the sum of the four 16-bit parts of a hash of its number, each of them uniform: nearly
    normal, within 3.5 standard deviations, and quicker than normal numbers. The hash is SplitMix64 (Steele et al. 2014,
    doi:10.1145/2660193.2660195).
    """
    changed = np.empty_like(hu)
    scale = spread * _PER_SUM
    for n in range(hu.shape[0]):
        for statistic in range(hu.shape[1]):
            first = np.uint64(n * hu.shape[2])
            before, after = hu[n, statistic], changed[n, statistic]
            for k in range(len(before)):
                bits = key + (first + np.uint64(k)) * _STRIDE
                bits = (bits ^ (bits >> np.uint64(30))) * _FIRST
                bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
                bits ^= bits >> np.uint64(31)
                low, high = (bits & _PART) + (bits >> np.uint64(16) & _PART), (bits >> np.uint64(32) & _PART)
                noise = np.float32(np.int32(low + high + (bits >> np.uint64(48))) - _MIDDLE)
                value = np.float32(before[k]) * contrast + offset + scale * noise
                after[k] = np.int16(min(max(np.rint(value), _LOWEST), _HIGHEST))
    return changed


def _drop(tokens: Tokens, share: float, rng: np.random.Generator) -> Tokens:
    """Leave out a share of the tokens, rounded down, so that at least one stays."""
    count = len(tokens)
    kept = np.sort(rng.permutation(count)[: count - int(share * count)])
    return replace(
        tokens,
        patches=tokens.patches[kept],
        inside=tokens.inside[kept],
        positions_mm=tokens.positions_mm[kept],
        index=tokens.index[kept],
    )
