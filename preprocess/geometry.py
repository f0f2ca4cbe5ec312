"""Where voxels lie: affines, axis orders and label resampling, all pure functions.

Every affine maps a voxel index (z, y, x, 1) to patient LPS millimetres (L, P, S, 1), unless a name says otherwise.
"""

from itertools import permutations
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from preprocess.errors import Reason, StudyError

Affine = npt.NDArray[np.float64]
T = TypeVar("T", bound=np.generic)

SLIGHT_SKEW = 1e-4
"""Cosine between two axes up to which they are made orthogonal without a word."""
GROSS_SKEW = 5e-3
"""Cosine between two axes from which an affine is refused; in between it is made orthogonal and flagged."""

_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_REVERSED = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)
_TARGET_ROWS = (2, 1, 0)  # canonical axes z, y, x run along S, P, L


def spacing_mm(affine: Affine) -> tuple[float, float, float]:
    """Distance between neighbouring voxel centres along (z, y, x): the norms of the affine's columns.

    Rounded to a nanometre, so that the float32 of a NIfTI and the decimals of a DICOM header give one value.
    """
    z, y, x = np.linalg.norm(affine[:3, :3], axis=0).round(6)
    return (float(z), float(y), float(x))


def directions(affine: Affine) -> npt.NDArray[np.float64]:
    """Unit vectors of the index axes in LPS, as columns, (3, 3)."""
    columns = affine[:3, :3]
    unit: npt.NDArray[np.float64] = columns / np.linalg.norm(columns, axis=0)
    return unit


