"""Where the model looked: how much a finding's score falls when one token of the crop is left out.

This is occlusion at the grain of the model's own tokens. It says which patches this score rests on, not where a lesion
lies: patches that repeat each other hide each other's share, and what the score owes to the crop's overall size and
attenuation belongs to no patch.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ctvlp.batches import build_image_batch
from ctvlp.prompts import PromptFeatures
from ctvlp.transforms import Tokens

if TYPE_CHECKING:
    from ctvlp.model import AnatomyCLIP

Floats = NDArray[np.float32]


def token_evidence(
    model: "AnatomyCLIP",
    anatomy: str,
    tokens: Tokens,
    prompts: Sequence[PromptFeatures],
    *,
    device: str = "cpu",
    batch_size: int = 8,
) -> Floats:
    """Leave out each token in turn and see how the margin of positive over negative prompts changes.

    Args:
        model: In evaluation mode.
        anatomy: Name of the crop's anatomy.
        tokens: The crop's n tokens.
        prompts: Prompts of k findings.
        device: Where the model lies.
        batch_size: Variants encoded at a time.

    Returns:
        (k, n) fall of logit_scale x (positive similarity - negative similarity); above 0 where the token speaks for the
        finding. A crop of a single token has nothing to leave out and gives 0.
    """
    count = len(tokens)
    if count < 2:
        return np.zeros((len(prompts), count), dtype=np.float32)
    variants = [tokens, *(without_token(tokens, position) for position in range(count))]
    with torch.inference_mode():
        features = [
            model.encode_image(build_image_batch(anatomy, variants[start : start + batch_size]).to(device)).cpu()
            for start in range(0, len(variants), batch_size)
        ]
        scale = float(model.logit_scale)
    directions = np.stack([pair.positive - pair.negative for pair in prompts])  # (k, D)
    margins = scale * directions @ torch.cat(features).numpy().T  # (k, 1 + n)
    return np.asarray(margins[:, :1] - margins[:, 1:], dtype=np.float32)


def without_token(tokens: Tokens, position: int) -> Tokens:
    """Return the tokens less one; the crop's measures stay."""
    kept = np.arange(len(tokens)) != position
    return replace(
        tokens,
        patches=tokens.patches[kept],
        inside=tokens.inside[kept],
        positions_mm=tokens.positions_mm[kept],
        index=tokens.index[kept],
    )


def evidence_map(tokens: Tokens, values: Floats, region: NDArray[np.bool_]) -> Floats:
    """Spread what tokens say for a finding over the crop's voxels.

    Args:
        tokens: The crop's n tokens.
        values: (n,) evidence of each; what is below 0 counts as 0.
        region: (z, y, x) voxels of the crop that belong to the region.

    Returns:
        (z, y, x) in [0, 1], 1 in the token that says most, 0 outside the region; all 0 where no token speaks for it.
    """
    result = np.zeros(region.shape, dtype=np.float32)
    strongest = float(values.max(initial=0.0))
    if strongest <= 0:
        return result
    for value, first in zip(np.clip(values, 0, None) / strongest, tokens.index, strict=True):
        low, high = np.maximum(first, 0), np.minimum(first + tokens.patch_voxels, region.shape)
        result[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = value
    result[~region] = 0
    return result
