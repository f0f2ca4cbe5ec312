"""Anatomy pooling: one learned query an anatomy gathers that anatomy's tokens into one vector."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AnatomyPooling(nn.Module):
    """One query and one linear layer an anatomy; one multi-head attention for all (fVLM, arXiv 2501.14548).

    A query asks tokens for nothing but a weighted mean in each head. So the query is carried into the space of tokens,
    and the mean is taken there, before the layers for keys and values: what `nn.MultiheadAttention` computes, without
    two large products over all tokens. All of it is done in float32.

    Args:
        anatomies: Names.
        width: Length of a token.
        embed_dim: Length of the resulting vector.
        heads: Attention heads.
    """

    def __init__(self, anatomies: Sequence[str], width: int, embed_dim: int, heads: int = 4) -> None:
        super().__init__()
        self.queries = nn.ParameterDict({name: nn.Parameter(0.02 * torch.randn(width)) for name in anatomies})
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)  # its weights are used, not its forward
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
        with torch.autocast(tokens.device.type, enabled=False):
            tokens = tokens.float()
            first = tokens[:, 0]
            keys = self._keys(self.queries[anatomy] + first)  # (B, H, width)
            scores = (keys @ tokens.transpose(1, 2)).masked_fill(~exists[:, None], -torch.inf)  # (B, H, T)
            weights = scores.softmax(dim=-1)
            pooled = self._values(weights @ tokens) + first
            return F.normalize(self.project[anatomy](pooled), dim=-1), weights.mean(dim=1)

    def pool_volumes(self, tokens: Tensor, parts: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Pool the tokens of several anatomies that lie in the same volumes, without a copy of tokens for each.

        Args:
            tokens: (S, T, width), of S volumes.
            parts: Anatomy to rows (N,) int64 among the volumes, at most one a volume, and to the anatomy's tokens,
                (N, T) bool, at least one in each row.

        Returns:
            Anatomy to normalised (N, embed_dim).
        """
        if not parts:
            return {}
        with torch.autocast(tokens.device.type, enabled=False):
            tokens = tokens.float()
            keys = self._keys(torch.stack([self.queries[name] for name in parts]))  # (A, H, width)
            inside = torch.ones(len(tokens), len(parts), tokens.shape[1], dtype=torch.bool, device=tokens.device)
            for number, (rows, chosen) in enumerate(parts.values()):
                inside[rows, number] = chosen  # volumes without a sample of this anatomy keep all: nobody asks for them
            scores = torch.einsum("ahw,stw->saht", keys, tokens).masked_fill(~inside[:, :, None], -torch.inf)
            means = torch.einsum("saht,stw->sahw", scores.softmax(dim=-1), tokens)
            return {
                name: F.normalize(self.project[name](self._values(means[rows, number])), dim=-1)
                for number, (name, (rows, _)) in enumerate(parts.items())
            }

    def _keys(self, queries: Tensor) -> Tensor:
        """Carry queries (N, width) into the space of tokens, (N, H, width), scaled.

        The bias of the keys adds the same to all scores of a query, which the softmax does not see.
        """
        heads, width = self.attention.num_heads, queries.shape[1]
        query, key, _ = self.attention.in_proj_weight.chunk(3)
        bias, _, _ = self.attention.in_proj_bias.chunk(3)
        asked = F.linear(queries, query, bias).reshape(len(queries), heads, -1)  # (N, H, d)
        keys: Tensor = torch.einsum("nhd,hdw->nhw", asked, key.reshape(heads, -1, width))
        return keys / math.sqrt(asked.shape[-1])

    def _values(self, means: Tensor) -> Tensor:
        """Turn the mean tokens of each head (N, H, width) into the attention's output (N, width)."""
        heads, width = means.shape[1:]
        _, _, value = self.attention.in_proj_weight.chunk(3)
        _, _, bias = self.attention.in_proj_bias.chunk(3)
        heard = torch.einsum("nhw,hdw->nhd", means, value.reshape(heads, -1, width)).flatten(1) + bias
        output: Tensor = self.attention.out_proj(heard)
        return output
