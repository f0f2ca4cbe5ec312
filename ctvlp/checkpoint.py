"""Checkpoints: everything needed to go on, published in one step; the last two are kept, and the best one."""

import json
import logging
import pickle
import re
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ctvlp.model import AnatomyCLIP, ModelConfig, build_model
from ctvlp.sharding import gather_shards
from preprocess.errors import InputError
from preprocess.publish import publishing
from preprocess.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

SCHEMA = 2
_READABLE = (1, SCHEMA)
"""Those of schema 1 name the optimiser's state by numbers: they screen, and cannot go on."""
BEST = "best.pt"
"""The checkpoint with the best validation, beside the last ones."""

_NAME = re.compile(r"checkpoint-(\d{8})\.pt")

State = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A trained model with what it was trained on.

    Attributes:
        path: The checkpoint file.
        model: In evaluation mode, with the averaged weights where training averaged them.
        vocabulary: The anatomies and findings of training.
        config: The model's plain values.
        settings: The arguments of `train`, plain values.
        step: Steps done.
        epoch: Epochs done.
    """

    path: Path
    model: AnatomyCLIP
    vocabulary: Vocabulary
    config: ModelConfig
    settings: dict[str, Any]
    step: int
    epoch: int

    @property
    def split_path(self) -> Path:
        """The table of the studies that training used: study_id, patient_id, split."""
        return self.path.parent / "split.parquet"


def write_checkpoint(folder: Path, step: int, state: State, *, keep: int = 2) -> Path:
    """Write `checkpoint-<step>.pt` so that it is either whole or absent, then remove all but the last `keep`.

    Args:
        folder: The run's folder.
        step: Steps done.
        state: Tensors and plain values only.
        keep: Checkpoints to keep.
    """
    path = folder / f"checkpoint-{step:08d}.pt"
    _publish_state(path, state)
    for old in find_checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def write_best(folder: Path, state: State) -> Path:
    """Write `best.pt`, the checkpoint with the best validation, so that it is either the new one or the old one."""
    path = folder / BEST
    _publish_state(path, state)
    return path


def _publish_state(path: Path, state: State) -> None:
    try:
        with publishing(path) as stream:
            torch.save({"schema": SCHEMA, **state}, stream)
    except (OSError, RuntimeError) as error:
        refused = error.__context__ if isinstance(error, RuntimeError) else error  # torch makes its own error of it
        if isinstance(refused, OSError):
            raise OSError(refused.errno, refused.strerror, str(path)) from error
        raise


def find_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("checkpoint-*.pt") if _NAME.fullmatch(path.name))


def read_checkpoint(path: Path) -> State:
    """Read a checkpoint file.

    Raises:
        InputError: It cannot be read, is damaged, or is of an unknown schema; an older one beside it is named.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch checks no sums
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} is damaged")
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError, EOFError, KeyError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        older = [other for other in find_checkpoints(path.parent) if other < path]
        advice = f"; remove it to go on from {older[-1].name}" if older else ""
        raise InputError(f"{path}: cannot be read as a checkpoint: {reason}{advice}") from error
    if not isinstance(state, dict) or state.get("schema") not in _READABLE:
        raise InputError(f"{path}: expected a checkpoint of schema {SCHEMA}")
    return state


def model_state(model: AnatomyCLIP) -> State:
    """Return what rebuilds a model: configuration, weights, digest of the text encoder.

    A frozen text encoder is no part of it; its digest is checked on loading. All ranks of a run call this.
    """
    weights = gather_shards(model.state_dict())
    return {"config": asdict(model.config), "weights": weights, "text_digest": model.text.digest}


def load_run(
    path: Path | str, *, text_encoder: str | None = None, text_cache: Path | None = None, device: str = "cpu"
) -> Run:
    """Load the latest checkpoint of a run, or one checkpoint file, for screening.

    Args:
        path: RUN folder or checkpoint file.
        text_encoder: Where the text encoder lies now, if not where it lay in training.
        text_cache: Folder for the features of a frozen text encoder, or None.
        device: Where the model goes.

    Raises:
        InputError: There is no checkpoint, it cannot be read, or the text encoder is another one.
    """
    path = Path(path)
    found = find_checkpoints(path) if path.is_dir() else [path] if path.is_file() else []
    if not found:
        raise InputError(
            f"{path}: no checkpoint here; expected a folder written by `ctvlp train`, or a checkpoint file"
        )
    state = read_checkpoint(found[-1])
    vocabulary = Vocabulary.model_validate_json(state["vocabulary"])
    config = read_config(state["model"]["config"], text_encoder)
    model = build_model(config, vocabulary.anatomies, text_cache=text_cache)
    if model.text.digest != state["model"]["text_digest"]:
        raise InputError(
            f"{found[-1]}: was trained with text encoder {state['model']['text_digest']}, "
            f"but {config.text_encoder} is {model.text.digest}"
        )
    model.load_state_dict(state["average"] or state["model"]["weights"])
    return Run(
        path=found[-1],
        model=model.to(device).eval(),
        vocabulary=vocabulary,
        config=config,
        settings=json.loads(state["settings"]),
        step=state["step"],
        epoch=state["epoch"],
    )


def read_config(values: dict[str, Any], text_encoder: str | None = None) -> ModelConfig:
    """Rebuild a model's configuration from its plain values, with the text encoder's place replaced if given."""
    changed: dict[str, Any] = {"patch_voxels": tuple(values["patch_voxels"])}
    if text_encoder is not None:
        changed["text_encoder"] = text_encoder
    return ModelConfig(**{**values, **changed})
