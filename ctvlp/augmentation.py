"""Random changes of a crop in attenuation, size and tokens: parameters from a passed generator, then applied."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ctvlp.compiled import compiled
from ctvlp.transforms import HU_MEASURES, Tokens

Image = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]

_SPREAD_MEASURE = HU_MEASURES.start + 1  # a standard deviation, which an offset leaves alone
_LOWEST, _HIGHEST = (np.float32(limit) for limit in (np.iinfo(np.int16).min, np.iinfo(np.int16).max))


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
    patches = np.ascontiguousarray(tokens.patches)
    noise = rng.standard_normal(patches.size if settings.noise_hu > 0 else 0, dtype=np.float32)
    changed = _change(patches.ravel(), contrast, offset, np.float32(settings.noise_hu), noise)
    measures = tokens.measures.copy()
    spread = measures[_SPREAD_MEASURE] * contrast
    measures[HU_MEASURES] = measures[HU_MEASURES] * contrast + offset / 100
    measures[_SPREAD_MEASURE] = spread
    measures[:3] += 3 * size  # logarithms of volumes
    measures[3:6] += size  # logarithms of lengths
    return replace(
        tokens,
        patches=changed.reshape(patches.shape),
        measures=measures,
        positions_mm=tokens.positions_mm * np.exp(size),
    )


@compiled()
def _change(hu: Image, contrast: np.float32, offset: np.float32, spread: np.float32, noise: Floats) -> Image:
    """Return attenuations (n,) times contrast plus offset plus spread times noise, (n,) or (0,) for none."""
    changed = np.empty_like(hu)
    for i in range(len(hu)):
        value = np.float32(hu[i]) * contrast + offset
        if len(noise) > 0:
            value += spread * noise[i]
        changed[i] = np.int16(min(max(np.rint(value), _LOWEST), _HIGHEST))
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
