"""What the image encoder reads: the tokens of several crops of one anatomy, packed into tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ctvlp.transforms import Tokens


@dataclass(frozen=True)
class ImageBatch:
    """Tokens of B crops of one anatomy, one crop after the other.

    Attributes:
        anatomy: Name of the anatomy.
        patches: (n, s, h, h, h) HU, int16 (float32 once augmented), see `Tokens.patches`.
        inside: (n, 2, h, h, h) uint8, see `Tokens.inside`.
        positions_mm: (n, 3) float32.
        lengths: (B,) int64, tokens of each crop, each at least 1; their sum is n.
        measures: (B, MEASURES) float32.
    """

    anatomy: str
    patches: Tensor
    inside: Tensor
    positions_mm: Tensor
    lengths: Tensor
    measures: Tensor

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self.lengths)

    def to(self, device: torch.device | str) -> "ImageBatch":
        """Return the batch on another device."""
        moved = {
            name: getattr(self, name).to(device)
            for name in ("patches", "inside", "positions_mm", "lengths", "measures")
        }
        return replace(self, **moved)


def build_image_batch(anatomy: str, crops: Sequence[Tokens]) -> ImageBatch:
    """Pack the tokens of crops of one anatomy.

    Args:
        anatomy: Name of the anatomy.
        crops: At least one; all cut with the same patch and block edges, none empty.

    Raises:
        ValueError: There is no crop, or one without tokens.
    """
    if not crops or any(len(tokens) == 0 for tokens in crops):
        raise ValueError(f"{anatomy}: a batch needs at least one crop, and each crop at least one token")
    return ImageBatch(
        anatomy=anatomy,
        patches=torch.from_numpy(np.concatenate([tokens.patches for tokens in crops])),
        inside=torch.from_numpy(np.concatenate([tokens.inside for tokens in crops])),
        positions_mm=torch.from_numpy(np.concatenate([tokens.positions_mm for tokens in crops])),
        lengths=torch.tensor([len(tokens) for tokens in crops]),
        measures=torch.from_numpy(np.stack([tokens.measures for tokens in crops])),
    )
