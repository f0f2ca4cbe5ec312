"""The log of a run: one JSON line a step, and the same figures for TensorBoard or W&B where asked for."""

import importlib
import importlib.util
import json
import math
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import IO

import torch

from ctvlp.settings import Tracker
from preprocess.errors import InputError
from preprocess.publish import publish

Figures = Mapping[str, float | int]
Show = Callable[[int, Figures], None]

_PACKAGES = {"tensorboard": "ctvlp[tensorboard]", "wandb": "wandb"}


class RunLog:
    """Where a run's figures go.

    Args:
        stream: Of `log.jsonl`; None on a rank that writes nothing.
        show: What shows those of a step elsewhere, or None.
    """

    def __init__(self, stream: IO[str] | None, show: Show | None) -> None:
        self._stream, self._show = stream, show

    def write(self, step: int, figures: Figures) -> None:
        """Write the figures of a step, from 1; those that are no finite number are left out."""
        finite = {name: value for name, value in figures.items() if math.isfinite(value)}
        if self._stream is not None:
            self._stream.write(json.dumps({"step": step, **finite}) + "\n")
            self._stream.flush()
        if self._show is not None:
            self._show(step, finite)


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
    with path.open("a", encoding="utf-8") as stream, _open_tracker(tracker, out, step) as show:
        yield RunLog(stream, show)


def memory_figures(device: torch.device) -> dict[str, float]:
    """Largest memory so far in MiB: of this process, and of its GPU."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    figures = {"peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
    if device.type == "cuda":
        figures["peak_gpu_memory_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
    return figures


def _drop_lines(path: Path, step: int) -> None:
    """Keep the lines of steps until `step`, up to the first that is not whole."""
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    done = list(takewhile(lambda line: 0 < _step_of(line) <= step, lines))
    if len(done) < len(lines):
        publish(path, b"".join(done))


def _step_of(line: bytes) -> int:
    """Return the step of a line of the log; 0 where the line is not whole, as a power cut leaves it."""
    try:
        return int(json.loads(line)["step"]) if line.endswith(b"\n") else 0
    except ValueError:
        return 0


@contextmanager
def _open_tracker(tracker: Tracker | None, out: Path, step: int) -> Iterator[Show | None]:
    """Give what shows figures in a tracker that writes below `out` and connects to nothing, until the block ends."""
    if tracker is None:
        yield None
    elif tracker == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter  # not always installed

        with SummaryWriter(str(out / "tensorboard"), purge_step=step + 1) as writer:

            def show(number: int, figures: Figures) -> None:
                for name, value in figures.items():
                    writer.add_scalar(name, value, number)

            yield show
    else:
        with importlib.import_module("wandb").init(project=out.name, dir=str(out), mode="offline") as run:
            yield lambda number, figures: run.log(figures, step=number)
