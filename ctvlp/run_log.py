"""The log of a run: one JSON line a step, and the same figures for TensorBoard or W&B where asked for."""

import importlib.util
import json
import math
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch
from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker

from ctvlp.settings import Tracker
from preprocess.errors import InputError
from preprocess.publish import publish

Figures = Mapping[str, float | int]

_PACKAGES = {"tensorboard": "ctvlp[tensorboard]", "wandb": "wandb"}


class RunLog:
    """Where a run's figures go.

    Args:
        stream: Of `log.jsonl`; None on a rank that writes nothing.
        tracker: What shows them, or None.
    """

    def __init__(self, stream: IO[str] | None, tracker: GeneralTracker | None) -> None:
        self._stream, self._tracker = stream, tracker

    def write(self, step: int, figures: Figures) -> None:
        """Write the figures of a step, from 1; those that are no finite number are left out."""
        finite = {name: value for name, value in figures.items() if math.isfinite(value)}
        if self._stream is not None:
            self._stream.write(json.dumps({"step": step, **finite}) + "\n")
            self._stream.flush()
        if self._tracker is not None:
            self._tracker.log(finite, step=step)


@contextmanager
def open_log(out: Path, step: int, tracker: Tracker | None, *, writes: bool = True) -> Iterator[RunLog]:
    """Open the log of a run for appending, without lines of steps that no checkpoint holds.

    Args:
        out: Folder of the run.
        step: Steps that the checkpoint holds from which the run goes on.
        tracker: What shows the figures beside `log.jsonl`.
        writes: False on a rank that writes nothing.

    Raises:
        InputError: The tracker's package is not installed.
    """
    if tracker is not None and importlib.util.find_spec(tracker) is None:
        raise InputError(f"tracker={tracker}: the package is not installed; pip install '{_PACKAGES[tracker]}'")
    if not writes:
        yield RunLog(None, None)
        return
    path = out / "log.jsonl"
    _drop_lines(path, step)
    shown = None if tracker is None else _start_tracker(tracker, out, step)
    try:
        with path.open("a", encoding="utf-8") as stream:
            yield RunLog(stream, shown)
    finally:
        if shown is not None:
            shown.finish()


def memory_figures(device: torch.device) -> dict[str, float]:
    """Largest memory so far in MiB: of this process, and of its GPU."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    figures = {"peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
    if device.type == "cuda":
        figures["peak_gpu_memory_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
    return figures


def _drop_lines(path: Path, step: int) -> None:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    done = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    if len(done) < len(lines):
        publish(path, "".join(done).encode())


def _start_tracker(tracker: Tracker, out: Path, step: int) -> GeneralTracker:
    """Start a tracker that writes below `out` and connects to nothing."""
    started: GeneralTracker
    if tracker == "tensorboard":
        started = TensorBoardTracker("tensorboard", out, purge_step=step + 1)
    else:
        started = WandBTracker(out.name, dir=str(out), mode="offline")
    started.start()
    return started
