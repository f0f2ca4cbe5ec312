"""The crop encoder: patches of a crop, seen through HU windows, as tokens of a transformer."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ctvlp.batches import ImageBatch
from ctvlp.transformer import Transformer
from ctvlp.transforms import MEASURES

_WAVELENGTHS_MM = (800.0, 400.0, 200.0, 100.0, 50.0)
_SMALLEST_SPREAD = 1e-2
_FARTHEST = 5.0
"""Standard deviations at which a measure is clipped."""
_ROW = 16
"""Blocks that the stem handles together."""


class PatchStem(nn.Module):
    """Embeds a patch of any size, and a whole crop likewise, so that a focus of one block is not averaged away.

    A convolution over blocks and a linear layer, then the largest response in the region, the mean response in the
    organ and the mean response in the rest of the region. Blocks outside the region are left out.

    Args:
        channels: Input channels.
        hidden: Channels of the convolution; the linear layer has twice as many.
        width: Length of a token.
        kernel: Edge of the convolution's kernel in blocks; 1 sees each block for itself, and spares those outside.
    """

    def __init__(self, channels: int, hidden: int, width: int, kernel: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(channels, hidden, kernel_size=kernel, padding=kernel // 2)
        self.second = nn.Linear(hidden, 2 * hidden)
        self.patch = nn.Linear(6 * hidden + 2, width)
        self.crop = nn.Linear(6 * hidden, width)

    def forward(self, image: Tensor, shares: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Embed the patches of B crops.

        Args:
            image: (n, channels, h, h, h) float.
            shares: (n, 2, h, h, h) float: share of each block in the organ and in the rest of the region.
            lengths: (B,) patches of each crop.

        Returns:
            Of patches (n, width), and of whole crops (B, width).
        """
        rows = _region_rows(shares)
        if self.first.kernel_size[0] == 1:
            blocks = F.linear(rows.take(image), self.first.weight.flatten(1), self.first.bias)
        else:
            blocks = rows.take(self.first(image))
        response = F.relu(self.second(F.relu(blocks)))  # (r, G, 2 hidden)
        weights = rows.take(shares) * rows.real.unsqueeze(-1)  # (r, G, 2)
        largest = pad(response.max(dim=1).values, rows.lengths)[0].max(dim=1).values  # (n, 2 hidden); never negative
        sums = pad(weights.transpose(1, 2) @ response, rows.lengths)[0].sum(1)  # (n, 2, 2 hidden)
        totals = shares.flatten(2).sum(-1)  # (n, 2)
        patches: Tensor = self.patch(_describe(largest, sums, totals, totals / shares[0, 0].numel()))
        largest = pad(largest, lengths)[0].max(dim=1).values
        sums, totals = (pad(values, lengths)[0].sum(1) for values in (sums, totals))
        crops: Tensor = self.crop(_describe(largest, sums, totals))
        return patches, crops


@dataclass(frozen=True)
class _Rows:
    """The blocks of patches that lie in the region, in rows of `_ROW`; rows never mix patches.

    Attributes:
        patch, place: (r, G) int64: the patch of each block, and its place in it.
        real: (r, G) float: 0 where a row is filled up, with copies of its first block.
        lengths: (n,) rows of each patch.
    """

    patch: Tensor
    place: Tensor
    real: Tensor
    lengths: Tensor

    def take(self, values: Tensor) -> Tensor:
        """Gather (n, c, h, h, h) to (r, G, c)."""
        return values.flatten(2)[self.patch, :, self.place]


def _region_rows(shares: Tensor) -> _Rows:
    """Find the blocks (n, 2, h, h, h) that lie in the region."""
    region = shares.flatten(2).sum(1) > 0  # (n, q)
    patch, place = region.nonzero(as_tuple=True)  # (m,) each, patch by patch
    counts = region.sum(1)
    lengths = (counts + _ROW - 1) // _ROW
    first = (counts.cumsum(0) - counts).repeat_interleave(lengths)  # (r,) where the row's patch starts
    row = torch.arange(len(first), device=first.device) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    within = row[:, None] * _ROW + torch.arange(_ROW, device=first.device)  # (r, G) number of the block in its patch
    real = within < counts.repeat_interleave(lengths)[:, None]
    block = first[:, None] + torch.where(real, within, within[:, :1])
    return _Rows(patch=patch[block], place=place[block], real=real.to(shares.dtype), lengths=lengths)


def _describe(largest: Tensor, sums: Tensor, totals: Tensor, *more: Tensor) -> Tensor:
    """Largest (n, c) and mean responses, from sums (n, 2, c) and weights (n, 2), side by side."""
    means = sums / totals.clamp_min(1e-3).unsqueeze(-1)
    return torch.cat([largest, means.flatten(1), *more], dim=-1)


