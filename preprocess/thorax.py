"""The cavity inside the rib cage, where findings of the lung can be though the lobes' masks leave them out."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

Bools = npt.NDArray[np.bool_]

CAGE = (
    *(f"rib_{side}_{number}" for side in ("left", "right") for number in range(1, 13)),
    *(f"vertebrae_T{number}" for number in range(1, 13)),
    "sternum",
)
"""Structures that enclose the cavity."""

BELOW_MM = 40.0
"""How far below the lobes' masks the cavity is followed: an effusion lifts them."""
CAGE_REACH_MM = 10.0
"""Ribs slope: a slice is enclosed by the cage's voxels up to this far above and below it."""


def fill_thorax(lungs: Bools, cage: Bools, other: Bools, spacing_mm: tuple[float, float, float]) -> Bools:
    """Fill the space between the lungs and the rib cage, slice by slice.

    A slice's cavity is the convex hull of the cage around it, the lungs in it and up to `BELOW_MM` above it, and the
    lungs mirrored at the mid-line, less what is labelled as another organ. The mirror image stands in for a side whose
    lobes are missed, and the lungs above for those that an effusion has lifted; without ribs the hull of the lungs is
    left.

    Args:
        lungs: (z, y, x), z towards the head and x towards the patient's left.
        cage: Ribs, sternum and thoracic vertebrae, same shape; may be empty.
        other: Labelled as neither, same shape.
        spacing_mm: Voxel size along (z, y, x).

    Returns:
        (z, y, x): the lungs and the cavity around them.
    """
    below = max(1, round(BELOW_MM / spacing_mm[0]))
    reach = max(1, round(CAGE_REACH_MM / spacing_mm[0]))
    above = _spread(lungs | _mirrored(lungs, cage), 0, below)
    near = _spread(cage, reach, reach)
    cavity = np.zeros_like(lungs)
    for z in np.flatnonzero(above.any(axis=(1, 2))):
        cavity[z] = fill_hull(above[z] | near[z])
    return lungs | (cavity & ~other)


def _spread(mask: Bools, up: int, down: int) -> Bools:
    """Each slice joined with those of up to `up` slices below and `down` slices above it."""
    size = up + down + 1
    spread = ndimage.maximum_filter1d(mask.view(np.uint8), size, axis=0, origin=-((down - up) // 2), mode="constant")
    return np.asarray(spread, dtype=np.bool_)


def _mirrored(lungs: Bools, cage: Bools) -> Bools:
    """The lungs reflected at the mid-line of cage or, without one, of the lungs."""
    reference = cage if cage.any() else lungs
    columns = np.flatnonzero(reference.any(axis=(0, 1)))
    if not columns.size:
        return lungs
    double_centre = int(columns[0] + columns[-1])
    source = double_centre - np.arange(lungs.shape[2])
    inside = (source >= 0) & (source < lungs.shape[2])
    mirrored = np.zeros_like(lungs)
    mirrored[:, :, inside] = lungs[:, :, source[inside]]
    return mirrored


def fill_hull(mask: Bools) -> Bools:
    """Convex hull of a two- or three-dimensional mask; the mask itself where it is flat or empty."""
    points = np.argwhere(_outline(mask))
    if len(points) <= mask.ndim:
        return mask
    try:
        hull = ConvexHull(points)
    except QhullError:  # all points on one line or plane
        return mask
    low, high = points.min(axis=0), points.max(axis=0) + 1
    axes = np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij", sparse=True)
    inside = np.ones([b - a for a, b in zip(low, high, strict=True)], dtype=np.bool_)
    for *normal, offset in np.unique(hull.equations.round(9), axis=0):
        inside &= sum(n * axis for n, axis in zip(normal, axes, strict=True)) <= 1e-6 - offset
    filled = mask.copy()
    filled[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] |= inside
    return filled


def _outline(mask: Bools) -> Bools:
    """First and last voxel of every line along the last axis: all that a convex hull needs."""
    outline = np.zeros_like(mask)
    lines = mask.any(axis=-1)
    first, last = mask.argmax(axis=-1), mask.shape[-1] - 1 - mask[..., ::-1].argmax(axis=-1)
    at = np.nonzero(lines)
    outline[(*at, first[lines])] = True
    outline[(*at, last[lines])] = True
    return outline
