"""One child process that does calls one after another, within limits of time and memory."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Literal

from preprocess.errors import InputError
from preprocess.process_group import GroupMemory, end_group, has_ended, how_ended

How = Literal["time", "memory", "died"]

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
    "ZARR_THREADING__MAX_WORKERS": "1",
    "nnUNet_def_n_proc": "1",
}
"""What keeps each library to one thread; torch follows OMP_NUM_THREADS."""
_LIGHTER = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Freed memory goes back to the system at once; it costs time."""
_START_SECONDS = 300.0
_LOOK_SECONDS = 0.05


class CallEnded(Exception):  # noqa: N818 - not always an error: the caller decides
    """A call ended with its process, without an answer.

    Args:
        how: It took too long, held too much memory, or its process died.
        detail: The signal or exit status of a process that died.
        facts: What the call told about itself before.
    """

    def __init__(self, how: How, detail: str, facts: Mapping[str, Any]) -> None:
        super().__init__(f"{how} ({detail})")
        self.how = how
        self.detail = detail
        self.facts = facts


class WorkerClosed(Exception):  # noqa: N818
    """The worker was closed while a call was under way."""


@dataclass(frozen=True)
class _Child:
    process: subprocess.Popen[bytes]
    connection: "Connection[Any, Any]"
    lighter: bool
    facts: dict[str, Any] = field(default_factory=dict)


class Worker:
    """Owns one child process, started when it is first needed and again after it died.

    The child is a new interpreter in a session of its own: a signal to the run's group does not reach it, and it can
    be ended with all that it started. It ends by itself when the process that owns it is gone.

    Args:
        target: `module:function` that the child calls.

    Attributes:
        started: Number of children started.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.started = 0
        self._child: _Child | None = None
        self._closed = False
        self._lock = threading.Lock()

    def call(self, *arguments: Any, seconds: float | None, memory_bytes: int, lighter: bool = False) -> Any:
        """The function's value for these arguments.

        Args:
            arguments: Handed to the child; picklable.
            seconds: Time allowed; starting the child is not part of it.
            memory_bytes: Memory allowed to the child and all that it starts.
            lighter: Use a child of its own that gives memory back at the price of time; the next call has a usual one.

        Raises:
            CallEnded: The child had to be ended, or died.
            CtvlpError: Raised by the function.
            InputError: The child cannot be started.
            WorkerClosed: `close` was called meanwhile.
        """
        if self._child is not None and lighter != self._child.lighter:
            self.stop()
        try:
            child = self._child
            if child is None or not _hand_over(child, arguments):
                self.stop()
                child = self._start(lighter=lighter)
                if not _hand_over(child, arguments):
                    raise self._end(child, "died")
            kind, value = self._answer(child, seconds, memory_bytes)
        except BaseException:
            self.stop()
            raise
        if kind == "error":
            raise value
        return value

    def stop(self) -> None:
        """End the child; the next call starts another."""
        child, self._child = self._child, None
        if child is not None:
            end_group(child.process)

    def close(self) -> None:
        """End the child and start no other; may be called from any thread."""
        with self._lock:
            self._closed = True
        self.stop()

    def _start(self, *, lighter: bool) -> _Child:
        ours, theirs = Pipe()
        command = [sys.executable, "-P", "-m", "preprocess.child", str(theirs.fileno()), self.target]
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109 - what an empty entry means
        with self._lock, theirs:
            if self._closed:
                raise WorkerClosed
            process = subprocess.Popen(  # noqa: S603 - our own module
                command,
                env={**os.environ, **ONE_THREAD, **(_LIGHTER if lighter else {}), "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=2,  # networks print; the command's own output stays its own
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
            self._child = child = _Child(process, ours, lighter)
            self.started += 1
        try:
            if not ours.poll(_START_SECONDS):
                raise InputError(f"a worker process did not start within {_START_SECONDS:.0f} s")
            ours.recv()
        except (EOFError, OSError) as error:
            self.stop()
            if self._closed:
                raise WorkerClosed from error
            raise InputError(f"a worker process cannot start ({how_ended(process)}): {self.target}") from error
        except BaseException:
            self.stop()
            raise
        return child

    def _answer(self, child: _Child, seconds: float | None, memory_bytes: int) -> tuple[str, Any]:
        child.facts.clear()
        deadline = float("inf") if seconds is None else time.monotonic() + seconds
        memory = GroupMemory(child.process.pid)
        try:
            while True:
                if child.connection.poll(_LOOK_SECONDS):
                    kind, value = child.connection.recv()
                    if kind != "facts":
                        return kind, value
                    child.facts.update(value)
                elif has_ended(child.process):
                    raise EOFError
                if time.monotonic() > deadline:
                    raise self._end(child, "time")
                if memory.exceeds(memory_bytes):
                    raise self._end(child, "memory")
        except (EOFError, OSError) as error:
            raise self._end(child, "died") from error

    def _end(self, child: _Child, how: How) -> CallEnded | WorkerClosed:
        """Ends the child, and says why there is no answer."""
        self.stop()
        if self._closed:
            return WorkerClosed()
        return CallEnded(how, how_ended(child.process), dict(child.facts))


def _hand_over(child: _Child, arguments: tuple[Any, ...]) -> bool:
    """Whether a child took a call; one that ended while it waited for calls did not, and no call is to blame for it."""
    try:
        child.connection.send(arguments)
        while not child.connection.poll(_LOOK_SECONDS):
            if has_ended(child.process):
                return False
        child.connection.recv()
    except (EOFError, OSError):
        return False
    return True