def lps_from_index(affine: Affine, index: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Patient coordinates (..., 3) in mm, ordered (L, P, S), of voxel indices (..., 3), ordered (z, y, x)."""
    points: npt.NDArray[np.float64] = np.asarray(index, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]
    return points


def index_from_lps(affine: Affine, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Fractional voxel indices (..., 3), ordered (z, y, x), of patient coordinates (..., 3) in mm."""
    shifted = np.asarray(points, dtype=np.float64) - affine[:3, 3]
    index: npt.NDArray[np.float64] = shifted @ np.linalg.inv(affine[:3, :3]).T
    return index


def affine_from_nifti(affine: Affine) -> Affine:
    """Affine of the reversed array (z, y, x) to LPS, from NIfTI's own (x, y, z) to RAS."""
    converted: Affine = _LPS_FROM_RAS @ np.asarray(affine, dtype=np.float64) @ _REVERSED
    return converted


def nifti_from_affine(affine: Affine) -> Affine:
    """NIfTI's (x, y, z) to RAS affine of an array that is stored reversed; undoes `affine_from_nifti`."""
    return affine_from_nifti(affine)


def affine_from_axes(
    origin: npt.ArrayLike, axes: npt.ArrayLike, spacing: tuple[float, float, float] | npt.NDArray[np.float64]
) -> Affine:
    """Affine from the LPS place of voxel (0, 0, 0), unit vectors of (z, y, x) as rows (3, 3), and spacing in mm."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(axes, dtype=np.float64).T * np.asarray(spacing, dtype=np.float64)
    affine[:3, 3] = origin
    return affine


def skew(affine: Affine) -> float:
    """Largest cosine between two index axes: 0 for orthogonal ones."""
    unit = directions(affine)
    return float(np.abs(unit.T @ unit - np.eye(3)).max())


def orthonormal(affine: Affine, shape: tuple[int, int, int]) -> tuple[Affine, float]:
    """Affine with the nearest orthonormal directions, the same spacing and the same centre of the volume.

    Args:
        affine: 4x4; its axes may be slightly skewed.
        shape: Number of voxels along (z, y, x); their centre keeps its place.

    Returns:
        The corrected affine, and how skewed it was (see `skew`).

    Raises:
        StudyError: `GEOMETRY`, where the affine is no finite regular matrix or skewed by `GROSS_SKEW` or more.
    """
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise StudyError(Reason.GEOMETRY, "the affine is no finite 4x4 matrix")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if (spacing < 1e-3).any() or (spacing > 1e3).any():
        raise StudyError(Reason.GEOMETRY, f"the voxel spacing {spacing.round(4).tolist()} mm (z, y, x) is impossible")
    off = skew(affine)
    if off >= GROSS_SKEW:
        raise StudyError(Reason.GEOMETRY, f"the axes are not orthogonal: cosine {off:.4f} between two of them")
    left, _, right = np.linalg.svd(directions(affine))
    corrected = affine.copy()
    corrected[:3, :3] = (left @ right) * spacing
    centre = (np.array(shape) - 1) / 2
    corrected[:3, 3] += lps_from_index(affine, centre) - lps_from_index(corrected, centre)
    return corrected, off


def canonical_axes(affine: Affine) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """The source axis that becomes each of (z, y, x), and whether it is reversed.

    Axes that lie exactly between two patient directions are settled by the directions alone, so that the answer does
    not depend on how the file orders its axes.
    """
    unit = directions(affine)
    best: tuple[float, ...] = ()
    answer: tuple[tuple[int, int, int], tuple[bool, bool, bool]] = ((0, 1, 2), (False, False, False))
    for z, y, x in permutations(range(3)):
        order = (z, y, x)
        along = np.array([unit[row, axis] for row, axis in zip(_TARGET_ROWS, order, strict=True)])
        turned = unit[:, list(order)] * np.where(along < 0, -1.0, 1.0)
        rank = (round(float(np.abs(along).sum()), 6), *(turned.T.round(6) + 0.0).ravel().tolist())
        if rank > best:
            best = rank
            answer = (order, (bool(along[0] < 0), bool(along[1] < 0), bool(along[2] < 0)))
    return answer


def canonical(array: npt.NDArray[T], affine: Affine) -> tuple[npt.NDArray[T], Affine]:
    """The array with its axes permuted and reversed so that z runs to the head, y to the back, x to the left.

    Nothing is resampled: oblique axes stay oblique.

    Args:
        array: (a, b, c), in any axis order.
        affine: Index (a, b, c, 1) to LPS mm.

    Returns:
        A contiguous (z, y, x) array, and its affine.
    """
    order, reverse = canonical_axes(affine)
    turned = np.flip(array.transpose(order), tuple(axis for axis in range(3) if reverse[axis]))
    return np.ascontiguousarray(turned), canonical_grid((array.shape[0], array.shape[1], array.shape[2]), affine)[1]


def canonical_grid(shape: tuple[int, int, int], affine: Affine) -> tuple[tuple[int, int, int], Affine]:
    """Shape and affine that `canonical` gives an array of a shape and an affine."""
    order, reverse = canonical_axes(affine)
    z, y, x = (shape[axis] for axis in order)
    moved = affine.copy()
    moved[:3, :3] = affine[:3, list(order)]
    for axis, count in enumerate((z, y, x)):
        if reverse[axis]:
            moved[:3, 3] += moved[:3, axis] * (count - 1)
            moved[:3, axis] *= -1
    return (z, y, x), moved


def in_file_order(array: npt.NDArray[T], affine: Affine) -> npt.NDArray[T]:
    """A canonical array seen with the axes of the array that it was, or is to be, made of; undoes `canonical`.

    Args:
        array: (z, y, x) on canonical axes.
        affine: Of the wanted axes: index (a, b, c, 1) to LPS mm.

    Returns:
        (a, b, c), a view: what is written to it comes to lie in `array`.
    """
    order, reverse = canonical_axes(affine)
    turned = np.flip(array, tuple(axis for axis in range(3) if reverse[axis]))
    return turned.transpose(np.argsort(order))


def same_grid(shape: tuple[int, int, int], affine: Affine, other_shape: tuple[int, int, int], other: Affine) -> bool:
    """Whether two grids coincide to a hundredth of a voxel at every corner."""
    if shape != other_shape:
        return False
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    moved = index_from_lps(other, lps_from_index(affine, corners))
    return bool(np.abs(moved - corners).max() < 1e-2)


def resample_labels_nearest(
    labels: npt.NDArray[T], affine: Affine, to_shape: tuple[int, int, int], to_affine: Affine
) -> npt.NDArray[T]:
    """Labels on another grid: each voxel takes the source voxel whose cell holds its centre, 0 outside.

    Args:
        labels: (z, y, x).
        affine: Where `labels` lie.
        to_shape: Number of voxels along (z, y, x) of the wanted grid.
        to_affine: Where the wanted grid lies.

    Returns:
        (z, y, x) of `to_shape`, same type.
    """
    source = (labels.shape[0], labels.shape[1], labels.shape[2])
    if same_grid(source, affine, to_shape, to_affine):
        return labels.copy()
    step = np.linalg.solve(affine, to_affine).astype(np.float64, copy=False)  # wanted index -> source index
    if np.abs(step[:3, :3] - np.diag(np.diag(step[:3, :3]))).max() * max(to_shape) < 1e-4:
        return _resample_separable(labels, np.diag(step)[:3], step[:3, 3], to_shape)
    result = np.zeros(to_shape, dtype=labels.dtype)
    y, x = np.meshgrid(np.arange(to_shape[1]), np.arange(to_shape[2]), indexing="ij")
    for z in range(to_shape[0]):  # a slice at a time, to bound memory
        at = [_nearest(step[axis, 0] * z + step[axis, 1] * y + step[axis, 2] * x + step[axis, 3]) for axis in range(3)]
        inside = np.logical_and.reduce([(a >= 0) & (a < n) for a, n in zip(at, source, strict=True)])
        result[z][inside] = labels[at[0][inside], at[1][inside], at[2][inside]]
    return result


def _nearest(index: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Nearest whole index; halves go up, and noise below a millionth of a voxel changes nothing."""
    return np.floor(index.round(6) + 0.5).astype(np.int64)


def _resample_separable(
    labels: npt.NDArray[T],
    step: npt.NDArray[np.float64],
    start: npt.NDArray[np.float64],
    to_shape: tuple[int, int, int],
) -> npt.NDArray[T]:
    result = np.zeros(to_shape, dtype=labels.dtype)
    wanted, found = [], []
    for axis in range(3):
        at = _nearest(start[axis] + step[axis] * np.arange(to_shape[axis]))
        inside = (at >= 0) & (at < labels.shape[axis])
        wanted.append(np.flatnonzero(inside))
        found.append(at[inside])
    result[np.ix_(*wanted)] = labels[np.ix_(*found)]
    return result
