"""Random changes of a crop in attenuation, size and tokens: parameters from a passed generator, then applied."""

from dataclasses import dataclass, replace

import numpy as np

from ctvlp.transforms import HU_MEASURES, Tokens

_SPREAD_MEASURE = HU_MEASURES.start + 1  # a standard deviation, which an offset leaves alone
_LIMITS_HU = np.iinfo(np.int16)


@dataclass(frozen=True)
class AugmentationSettings:
    """How much crops are changed; 0 switches a change off. Sides are never exchanged, since reports name them.

    Attributes:
        offset_hu: Standard deviation of what is added to all attenuations of a crop.
        contrast: Standard deviation of the logarithm of what they are multiplied by.
        noise_hu: Standard deviation of the noise of single blocks.
        size: Standard deviation of the logarithm of a crop's size.
        drop_tokens: Share of tokens left out.
    """

    offset_hu: float = 8.0
    contrast: float = 0.03
    noise_hu: float = 6.0
    size: float = 0.03
    drop_tokens: float = 0.0


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
    offset, size = np.float32(rng.normal(0, settings.offset_hu)), np.float32(rng.normal(0, settings.size))
    contrast = np.float32(np.exp(rng.normal(0, settings.contrast)))
    patches = tokens.patches * contrast  # float32
    patches += offset
    if settings.noise_hu > 0:
        noise = rng.standard_normal(patches.shape, dtype=np.float32)
        noise *= np.float32(settings.noise_hu)
        patches += noise
    measures = tokens.measures.copy()
    spread = measures[_SPREAD_MEASURE] * contrast
    measures[HU_MEASURES] = measures[HU_MEASURES] * contrast + offset / 100
    measures[_SPREAD_MEASURE] = spread
    measures[:3] += 3 * size  # logarithms of volumes
    measures[3:6] += size  # logarithms of lengths
    return replace(
        tokens,
        patches=np.rint(patches).clip(_LIMITS_HU.min, _LIMITS_HU.max).astype(np.int16),
        measures=measures,
        positions_mm=tokens.positions_mm * np.exp(size),
    )


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
