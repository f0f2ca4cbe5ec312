"""The transformer blocks that both image encoders share: MONAI's, kept in memory or computed anew, compiled or not."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from monai.networks.blocks import TransformerBlock
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint


class Transformer(nn.ModuleList):
    """A stack of pre-norm transformer blocks without dropout.

    Args:
        width: Length of a token.
        depth: Number of blocks.
        heads: Attention heads of a block.
        mlp_ratio: Hidden over outer width of a block's MLP.
        recompute: In training, keep only what enters each block, and compute the rest anew on the way back: less
            memory for one more forward pass (Chen et al. 2016, arXiv 1604.06174).
        compiled: In training, let `torch.compile` build the blocks' kernels, on first use.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        recompute: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__(_build_block(width, int(width * mlp_ratio), heads) for _ in range(depth))
        self.recompute, self.compiled = recompute, compiled
        self._built: list[Callable[..., Tensor]] = []

    def forward(
        self, tokens: Tensor, exists: Tensor | None = None, *, levels: Collection[int] = ()
    ) -> tuple[Tensor, list[Tensor]]:
        """Run all blocks.

        Args:
            tokens: (B, T, width).
            exists: (B, T) bool, false for padding; None where all exist.
            levels: Blocks, counted from 0, whose outputs are wanted too.

        Returns:
            The last block's output (B, T, width), and those of `levels`, in ascending order.
        """
        mask = None if exists is None else exists[:, None, None, :]
        recompute = self.recompute and torch.is_grad_enabled()
        kept = []
        for number, block in enumerate(self._calls()):
            if recompute:
                # without dropout there is no random state to bring back
                tokens = checkpoint(_run, block, tokens, mask, use_reentrant=False, preserve_rng_state=False)
            else:
                tokens = _run(block, tokens, mask)
            if number in levels:
                kept.append(tokens)
        return tokens, kept

    def _calls(self) -> Sequence[Callable[..., Tensor]]:
        """The blocks, or what the compiler makes of them; names of weights stay as they are."""
        if not (self.compiled and self.training):
            return list(self)
        if not self._built:
            # the number of tokens changes from batch to batch
            self._built = [torch.compile(block, dynamic=True) for block in self]
        return self._built


def _build_block(width: int, hidden: int, heads: int) -> TransformerBlock:
    block = TransformerBlock(width, hidden, heads, qkv_bias=True, use_flash_attention=True)
    block.norm_cross_attn = nn.Identity()  # MONAI leaves weights there that nothing uses
    return block


def _run(block: Callable[..., Tensor], tokens: Tensor, mask: Tensor | None) -> Tensor:
    with _attention_kernel(tokens.device):
        return block(tokens, None, mask)


def _attention_kernel(device: torch.device) -> AbstractContextManager[None]:
    """On a CPU, the plain kernel: torch's fused one (2.14) gives other last digits on its first call in a process."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
