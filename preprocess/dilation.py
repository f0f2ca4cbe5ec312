"""Everything near a mask, by distance in millimetres."""

import numpy as np
import numpy.typing as npt
from numba import njit

Bools = npt.NDArray[np.bool_]

_ROUNDING = 1e-9  # relative; a voxel exactly at the distance belongs to it however its square was added up


def dilate(mask: Bools, distance_mm: float, spacing_mm: tuple[float, float, float]) -> Bools:
    """All voxels whose centre is at most `distance_mm` from a centre inside the mask.

    The square of the distance is the sum of its squares along the axes, so that the nearest voxel is found along x,
    then along y, then along z, each time among those within reach.
    """
    if distance_mm <= 0 or not mask.any():
        return mask
    limit = distance_mm * distance_mm * (1 + _ROUNDING)
    squares = np.full(mask.shape, np.inf)
    _along_x(mask, spacing_mm[2], squares)
    for axis in (1, 0):
        reach = int(distance_mm * (1 + _ROUNDING) / spacing_mm[axis])
        squares = _along(squares.swapaxes(0, axis), reach, spacing_mm[axis], limit).swapaxes(0, axis)
    return squares <= limit


@njit(cache=True, nogil=True)
def _along_x(mask, step, squares):  # type: ignore[no-untyped-def]  # numba
    """Set each voxel to its squared distance from the nearest one of the mask in its row."""
    for z in range(mask.shape[0]):
        for y in range(mask.shape[1]):
            row, line = mask[z, y], squares[z, y]
            for turn in range(2):
                far = np.inf
                for place in range(row.size):
                    x = place if turn == 0 else row.size - 1 - place
                    far = 0.0 if row[x] else far + step
                    line[x] = min(line[x], far * far)


@njit(cache=True, nogil=True)
def _along(squares, reach, step, limit):  # type: ignore[no-untyped-def]  # numba
    """Lower each plane of the first axis to what its neighbours are away from the mask, plus the way to them."""
    lowered = squares.copy()
    for source in range(squares.shape[0]):
        for row in range(squares.shape[1]):
            line = squares[source, row]
            if line.min() > limit:
                continue
            for place in range(max(0, source - reach), min(squares.shape[0], source + reach + 1)):
                way = (place - source) * step * (place - source) * step
                target = lowered[place, row]
                for x in range(line.size):
                    target[x] = min(target[x], line[x] + way)
    return lowered
