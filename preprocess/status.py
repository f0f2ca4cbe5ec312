"""How far a store is, told from the records of its studies alone, while other processes write them."""

import heapq
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from preprocess.errors import InputError
from preprocess.index import ArchiveIndex
from preprocess.pieces import read_piece
from preprocess.places import private_places
from preprocess.store import Store
from preprocess.store_place import StorePath, StoreUrl, in_turn

RECENT = 500
"""Latest records that the rate is told from."""
_PAUSE = 3600.0
"""Seconds without a record after which an earlier run is over."""


@dataclass(frozen=True)
class Status:
    """How far a store is.

    Attributes:
        done: Studies in the store.
        failed: Studies that failed.
        reasons: Reason to number of failed studies.
        total: Studies of the archive; None where its index is not at hand.
        rate: Studies an hour of late; None where too little was recorded.
        hours_left: Until the last study at that rate; None where it cannot be told.
        idle_seconds: Since the last record; None without any.
    """

    done: int
    failed: int
    reasons: Mapping[str, int]
    total: int | None
    rate: float | None
    hours_left: float | None
    idle_seconds: float | None


def store_status(store: StorePath | str, *, key_file: Path | str | None = None, now: float | None = None) -> Status:
    """How far a store is; writes nothing.

    Args:
        store: Its place.
        key_file: Where the key lies, if not beside the store: the archive's index, which tells how many studies there
            are, lies beside it.
        now: Seconds since the epoch; by default the clock's.

    Raises:
        InputError: There is no store.
    """
    folder = Store(store).path / "studies"
    done, reasons = 0, Counter[str]()
    times: list[float] = []
    records = in_turn(folder, lambda record: (read_piece(folder, record[0]), record[1]), _records(folder))
    for piece, recorded in records:
        if piece is None:
            continue
        done += piece.status == "done"
        reasons.update([str(piece.reason)] if piece.status == "failed" else [])
        (heapq.heappush if len(times) < RECENT else heapq.heappushpop)(times, recorded)
    failed = reasons.total()
    now = max([time.time() if now is None else now, *times])
    total = _total(folder.parent, key_file)
    rate = _rate(sorted(times), now)
    left = None if total is None else max(total - done - failed, 0)
    return Status(
        done=done,
        failed=failed,
        reasons=dict(sorted(reasons.items())),
        total=total,
        rate=rate,
        hours_left=left / rate if left is not None and rate else (0.0 if left == 0 else None),
        idle_seconds=now - max(times) if times else None,
    )


def _records(folder: StorePath) -> Iterator[tuple[str, float]]:
    """Names of the recorded studies, and when each was recorded."""
    if isinstance(folder, StoreUrl):
        listed = ((name, facts.st_mtime) for name, facts in folder.list_files().items())
        yield from ((name.removesuffix(".json"), changed) for name, changed in listed if name.endswith(".json"))
        return
    for path in folder.glob("*.json"):
        if path.name[0] != ".":
            try:
                yield path.name.removesuffix(".json"), path.stat().st_mtime
            except FileNotFoundError:
                continue  # replaced or removed meanwhile


def _rate(times: list[float], now: float) -> float | None:
    """Records an hour since the last long pause; None where the run is over or has just begun."""
    start = len(times) - 1
    while start > 0 and times[start] - times[start - 1] < _PAUSE:
        start -= 1
    if len(times) - start < 2 or now - times[-1] > _PAUSE:
        return None
    seconds = now - times[start]
    return (len(times) - start - 1) / seconds * 3600 if seconds > 0 else None


def _total(store: StorePath, key_file: Path | str | None) -> int | None:
    try:
        index = ArchiveIndex(private_places(store, key_file).index, read_only=True)
    except InputError:
        return None
    with index:
        return index.counts().studies if index.complete else None
