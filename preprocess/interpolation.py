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
    taps_z, taps_y = weights_z.shape[1], weights_y.shape[1]
    width = out.shape[2]
    plane = np.empty((out.shape[1], width), dtype=np.float32)
    for source in range(first_z[0], first_z[-1] + taps_z):
        for y in range(out.shape[1]):
            line = plane[y]
            line[:] = np.float32(0.0)
            for tap in range(taps_y):
                weight = weights_y[y, tap]
                if weight != 0.0:
                    row = hu[source, first_y[y] + tap, low : low + width]
                    for x in range(width):
                        line[x] += weight * np.float32(row[x])
        for z in range(out.shape[0]):
            tap = source - first_z[z]
            if 0 <= tap < taps_z and weights_z[z, tap] != 0.0:
                weight = weights_z[z, tap]
                for y in range(out.shape[1]):
                    line, target = plane[y], out[z, y]
                    for x in range(width):
                        target[x] += weight * line[x]


@njit(cache=True, nogil=True)
def _along_x(smooth, first, weights, out):  # type: ignore[no-untyped-def]  # numba
    """Sum (z, y, source x) into whole HU at the centres along x."""
    taps = weights.shape[1]
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            line = smooth[z, y]
            for x in range(out.shape[2]):
                total = np.float32(0.0)
                start = first[x]
                for tap in range(taps):
                    total += weights[x, tap] * line[start + tap]
                out[z, y, x] = np.int16(min(max(np.rint(total), np.float32(-32768.0)), np.float32(32767.0)))
