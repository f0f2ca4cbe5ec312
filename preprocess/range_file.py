"""A file at a URL, open for reading: its parts are asked for when they are needed, a few large rather than many."""

import errno
import io
import os
from collections.abc import Iterable, Iterator
from typing import Any

from preprocess.store_place import StoreUrl

Range = tuple[int, int]
"""[start, stop) in bytes."""

_TAIL_BYTES = 1 << 16
"""Holds the directory of a study's zip file, and what describes the study."""
_AHEAD_BYTES = 1 << 14
_GAP_BYTES = 1 << 17
"""What lies between two parts is read along if it is no more than this: it costs less than another request."""


class RangeFile(io.RawIOBase):
    """What `zipfile` needs of a file.

    The file's end is kept once it was read, and of the rest what was fetched last.

    Args:
        place: The file.

    Raises:
        OSError: It is not there, or cannot be reached.
    """

    def __init__(self, place: StoreUrl) -> None:
        self.place = place
        self.size = place.stat().st_size
        self._position = 0
        self._fetched: list[tuple[int, bytes]] = []
        tail = (max(0, self.size - _TAIL_BYTES), self.size)
        self._tail = (tail[0], place.read_ranges([tail])[0])

    def fetch(self, wanted: Iterable[Range]) -> None:
        """Get parts of the file at once, for the reads that follow."""
        missing = [part for part in wanted if self._held(*part) is None]
        if missing:
            ranges = list(merged(missing))
            starts = [start for start, _ in ranges]
            self._fetched = list(zip(starts, self.place.read_ranges(ranges), strict=True))

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Choose where the next read begins."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, f"{offset} lies before the file's start")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, less only at the file's end."""
        start, stop = self._position, min(self._position + len(buffer), self.size)
        if start >= stop:
            return 0
        data = self._held(start, stop)
        if data is None:
            self.fetch([(start, min(max(stop, start + _AHEAD_BYTES), self.size))])
            data = self._held(start, stop)
        if data is None:
            raise EOFError(f"{self.place} has become shorter")
        buffer[: len(data)] = data
        self._position = stop
        return len(data)

    def _held(self, start: int, stop: int) -> memoryview | None:
        """Part of the file where it is at hand."""
        for first, data in (self._tail, *self._fetched):
            if first <= start and stop <= first + len(data):
                return memoryview(data)[start - first : stop - first]
        return None


def merged(ranges: Iterable[Range], gap: int = _GAP_BYTES) -> Iterator[Range]:
    """The fewest ranges that cover all given, in order, where those that lie within `gap` of each other become one."""
    ordered = sorted(ranges)
    if not ordered:
        return
    start, stop = ordered[0]
    for first, last in ordered[1:]:
        if first > stop + gap:
            yield start, stop
            start = first
        stop = max(stop, last)
    yield start, stop
