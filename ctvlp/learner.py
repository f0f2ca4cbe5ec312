"""The state of a training run: model, its moving average, peer, optimiser, and how they are saved and restored."""

import copy
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ctvlp.checkpoint import SCHEMA, State, find_checkpoints, model_state, read_checkpoint, read_config
from ctvlp.model import RUNTIME, AnatomyCLIP, ModelConfig, build_model
from ctvlp.settings import TrainingSettings
from ctvlp.sharding import (
    clip_gradients,
    gather_shards,
    gathered_blocks,
    shard_blocks,
    split_shards,
    take_shards,
)
from ctvlp.text import TextTower
from preprocess.errors import InputError
from preprocess.vocabulary import Vocabulary


@dataclass(frozen=True)
class Best:
    """The best validation of a run so far.

    Attributes:
        step: Steps done then.
        value: Mean AUROC.
    """

    step: int
    value: float


class Learner:
    """A model in training.

    Args:
        model: Starting weights.
        settings: Of the run.
        total_steps: Steps of the whole run.
    """

    def __init__(self, model: AnatomyCLIP, settings: TrainingSettings, total_steps: int) -> None:
        _set_training(model)
        if settings.sharded and dist.is_available() and dist.is_initialized():
            shard_blocks(model.vision.blocks, model.log_scale.device)
        self.model = model
        self.settings = settings
        self.total_steps = total_steps
        self.step = 0
        self.peer = _copy_tower(model.text)
        self.best: Best | None = None
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.optimizer = _build_optimizer(model, settings)

    def set_measures(self, statistics: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Set what the measures of each anatomy's training crops are, before the first step.

        Args:
            statistics: Anatomy to mean and standard deviation, see `ctvlp.data.measure_statistics`.
        """
        self.model.set_measures(statistics)
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def learning_rate(self) -> float:
        """Rate of the next step: a linear rise, then a cosine."""
        rise = max(1, round(self.settings.warmup * self.total_steps))
        if self.step < rise:
            return self.settings.learning_rate * (self.step + 1) / rise
        done = (self.step - rise) / max(1, self.total_steps - rise)
        low = self.settings.final_rate
        return self.settings.learning_rate * (low + (1 - low) * (1 + math.cos(math.pi * done)) / 2)

    def update(self) -> float:
        """Apply the gathered gradients: one step of the optimiser, of the peer and of the average.

        Returns:
            The gradient's norm before clipping; where it is no finite number, nothing is changed.
        """
        norm = clip_gradients(self.model.parameters(), self.settings.clip)
        if not math.isfinite(norm):
            return norm
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.step()
        self.model.keep_temperature()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        with torch.no_grad():
            blend(self.peer.state_dict(), self.model.text.state_dict(), self.settings.pairing.peer_momentum)
            early = self.step / (self.step + 10)  # so that the starting weights are soon forgotten
            blend(self.average, self.model.state_dict(), min(self.settings.average, early))
        return norm

    def peer_features(self, texts: Sequence[str]) -> Tensor:
        """Encode M texts as the peer does, without gradient and without dropout, normalised (M, embed_dim)."""
        if not texts:
            return self.model.log_scale.new_zeros(0, self.model.config.embed_dim)
        with torch.no_grad():
            features: Tensor = self.peer(texts)
            return features

    @contextmanager
    def averaged(self) -> Iterator[AnatomyCLIP]:
        """Give the model in evaluation mode, with the weights that screening would use, until the block ends.

        All ranks call this; each may then encode as much as it likes.
        """
        weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        if self.settings.average > 0:
            self.model.load_state_dict(self.average)
        self.model.eval()
        try:
            with gathered_blocks(self.model):
                yield self.model
        finally:
            self.model.load_state_dict(weights)
            _set_training(self.model)

    def state(self, vocabulary: Vocabulary, epoch: int) -> State:
        """Return everything needed to go on and to screen; plain values and tensors.

        All ranks call this.
        """
        return {
            "step": self.step,
            "epoch": epoch,
            "total_steps": self.total_steps,
            "model": model_state(self.model),
            "average": gather_shards(self.average) if self.settings.average > 0 else None,
            "peer": self.peer.state_dict(),
            "optimizer": {
                name: gather_shards(self.optimizer.state[p])
                for name, p in self.model.named_parameters()
                if p in self.optimizer.state
            },
            "best": None if self.best is None else asdict(self.best),
            "settings": json.dumps(asdict(self.settings)),
            "vocabulary": vocabulary.model_dump_json(),
        }

    def restore(self, state: State) -> None:
        """Go on from a checkpoint's state."""
        weights, like = state["model"]["weights"], self.model.state_dict()
        self.model.load_state_dict(take_shards(weights, like))
        average = take_shards(state["average"] or weights, like)
        self.average = {name: value.to(like[name].device, copy=True) for name, value in average.items()}
        self.peer.load_state_dict(state["peer"])
        self._restore_optimizer(state["optimizer"])
        self.step = state["step"]
        self.best = None if state["best"] is None else Best(**state["best"])

    def _restore_optimizer(self, state: Mapping[str, dict[str, Tensor]]) -> None:
        """Set what the optimiser remembers of each parameter, given by the parameter's name."""
        names = {p: name for name, p in self.model.named_parameters()}
        order = [p for group in self.optimizer.param_groups for p in group["params"]]
        known = {number: state[names[p]] for number, p in enumerate(order) if names[p] in state}
        shares = {number: take_shards(values, dict.fromkeys(values, order[number])) for number, values in known.items()}
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": shares})


def _build_optimizer(model: AnatomyCLIP, settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW that lets matrices decay and nothing else."""
    matrices = split_shards(p for p in model.parameters() if p.ndim >= 2)
    others = split_shards(p for p in model.parameters() if p.ndim < 2)
    groups: list[dict[str, Any]] = [{"params": kind, "weight_decay": settings.weight_decay} for kind in matrices]
    groups += [{"params": kind, "weight_decay": 0.0} for kind in others]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.learning_rate, fused=True)


def _set_training(model: AnatomyCLIP) -> None:
    """Set a model to training, the text tower without its dropout: each rank would draw other numbers for a text."""
    model.train()
    model.text.eval()


def _copy_tower(tower: TextTower) -> TextTower:
    """Copy a text tower, in evaluation mode and without gradients; a frozen encoder is shared, its features too."""
    shared = {} if isinstance(tower.encoder, nn.Module) else {id(tower.encoder): tower.encoder}
    return copy.deepcopy(tower, shared).requires_grad_(False).eval()


def blend(target: Mapping[str, Tensor], source: Mapping[str, Tensor], momentum: float) -> None:
    """Move `target` towards `source` in place: target = momentum * target + (1 - momentum) * source."""
    for name, value in target.items():
        if value.is_floating_point():
            value.lerp_(source[name], 1 - momentum)
        else:
            value.copy_(source[name])


def resumable_state(
    out: Path, settings: TrainingSettings, vocabulary: Vocabulary, *, samples: str, total_steps: int
) -> State | None:
    """Read the last checkpoint of a run that is to go on.

    Args:
        out: Folder of the run.
        settings: Of the run.
        vocabulary: Of the run.
        samples: Digest of the training samples.
        total_steps: Steps of the whole run.

    Returns:
        Its state, or None where there is no checkpoint yet.

    Raises:
        InputError: The checkpoint was made with other settings, another vocabulary, other samples, or by an earlier
            version.
    """
    found = find_checkpoints(out)
    if not found:
        return None
    state = read_checkpoint(found[-1])
    if state["schema"] != SCHEMA:
        raise InputError(
            f"{found[-1]}: an earlier version made it; it can screen, but not go on; choose another folder"
        )
    before, now = (
        _flat(values, "training.")
        for values in (json.loads(state["settings"]), json.loads(json.dumps(settings.decisive())))
    )
    for name in now:
        if before.get(name) != now[name]:
            raise InputError(
                f"{found[-1]}: was made with {name}={before.get(name)!r}, asked for is {name}={now[name]!r}; "
                "go on with the same settings or choose another folder"
            )
    if Vocabulary.model_validate_json(state["vocabulary"]).digest != vocabulary.digest:
        raise InputError(f"{found[-1]}: was made with another vocabulary than {vocabulary.name}; choose another folder")
    if (state.get("samples"), state["total_steps"]) != (samples, total_steps):
        raise InputError(
            f"{found[-1]}: was made with other studies, reports or labels than the store now has; choose another folder"
        )
    return state


def _flat(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return nested settings by their names on the command line."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def same_config(path: Path, state: State, wanted: ModelConfig) -> ModelConfig:
    """Return the configuration of a checkpoint's model if it is the wanted one, patch edges and `RUNTIME` aside.

    Raises:
        InputError: Another value differs.
    """
    config = read_config(state["model"]["config"], wanted.text_encoder)
    config = replace(config, **{name: getattr(wanted, name) for name in RUNTIME})
    before, now = asdict(config), asdict(wanted)
    for name in now:
        if name != "patch_by_anatomy" and before[name] != now[name]:
            raise InputError(
                f"{path}: was made with a model of {name}={before[name]!r}, asked for is {name}={now[name]!r}; "
                "go on with the same model or choose another folder"
            )
    return config


def build_learner(
    config: ModelConfig,
    vocabulary: Vocabulary,
    settings: TrainingSettings,
    total_steps: int,
    *,
    text_cache: Path | None = None,
    device: torch.device | str = "cpu",
) -> Learner:
    """Build a learner whose starting weights depend on the seed alone.

    Args:
        config: Of the model.
        vocabulary: Its anatomies.
        settings: Of the run.
        total_steps: Steps of the whole run.
        text_cache: Folder for the features of a frozen text encoder, or None.
        device: Where the model goes.
    """
    model = build_model(config, vocabulary.anatomies, seed=settings.seed, text_cache=text_cache)
    return Learner(model.to(device), settings, total_steps)