class CropEncoder(nn.Module):
    """A vision transformer over the tokens of one crop, of any size and number.

    The first token carries the crop as a whole (its measures, and the stem's responses over all patches), the others
    its patches.

    Args:
        width: Length of a token.
        depth: Number of transformer blocks.
        heads: Attention heads of a block.
        mlp_ratio: Hidden over outer width of a block's MLP.
        stem_width: Channels of the stem's first convolution.
        stem_kernel: Edge of its kernel in blocks.
        statistics: Numbers by which `Tokens.patches` describes a block.
        windows_hu: (low, high) in HU of each input channel, by anatomy; the same number of channels everywhere.
        recompute: In training, compute stem and blocks anew on the way back instead of keeping what is inside them.
        compiled: Let `torch.compile` build the blocks' kernels.
    """

    measure_mean: Tensor
    measure_spread: Tensor

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        stem_width: int,
        stem_kernel: int,
        statistics: int,
        windows_hu: dict[str, tuple[tuple[float, float], ...]],
        recompute: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        counts = {name: len(windows) for name, windows in windows_hu.items()}
        if len(set(counts.values())) != 1:
            raise ValueError(f"every anatomy needs the same number of HU windows, got {counts}")
        self.windows_hu = windows_hu
        self.stem = PatchStem(next(iter(counts.values())) * statistics + 2, stem_width, width, stem_kernel)
        self.place = nn.Linear(6 * len(_WAVELENGTHS_MM), width)
        self.anatomies = list(windows_hu)
        self.register_buffer("measure_mean", torch.zeros(len(windows_hu), MEASURES))
        self.register_buffer("measure_spread", torch.ones(len(windows_hu), MEASURES))
        self.measure = nn.Sequential(nn.Linear(MEASURES, width), nn.GELU(), nn.Linear(width, width))
        self.kind = nn.ParameterDict({name: nn.Parameter(0.02 * torch.randn(width)) for name in windows_hu})
        self.out_width, self.recompute = width, recompute
        self.blocks = Transformer(
            width=width, depth=depth, heads=heads, mlp_ratio=mlp_ratio, recompute=recompute, compiled=compiled
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, batch: ImageBatch) -> tuple[Tensor, Tensor]:
        """Encode the crops of a batch.

        Returns:
            Tokens (B, 1 + T, width), T the largest number of patches, and which of them exist (B, 1 + T) bool.
        """
        if self.recompute and torch.is_grad_enabled():
            patches, crops = checkpoint(self._embed, batch, use_reentrant=False, preserve_rng_state=False)
        else:
            patches, crops = self._embed(batch)
        tokens, exists = pad(patches + self.place(_place_features(batch.positions_mm)), batch.lengths)
        first = (crops + self.measure(self.standard_measures(batch))).unsqueeze(1)
        tokens = torch.cat([first, tokens], dim=1) + self.kind[batch.anatomy]  # (B, 1 + T, width)
        exists = F.pad(exists, (1, 0), value=True)
        tokens, _ = self.blocks(tokens, exists)
        return self.norm(tokens), exists

    def _embed(self, batch: ImageBatch) -> tuple[Tensor, Tensor]:
        """What the stem makes of patches (n, width) and of whole crops (B, width)."""
        embedded: tuple[Tensor, Tensor] = self.stem(*self.channels(batch), batch.lengths)
        return embedded

    def set_measures(self, anatomy: str, mean: Tensor, spread: Tensor) -> None:
        """Set the mean and the standard deviation, (MEASURES,) each, of an anatomy's measures in the training crops."""
        row = self.anatomies.index(anatomy)
        self.measure_mean[row] = mean
        self.measure_spread[row] = spread.clamp_min(_SMALLEST_SPREAD)

    def standard_measures(self, batch: ImageBatch) -> Tensor:
        """Return the measures (B, MEASURES) in standard deviations of the anatomy's training crops, clipped.

        A liver of twice the usual size differs from others by far less than livers differ from adrenal glands: without
        this step few studies do not suffice to learn it.
        """
        row = self.anatomies.index(batch.anatomy)
        standard = (batch.measures - self.measure_mean[row]) / self.measure_spread[row]
        return standard.clamp(-_FARTHEST, _FARTHEST)

    def channels(self, batch: ImageBatch) -> tuple[Tensor, Tensor]:
        """Return what the stem sees.

        Returns:
            (n, windows * statistics + 2, h, h, h): each HU window scaled to -1..1, then the shares of organ and rim;
            and the shares alone.
        """
        hu = batch.patches.to(self.place.weight.dtype)
        windows = [((hu - low) * (2 / (high - low)) - 1).clamp_(-1, 1) for low, high in self.windows_hu[batch.anatomy]]
        shares = batch.inside.to(hu.dtype) / 255
        return torch.cat([*windows, shares], dim=1), shares


def _place_features(positions_mm: Tensor) -> Tensor:
    """Sines and cosines of positions (n, 3) at fixed wavelengths, (n, 6 * wavelengths)."""
    waves = positions_mm.new_tensor(_WAVELENGTHS_MM)
    angle = (2 * math.pi * positions_mm.unsqueeze(-1) / waves).flatten(1)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def pad(packed: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Turn packed rows (n, ...) into (B, T, ...), zeros behind each crop's own, and tell which exist, (B, T) bool."""
    exists = torch.arange(int(lengths.max()), device=packed.device) < lengths.to(packed.device)[:, None]
    places = exists.flatten().nonzero().squeeze(1)
    padded = packed.new_zeros(exists.numel(), *packed.shape[1:]).index_copy(0, places, packed)
    return padded.reshape(*exists.shape, *packed.shape[1:]), exists
