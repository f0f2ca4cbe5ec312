"""What a worker's child calls in tests instead of `process_study`: the study's name says how it ends."""

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

from preprocess.errors import InputError, Reason, StudyError
from preprocess.pieces import Piece
from preprocess.publish import publishing
from preprocess.weights import Network

LOADED = []
LOST = []
TARGET = "fake_studies:process_study"


@dataclass(frozen=True)
class FakeTask:
    """What a run needs to know of a study; a child that unpickles no more of it starts at once."""

    study_id: str
    patient_id: str = "p"
    digest: str = "digest"


@dataclass(frozen=True)
class FakeSettings:
    """Where a run writes to."""

    store: Path
    network: None = None
    leave_failed: bool = False


def process_study(task, settings, attempt, *, tell):
    """Writes `<study>.<attempt>` with the number of its process; ends as the name says, unless that is only at first."""
    if not LOADED:
        LOADED.append("network")
        (settings.store / f"loaded.{os.getpid()}").touch()
    with (settings.store / f"{task.study_id}.attempts").open("a") as stream:
        stream.write(f"{attempt.lighter} {attempt.memory_bytes} {os.getpid()}\n")
    how, _, when = task.study_id.partition(" ")
    tell(stage="masks", shape=(512, 512, 1000), needed_bytes=3 << 30)
    piece = Piece(task.study_id, task.patient_id, "done", task.digest, file_sha256=str(os.getpid()))
    if how.startswith("half"):
        _write_half(piece, settings)
    if LOST:
        return _lose_gpu(piece)
    if not (when == "at first" and attempt.lighter):
        return ENDS.get(how.split("-")[0], lambda piece: piece)(piece)
    return piece


def _too_large(piece):
    return Piece(
        piece.study_id, "p", "failed", "digest", stage="admit", reason=str(Reason.OUT_OF_MEMORY), message="not read"
    )


def _allocate(piece):
    held = []
    while True:
        held.append(os.urandom(1 << 20) * 8)
        time.sleep(0.002)


def _lose_gpu(piece):
    """A failed assertion on the device: whatever this process asks of its GPU from then on fails in the same words."""
    from preprocess.networks import _named_errors

    LOST.append("GPU")
    try:
        with _named_errors(Network(Path("Dataset1/model"))):
            raise RuntimeError("CUDA error: device-side assert triggered")
    except StudyError as error:
        return replace(piece, status="failed", stage="masks", reason=str(error.reason), message=str(error))


def _write_half(piece, settings):
    """Stops in the middle of writing a file."""
    with publishing(settings.store / "studies" / f"{piece.study_id}.zarr.zip") as stream:
        stream.write(b"half")
        stream.flush()
        (settings.store / "writing").touch()
        time.sleep(600)


def _store_is_gone(piece):
    raise InputError("store /s cannot be written: No space left on device")


ENDS = {
    "hangs": lambda piece: time.sleep(600),
    "grows": _allocate,
    "crashes": lambda piece: os.kill(os.getpid(), signal.SIGSEGV),
    "killed": lambda piece: os.kill(os.getpid(), signal.SIGKILL),
    "large": _too_large,
    "lost": _lose_gpu,
    "full": _store_is_gone,
    "slow": lambda piece: time.sleep(0.2) or piece,
}
