"""How long one study may take and how much memory it may hold, and how much memory this machine has to give."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from preprocess.errors import InputError

DEFAULT_SECONDS = 3600.0
MACHINE_SHARE = 0.9
"""Of the machine's memory, what studies may hold; the rest is for the system and the run itself."""
USUAL_BYTES, USUAL_NETWORK_BYTES = 3 << 30, 6 << 30
"""What a worker should have, so that few studies have to wait until they are alone; with the network in it, too."""
_CGROUP_FILES = {"": "memory.max", "memory": "memory.limit_in_bytes"}


@dataclass(frozen=True)
class Limits:
    """What one study may use.

    Attributes:
        seconds: Time of one attempt at a study; None sets no limit.
        memory_bytes: Memory that a study's processes may hold together, loaded networks included; None shares out
            what the machine has.
    """

    seconds: float | None = DEFAULT_SECONDS
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None and not self.seconds > 0:
            raise InputError(f"time limit of {self.seconds} s a study: it must be more than 0")
        if self.memory_bytes is not None and not self.memory_bytes > 0:
            raise InputError(f"memory limit of {self.memory_bytes} bytes a study: it must be more than 0")

    def budget_bytes(self, at_a_time: int) -> int:
        """Memory of one study where so many are under way on this machine at a time."""
        return int(machine_memory() * MACHINE_SHARE) // at_a_time if self.memory_bytes is None else self.memory_bytes


def default_workers(*, network: bool) -> int:
    """Studies to have under way at a time: one a core, or fewer where memory is short.

    Args:
        network: Each worker holds the segmenter's networks in its memory.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    usual = USUAL_NETWORK_BYTES if network else USUAL_BYTES
    return max(1, min(cores, int(machine_memory() * MACHINE_SHARE) // usual))


def machine_memory() -> int:
    """Bytes of memory that this process may hope for: the machine's, or less where a control group says so."""
    limit = cgroup_memory()
    total = int(psutil.virtual_memory().total)
    return total if limit is None else min(total, limit)


def cgroup_memory(membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The lowest memory limit of the control groups that this process is in, of version 1 or 2; None without any.

    Batch systems and containers limit a group somewhere above the process, so that every level is looked at.

    Args:
        membership: Which groups the process is in, as Linux lists them.
        root: Where their settings lie.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        for controller in {"", "memory"} & set(controllers.split(",")):
            top = root / controller
            place = top / group.lstrip("/")
            levels = [place, *(above for above in place.parents if above.is_relative_to(top))]
            limits += [_limit(level / _CGROUP_FILES[controller]) for level in levels]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
