"""An image onto a coarser or finer grid parallel to its own: smoothed against aliasing, then interpolated linearly."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

TRUNCATE = 4.0
"""The anti-aliasing kernel ends at this many standard deviations."""


@dataclass(frozen=True)
class AxisWeights:
    """Which source voxels of one axis make each centre, and how much of each.

    Attributes:
        first: (centres,) index of the first source voxel.
        weights: (centres, taps) float32, of that voxel and those after it; each row adds up to 1.
    """

    first: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


def axis_weights(centres: npt.NDArray[np.float64], length: int) -> AxisWeights:
    """Weights of the source voxels of one axis for each centre: linear interpolation of the smoothed source.

    Where the grid is coarser by a factor r > 1 the source is smoothed by a Gaussian of (r - 1) / 2 source voxels, cut
    at `TRUNCATE` standard deviations, the outermost voxel going on beyond the border.

    Args:
        centres: Fractional source indices, evenly spaced.
        length: Number of source voxels along the axis.
    """
    cell = float(centres[1] - centres[0]) if len(centres) > 1 else 1.0
    sigma = max(0.0, (cell - 1) / 2)
    radius = int(TRUNCATE * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2) if sigma > 0 else np.ones(1)
    kernel /= kernel.sum()
    taps = min(len(offsets) + 1, length)
    clamped = np.clip(centres, 0, length - 1)
    below = np.minimum(np.floor(clamped).astype(np.int64), max(length - 2, 0))
    share = clamped - below
    first = np.clip(below - radius, 0, length - taps)
    weights = np.zeros((len(centres), taps))
    rows = np.arange(len(centres))[:, None]
    for start, part in ((below, 1 - share), (below + 1, share)):
        columns = np.clip(start[:, None] + offsets, 0, length - 1) - first[:, None]
        np.add.at(weights, (rows, columns), part[:, None] * kernel)
    return AxisWeights(first, weights.astype(np.float32))


def interpolate(hu: npt.NDArray[np.int16], z: AxisWeights, y: AxisWeights, x: AxisWeights) -> npt.NDArray[np.int16]:
    """HU at all combinations of centres along three axes, int16 (z, y, x), rounded.

    The sums are made in a fixed order, so that every machine gives the same bits.
    """
    low = int(x.first.min())
    high = int(x.first.max()) + x.weights.shape[1]
    smooth = np.zeros((len(z.first), len(y.first), high - low), dtype=np.float32)
    _along_z_and_y(hu, z.first, z.weights, y.first, y.weights, low, smooth)
    whole = np.empty((len(z.first), len(y.first), len(x.first)), dtype=np.int16)
    _along_x(smooth, x.first - low, x.weights, whole)
    return whole


@njit(cache=True, nogil=True)
def _along_z_and_y(hu, first_z, weights_z, first_y, weights_y, low, out):  # type: ignore[no-untyped-def]  # numba
    """Add source rows up in (z, y, source x): each slice along y, then into all slices that need it."""
    taps_z, taps_y, width = weights_z.shape[1], weights_y.shape[1], out.shape[2]
    begin = first_y[0]
    rows = np.empty((first_y[-1] + taps_y - begin, width), dtype=np.float32)
    plane = np.empty((out.shape[1], width), dtype=np.float32)
    for source in range(first_z[0], first_z[-1] + taps_z):
        for y in range(rows.shape[0]):
            row, line = hu[source, begin + y, low : low + width], rows[y]
            for x in range(width):
                line[x] = row[x]
        for y in range(out.shape[1]):
            _add_rows(rows, first_y[y] - begin, weights_y[y], plane[y])
        for z in range(out.shape[0]):
            tap = source - first_z[z]
            if 0 <= tap < taps_z and weights_z[z, tap] != 0.0:
                weight = weights_z[z, tap]
                for y in range(out.shape[1]):
                    line, target = plane[y], out[z, y]
                    for x in range(width):
                        target[x] += weight * line[x]


@njit(cache=True, nogil=True)
def _add_rows(rows, first, weights, line):  # type: ignore[no-untyped-def]  # numba
    """Set a line to the weighted sum of rows, added one after the other, four in one go over the line."""
    line[:] = np.float32(0.0)
    tap = 0
    while tap + 4 <= weights.size:
        one, two, three, four = weights[tap], weights[tap + 1], weights[tap + 2], weights[tap + 3]
        a, b, c, d = rows[first + tap], rows[first + tap + 1], rows[first + tap + 2], rows[first + tap + 3]
        for x in range(line.size):
            line[x] = line[x] + one * a[x] + two * b[x] + three * c[x] + four * d[x]
        tap += 4
    while tap < weights.size:
        one, a = weights[tap], rows[first + tap]
        for x in range(line.size):
            line[x] += one * a[x]
        tap += 1


@njit(cache=True, nogil=True)
def _along_x(smooth, first, weights, out):  # type: ignore[no-untyped-def]  # numba
    """Sum (z, y, source x) into whole HU at the centres along x, all rows of a slice at a time."""
    turned = np.empty((smooth.shape[2], smooth.shape[1]), dtype=np.float32)
    total = np.empty(smooth.shape[1], dtype=np.float32)
    for z in range(out.shape[0]):
        turned[:] = smooth[z].T
        for x in range(out.shape[2]):
            total[:] = np.float32(0.0)
            for tap in range(weights.shape[1]):
                weight, column = weights[x, tap], turned[first[x] + tap]
                for y in range(total.size):
                    total[y] += weight * column[y]
            for y in range(total.size):
                out[z, y, x] = np.int16(min(max(np.rint(total[y]), np.float32(-32768.0)), np.float32(32767.0)))
