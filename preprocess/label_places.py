"""Where the numbers of a label map are, found in one pass over its voxels, and its values at some places."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

Box = tuple[slice, slice, slice]
Ints = npt.NDArray[np.int64]
T = TypeVar("T", bound=np.generic)
_WORD = 8  # bytes looked at together


@dataclass(frozen=True)
class LabelPlaces:
    """What one pass over a label map tells of each number.

    Attributes:
        sections: Along z, y and x: voxels of each number in each plane across that axis, (numbers, planes).
        boxes: Bounding box of every number that occurs, without 0.
        runs: (runs, 3) stretches of one number other than 0 along x, in order: number, first column, column after it.
        row_starts: Index of the first run of each row (slice by slice), and at the end the number of runs.
    """

    sections: tuple[Ints, Ints, Ints]
    boxes: Mapping[int, Box]
    runs: npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
    row_starts: Ints

    def count(self, numbers: Iterable[int]) -> int:
        """Voxels of all the numbers together."""
        return int(self.sections[0][self._found(numbers)].sum())

    def centre(self, number: int) -> npt.NDArray[np.float64]:
        """Mean index (z, y, x) of a number that occurs."""
        planes = [along[number] for along in self.sections]
        return np.array([voxels @ np.arange(len(voxels)) / voxels.sum() for voxels in planes])

    def largest_section(self, numbers: Iterable[int], axis: int) -> int:
        """Voxels of all the numbers together in the plane across an axis that holds most."""
        return int(self.sections[axis][self._found(numbers)].sum(axis=0).max())

    def _found(self, numbers: Iterable[int]) -> list[int]:
        return [number for number in numbers if number in self.boxes]


def find_places(labels: npt.NDArray[Any]) -> LabelPlaces:
    """Where the numbers of a label map are, (z, y, x) of uint8 or uint16."""
    labels = np.ascontiguousarray(labels)
    numbers = 256 if labels.dtype == np.uint8 else int(labels.max()) + 1
    depth, rows, columns = labels.shape
    z, y = np.zeros((numbers, depth), dtype=np.int64), np.zeros((numbers, rows), dtype=np.int64)
    ends = np.zeros((numbers, columns + 1), dtype=np.int64)
    row_starts = np.zeros(depth * rows + 1, dtype=np.int64)
    runs = np.empty((depth * rows, 3), dtype=np.uint16 if columns < 1 << 16 else np.uint32)
    marks = np.zeros(-(-(columns + 1) // _WORD) * _WORD, dtype=np.bool_)
    marks[columns] = True
    runs = _scan(labels, z, y, ends, runs, row_starts, marks, marks.view(np.uint64))
    sections = (z, y, ends.cumsum(axis=1)[:, :-1])
    found = [int(number) for number in np.flatnonzero(z.any(axis=1))]
    boxes = {number: _box([along[number] for along in sections]) for number in found}
    return LabelPlaces(sections, boxes, runs, row_starts)


def _box(planes: Sequence[Ints]) -> Box:
    filled = [np.flatnonzero(voxels) for voxels in planes]
    z, y, x = (slice(int(along[0]), int(along[-1]) + 1) for along in filled)
    return (z, y, x)


@njit(cache=True, nogil=True)
def _scan(labels, in_z, in_y, ends, runs, row_starts, marks, words):  # type: ignore[no-untyped-def]  # numba
    """Find all runs; `ends` counts those that begin at a column less those that ended there.

    `marks` says where a number ends, `words` are the same bytes, `_WORD` at a time: most hold no mark.
    """
    found, width = 0, labels.shape[2]
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            row = labels[z, y]
            row_starts[z * labels.shape[1] + y] = found
            held = row[0]
            for x in range(1, width):
                held |= row[x]
                marks[x] = row[x] != row[x - 1]
            if not held:
                continue
            if found + width > runs.shape[0]:
                larger = np.empty((2 * runs.shape[0] + width, 3), dtype=runs.dtype)
                larger[:found] = runs[:found]
                runs = larger
            start = 0
            for word in range(words.size):
                if words[word]:
                    for x in range(_WORD * word, _WORD * word + _WORD):
                        if marks[x]:
                            number = row[start]
                            if number:
                                runs[found, 0], runs[found, 1], runs[found, 2] = number, start, x
                                in_z[number, z] += x - start
                                in_y[number, y] += x - start
                                ends[number, start] += 1
                                ends[number, x] -= 1
                                found += 1
                            start = x
    row_starts[-1] = found
    return runs[:found].copy()


def take(array: npt.NDArray[T], z: Ints, y: Ints, x: Ints) -> npt.NDArray[T]:
    """Values at all combinations of indices along three axes, 0 where one lies outside the array."""
    taken: npt.NDArray[T] = np.zeros((len(z), len(y), len(x)), dtype=array.dtype)
    _take(array, z, y, x, taken)
    return taken


@njit(cache=True, nogil=True)
def _take(array, z, y, x, out):  # type: ignore[no-untyped-def]  # numba
    depth, rows, columns = array.shape
    for a in range(z.size):
        for b in range(y.size):
            if 0 <= z[a] < depth and 0 <= y[b] < rows:
                row, line = array[z[a], y[b]], out[a, b]
                for c in range(x.size):
                    if 0 <= x[c] < columns:
                        line[c] = row[x[c]]
