"""Anatomy pooling: one learned query an anatomy gathers that anatomy's tokens into one vector."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AnatomyPooling(nn.Module):
    """One query and one linear layer an anatomy; one multi-head attention for all (fVLM, arXiv 2501.14548).

    Args:
        anatomies: Names.
        width: Length of a token.
        embed_dim: Length of the resulting vector.
        heads: Attention heads.
    """

    def __init__(self, anatomies: Sequence[str], width: int, embed_dim: int, heads: int = 4) -> None:
        super().__init__()
        self.queries = nn.ParameterDict({name: nn.Parameter(0.02 * torch.randn(width)) for name in anatomies})
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.project = nn.ModuleDict({name: nn.Linear(width, embed_dim) for name in anatomies})

    def forward(self, anatomy: str, tokens: Tensor, exists: Tensor) -> tuple[Tensor, Tensor]:
        """Pool the tokens of crops of one anatomy.

        The first token, which carries the crop as a whole, is added to the query and to what is gathered: otherwise it
        would start with the same small weight as each of the patches.

        Args:
            anatomy: Its name.
            tokens: (B, T, width), the first one that of the whole crop.
            exists: (B, T) bool; false for padding.

        Returns:
            Normalised (B, embed_dim), and the attention over tokens, mean over heads, (B, T), each row summing to 1.
        """
        first = tokens[:, :1]
        query = self.queries[anatomy] + first
        pooled, weights = self.attention(query, tokens, tokens, key_padding_mask=~exists)
        return F.normalize(self.project[anatomy]((pooled + first)[:, 0]), dim=-1), weights[:, 0]
