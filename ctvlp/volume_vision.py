"""The volume encoder: a vision transformer over a whole volume, whose tokens all anatomies share."""

import torch
from monai.networks.blocks import PatchEmbeddingBlock
from torch import Tensor, nn
from torch.nn import functional as F

from ctvlp.transformer import Transformer
from ctvlp.windows import WindowGrid

WINDOW_HU = (-1150.0, 350.0)
"""Attenuations that become 0 and 1; what lies beyond is clipped."""


class VolumeEncoder(nn.Module):
    """A vision transformer over windows of volumes, as in fVLM (arXiv 2501.14548).

    A token is described by the outputs of the blocks at a quarter, a half and three quarters of the depth (3, 6 and 9
    of 12, counted from 0) and of the final norm, side by side.

    Args:
        grid: Size and patches of the windows it is trained on; others work too, with interpolated positions.
        width: Length of a token inside.
        depth: Number of transformer blocks.
        heads: Attention heads of a block.
        mlp_ratio: Hidden over outer width of a block's MLP.
        recompute: In training, compute the blocks anew on the way back instead of keeping what is inside them.
        compiled: Let `torch.compile` build the blocks' kernels.
    """

    def __init__(
        self,
        grid: WindowGrid,
        *,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        recompute: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.embed = PatchEmbeddingBlock(
            in_channels=1,
            img_size=grid.shape,
            patch_size=grid.patch,
            hidden_size=width,
            num_heads=heads,
            proj_type="perceptron",
            pos_embed_type="learnable",
        )
        self.blocks = Transformer(
            width=width, depth=depth, heads=heads, mlp_ratio=mlp_ratio, recompute=recompute, compiled=compiled
        )
        self.norm = nn.LayerNorm(width)
        self.levels = sorted({depth * quarter // 4 for quarter in (1, 2, 3)})
        self.out_width = width * (len(self.levels) + 1)

    def forward(self, volumes: Tensor) -> Tensor:
        """Encode windows.

        Args:
            volumes: (S, 1, z, y, x) HU, integer or float; each axis a multiple of the patch's edge.

        Returns:
            (S, T, out_width), tokens in the order (z, y, x).

        Raises:
            ValueError: The size is no multiple of the patch.
        """
        z, y, x = volumes.shape[2:]
        counts = WindowGrid((z, y, x), self.grid.patch).counts
        low, high = WINDOW_HU
        seen = (volumes.to(self.norm.weight.dtype) - low).div_(high - low).clamp_(0, 1)
        tokens = self.embed.patch_embeddings(seen) + self._positions(counts)  # (S, T, width)
        tokens, kept = self.blocks(tokens, levels=self.levels)
        return torch.cat([*kept, self.norm(tokens)], dim=-1)

    def _positions(self, counts: tuple[int, int, int]) -> Tensor:
        """The learned positions (1, T, width) of a grid of patches, interpolated where it is not the learned one."""
        positions: Tensor = self.embed.position_embeddings
        if counts == self.grid.counts:
            return positions
        learned = positions.transpose(1, 2).reshape(1, -1, *self.grid.counts)  # (1, width, z, y, x)
        return F.interpolate(learned, size=counts, mode="trilinear").flatten(2).transpose(1, 2)
