"""Random changes of crops in attenuation, size and tokens: parameters from a passed generator, then applied."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ctvlp.batches import ImageBatch
from ctvlp.transforms import HU_MEASURES

_SPREAD_MEASURE = HU_MEASURES.start + 1  # a standard deviation, which an offset leaves alone


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


def augment(batch: ImageBatch, settings: AugmentationSettings, rng: np.random.Generator) -> ImageBatch:
    """Change each crop of a batch at random.

    Args:
        batch: Tokens of some crops, on the CPU.
        settings: How much.
        rng: Draws all parameters.

    Returns:
        The changed batch; patches are float32.
    """
    if settings.drop_tokens > 0:
        batch = _drop(batch, settings.drop_tokens, rng)
    count = len(batch)
    offset = torch.from_numpy(rng.normal(0, settings.offset_hu, count)).float()
    contrast = torch.from_numpy(np.exp(rng.normal(0, settings.contrast, count))).float()
    size = torch.from_numpy(rng.normal(0, settings.size, count)).float()
    patches = batch.patches.float()
    patches *= _by_token(contrast, batch.lengths)
    patches += _by_token(offset, batch.lengths)
    if settings.noise_hu > 0:
        noise = torch.empty_like(patches)
        noise.normal_(0, settings.noise_hu, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
        patches += noise
    measures = batch.measures.clone()
    measures[:, HU_MEASURES] *= contrast[:, None]
    spread = measures[:, _SPREAD_MEASURE].clone()
    measures[:, HU_MEASURES] += offset[:, None] / 100
    measures[:, _SPREAD_MEASURE] = spread
    measures[:, :3] += 3 * size[:, None]  # logarithms of volumes
    measures[:, 3:6] += size[:, None]  # logarithms of lengths
    scale = size.exp().repeat_interleave(batch.lengths)[:, None]
    return replace(batch, patches=patches, measures=measures, positions_mm=batch.positions_mm * scale)


def _by_token(values: Tensor, lengths: Tensor) -> Tensor:
    """Repeat (B,) values for each token of their crop, (n, 1, 1, 1, 1)."""
    return values.repeat_interleave(lengths)[:, None, None, None, None]


def _drop(batch: ImageBatch, share: float, rng: np.random.Generator) -> ImageBatch:
    """Leave out a share of each crop's tokens, rounded down, so that at least one stays."""
    ends = batch.lengths.cumsum(0).tolist()
    kept = []
    for end, length in zip(ends, batch.lengths.tolist(), strict=True):
        chosen = rng.permutation(length)[: length - int(share * length)] if length > 1 else np.arange(1)
        kept.append(np.sort(chosen) + end - length)
    rows = torch.from_numpy(np.concatenate(kept))
    return replace(
        batch,
        patches=batch.patches[rows],
        inside=batch.inside[rows],
        positions_mm=batch.positions_mm[rows],
        lengths=torch.tensor([len(chosen) for chosen in kept]),
    )
