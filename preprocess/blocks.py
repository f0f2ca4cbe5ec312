"""A box of source voxels divided into blocks, and which blocks hold a voxel of some numbers of a label map."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from preprocess.volume import LabelMap

Bools = npt.NDArray[np.bool_]
Place = tuple[int, int, int]

_BITS = 64
"""Sets of numbers that one pass looks for."""


@dataclass(frozen=True)
class Blocks:
    """A box of source voxels in blocks of one size; the last ones along an axis may be smaller.

    Attributes:
        start: First voxel (z, y, x).
        stop: One after the last voxel.
        block: Voxels of a block along (z, y, x).
    """

    start: Place
    stop: Place
    block: Place

    @property
    def shape(self) -> Place:
        """Number of blocks along (z, y, x)."""
        z, y, x = (-(-(high - low) // size) for low, high, size in zip(self.start, self.stop, self.block, strict=True))
        return (z, y, x)

    def holding(self, label_map: LabelMap, sets: Sequence[Iterable[int]]) -> Bools:
        """Which blocks hold a voxel of each set of numbers, (sets, z, y, x)."""
        places = label_map.places
        held = np.zeros((len(sets), *self.shape), dtype=np.bool_)
        for first in range(0, len(sets), _BITS):
            group = sets[first : first + _BITS]
            table = np.zeros(1 << 8 * label_map.labels.itemsize, dtype=np.uint64)
            for bit, numbers in enumerate(group):
                table[[number for number in numbers if number in places.boxes]] |= np.uint64(1 << bit)
            bits = np.zeros(self.shape, dtype=np.uint64)
            rows = label_map.shape[1]
            _gather(places.runs, places.row_starts, rows, table, self.start, self.stop, self.block, bits)
            for bit in range(len(group)):
                held[first + bit] = bits & np.uint64(1 << bit)
        return held

    def in_middle(self, label_map: LabelMap, numbers: Iterable[int]) -> Bools:
        """Blocks whose middle voxel is of one of the numbers; a last block that ends before its middle is not."""
        box = zip(self.start, self.stop, self.block, strict=True)
        middle = label_map.labels[tuple(slice(low + size // 2, high, size) for low, high, size in box)]
        found = np.zeros(self.shape, dtype=np.bool_)
        found[tuple(slice(0, size) for size in middle.shape)] = np.isin(middle, list(numbers))
        return found


@njit(cache=True, nogil=True)
def _gather(runs, row_starts, rows, table, start, stop, block, out):  # type: ignore[no-untyped-def]  # numba
    """Join the bits of each block's voxels, run by run along x."""
    for z in range(start[0], stop[0]):
        for y in range(start[1], stop[1]):
            line = out[(z - start[0]) // block[0], (y - start[1]) // block[1]]
            for run in range(row_starts[z * rows + y], row_starts[z * rows + y + 1]):
                bits = table[runs[run, 0]]
                first, end = max(np.int64(runs[run, 1]), start[2]), min(np.int64(runs[run, 2]), stop[2])
                if bits and first < end:
                    for column in range((first - start[2]) // block[2], (end - 1 - start[2]) // block[2] + 1):
                        line[column] |= bits
