"""A child process with all that it started: how much memory they hold together, and how they are ended."""

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterable

import psutil

logger = logging.getLogger(__name__)

_WAIT_SECONDS = 5.0
_LIST_SECONDS = 1.0


class GroupMemory:
    """Memory held by the processes of a group.

    Resident memory is what counts. Address space (RLIMIT_AS) would not do: torch and CUDA reserve far more than they
    ever touch. Nor would data segments (RLIMIT_DATA), which are counted process by process.

    Args:
        group: Number of the process group.
    """

    def __init__(self, group: int) -> None:
        self._group = group
        self._listed_at = float("-inf")
        self._members: list[psutil.Process] = []

    def exceeds(self, limit_bytes: int) -> bool:
        """Whether the group holds more than so many bytes; pages that several processes share count once."""
        if time.monotonic() - self._listed_at > _LIST_SECONDS:
            self._members = _members(self._group)
            self._listed_at = time.monotonic()
        return _resident(self._members) > limit_bytes and _shared_out(self._members) > limit_bytes


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a child has ended; it is not waited for, so that its group's number stays its own."""
    if process.returncode is not None:
        return True
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kills a child that leads its own group, and all of the group, and waits for it.

    A process that hangs inside the system, as on a network drive that is gone, cannot be ended: it is left behind.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(_WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        logger.warning("process %d hangs inside the system and cannot be ended; it is left behind", process.pid)


def how_ended(process: subprocess.Popen[bytes]) -> str:
    """The signal that ended a child, as `SIGSEGV`, or its exit status."""
    code = process.returncode
    if code is None:
        return "still running"
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def _members(group: int) -> list[psutil.Process]:
    found = []
    for number in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getpgid(number) == group:
                found.append(psutil.Process(number))
    return found


def _resident(processes: Iterable[psutil.Process]) -> int:
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def _shared_out(processes: Iterable[psutil.Process]) -> int:
    """Like `_resident`, but a page shared by n processes counts 1/n for each; slower."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.uss)
    return total
