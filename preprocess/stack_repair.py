"""Makes a straight, even stack of slices from a tilted or an uneven one, by interpolation."""

import numpy as np
import numpy.typing as npt

from preprocess.geometry import Affine
from preprocess.quality import PADDING_BELOW_HU

Hu = npt.NDArray[np.int16]


def straighten(hu: Hu, affine: Affine, shifts: npt.NDArray[np.float64]) -> tuple[Hu, Affine]:
    """Undoes gantry tilt: each slice is moved within its plane to where its header says that it lies.

    Nothing is lost: the slices grow by what the first and the last are apart. What no slice shows holds the lowest
    value that is no padding, which is air. Rows and columns are interpolated linearly; slices stay as they are.

    Args:
        hu: (z, y, x).
        affine: Of a stack whose slices lay straight above the first one.
        shifts: (z, 2) rows and columns by which each slice lies beyond the first.

    Returns:
        (z, y', x') and its affine.
    """
    filling = _lowest(hu)
    hu = np.maximum(hu, filling)  # padding would smear into the image
    low = np.floor(shifts.min(axis=0) + 1e-6).astype(np.int64)
    high = np.ceil(shifts.max(axis=0) - 1e-6).astype(np.int64)
    rows, columns = (np.array(hu.shape[1:]) + high - low).tolist()
    result = np.full((hu.shape[0], rows, columns), filling, dtype=np.int16)
    for z, (plane, shift) in enumerate(zip(hu, shifts, strict=True)):
        at_row = np.arange(rows) + low[0] - shift[0]
        at_column = np.arange(columns) + low[1] - shift[1]
        moved = _interpolated(_interpolated(plane.astype(np.float32), at_row).T, at_column).T
        inside = np.ix_(_within(at_row, plane.shape[0]), _within(at_column, plane.shape[1]))
        result[z][inside] = np.rint(moved[inside]).astype(np.int16)
    moved_affine = affine.copy()
    moved_affine[:3, 3] += affine[:3, 1:3] @ low
    return result, moved_affine


def even(hu: Hu, places: npt.NDArray[np.float64]) -> Hu:
    """Slices at even steps, interpolated linearly between the two nearest.

    Args:
        hu: (z, y, x).
        places: (z,) ascending place of each slice in units of the even step, the first being 0.

    Returns:
        (z', y, x), one slice a whole place.
    """
    hu = np.maximum(hu, _lowest(hu))
    wanted = np.arange(round(float(places[-1])) + 1)
    after = np.clip(np.searchsorted(places, wanted), 1, len(places) - 1)
    weight = (wanted - places[after - 1]) / (places[after] - places[after - 1])
    result = np.empty((len(wanted), *hu.shape[1:]), dtype=np.int16)
    for z, (above, share) in enumerate(zip(after, np.clip(weight, 0, 1).astype(np.float32), strict=True)):
        result[z] = np.rint((1 - share) * hu[above - 1].astype(np.float32) + share * hu[above]).astype(np.int16)
    return result


def _lowest(hu: Hu) -> int:
    """Lowest value that is no padding."""
    highest = int(hu.max())
    return int(np.min(hu, where=hu >= PADDING_BELOW_HU, initial=highest))


def _interpolated(plane: npt.NDArray[np.float32], at: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Rows of a plane at fractional indices; beyond the first and last row these are repeated."""
    at = np.clip(at, 0, len(plane) - 1)
    below = np.minimum(np.floor(at + 1e-6).astype(np.int64), max(len(plane) - 2, 0))
    share = np.clip(at - below, 0, 1).astype(np.float32)[:, None]
    above = np.minimum(below + 1, len(plane) - 1)
    rows: npt.NDArray[np.float32] = (1 - share) * plane[below] + share * plane[above]
    return rows


def _within(at: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.int64]:
    return np.flatnonzero((at >= -0.5) & (at <= size - 0.5))
