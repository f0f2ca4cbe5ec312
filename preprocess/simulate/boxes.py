"""Turn an organ's primitives into arrays, each with the box of voxels that it can touch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.simulate.fields import warp_at
from preprocess.simulate.scene import BodyPlan, Ellipsoid, Floats, Organ, Primitive, Tube

Boxes = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """One organ, ready for `fields.fill_depth`.

    Attributes:
        ellipsoids: (n, 15) centre, radii, rotation by rows.
        ellipsoid_boxes: (n, 6) voxel ranges, low then high.
        capsules: (m, 8) start, end, radius at both.
        capsule_boxes: (m, 6).
        low: First voxel of the box of all.
        high: One beyond its last voxel; not above `low` where the organ lies outside the grid.
        blend_mm: Width of the smooth join between ellipsoids.
        rough_mm: Roughness of the surface.
    """

    ellipsoids: Floats
    ellipsoid_boxes: Boxes
    capsules: Floats
    capsule_boxes: Boxes
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    blend_mm: float
    rough_mm: float


def build_rows(
    plan: BodyPlan, organs: Sequence[Organ], shape: tuple[int, int, int], affine: NDArray[np.float64]
) -> list[Rows]:
    """Build the rows of every organ, in the given order."""
    parts = [_arrays(organ.shapes) for organ in organs]
    smallest = [_smallest_radius(ellipsoids, capsules) for ellipsoids, capsules in parts]
    centres: list[NDArray[Any]] = []
    halves: list[NDArray[Any]] = []
    spare: list[NDArray[np.float64]] = []
    for (ellipsoids, capsules), radius in zip(parts, smallest, strict=True):
        turn = ellipsoids[:, 6:].reshape(-1, 3, 3)
        half = np.sqrt(np.einsum("nij,nj->ni", turn**2, ellipsoids[:, 3:6] ** 2))
        reach = np.abs(capsules[:, 3:6] - capsules[:, :3]) / 2 + capsules[:, 6:].max(axis=1, initial=0.0)[:, None]
        centres += [ellipsoids[:, :3], (capsules[:, :3] + capsules[:, 3:6]) / 2]
        halves.extend([half, reach])
        spare += [np.full(len(half), blend(radius)), np.zeros(len(reach))]
    boxes = _boxes(plan, np.concatenate(centres), np.concatenate(halves), np.concatenate(spare), shape, affine)
    rows, start = [], 0
    for (ellipsoids, capsules), radius in zip(parts, smallest, strict=True):
        middle, stop = start + len(ellipsoids), start + len(ellipsoids) + len(capsules)
        rows.append(_rows(ellipsoids, boxes[start:middle], capsules, boxes[middle:stop], radius))
        start = stop
    return rows


def blend(radius_mm: float) -> float:
    """Width of the smooth join for a smallest radius, in mm."""
    return float(np.clip(0.25 * radius_mm, 0.5, 16.0))


def rough(radius_mm: float) -> float:
    """Roughness of the surface for a smallest radius, in mm."""
    return float(np.clip(0.07 * radius_mm, 0.1, 1.5) if radius_mm < 40 else 0.5)


def _rows(ellipsoids: Floats, ellipsoid_boxes: Boxes, capsules: Floats, capsule_boxes: Boxes, radius: float) -> Rows:
    boxes = np.concatenate([ellipsoid_boxes, capsule_boxes])
    boxes = boxes[(boxes[:, 3:] > boxes[:, :3]).all(axis=1)]
    low = boxes[:, :3].min(axis=0) if len(boxes) else np.zeros(3, dtype=np.int64)
    high = boxes[:, 3:].max(axis=0) if len(boxes) else np.zeros(3, dtype=np.int64)
    return Rows(ellipsoids, ellipsoid_boxes, capsules, capsule_boxes, low, high, blend(radius), rough(radius))


def _arrays(shapes: Sequence[Primitive]) -> tuple[Floats, Floats]:
    ellipsoids = [
        np.concatenate([shape.centre, shape.radii, shape.rotation.ravel()])
        for shape in shapes
        if isinstance(shape, Ellipsoid)
    ]
    capsules = [_capsules(shape) for shape in shapes if isinstance(shape, Tube)]
    flat = np.array(ellipsoids, dtype=np.float32).reshape(-1, 15)
    return flat, np.concatenate([np.zeros((0, 8)), *capsules]).astype(np.float32)


def _capsules(tube: Tube) -> NDArray[np.float64]:
    radii = np.asarray(tube.radii, dtype=np.float64)
    return np.concatenate([tube.points[:-1], tube.points[1:], radii[:-1, None], radii[1:, None]], axis=1)


def _smallest_radius(ellipsoids: Floats, capsules: Floats) -> float:
    return float(min(ellipsoids[:, 3:6].min(initial=1e3), capsules[:, 6:].min(initial=1e3)))


def _boxes(
    plan: BodyPlan,
    centres: NDArray[np.float32],
    halves: NDArray[np.floating[Any]],
    spare: NDArray[np.float64],
    shape: tuple[int, int, int],
    affine: NDArray[np.float64],
) -> Boxes:
    """Voxel ranges (n, 6) that hold all points nearer than `spare` to primitives, bent by the warp."""
    wanted = centres.astype(np.float64)
    found = wanted - warp_at(plan, wanted)
    found = wanted - warp_at(plan, found)
    inverse = np.linalg.inv(affine)
    middle = found @ inverse[:3, :3].T + inverse[:3, 3]
    reach = (halves * 1.12 + spare[:, None] + 4.0) @ np.abs(inverse[:3, :3]).T
    low = np.clip(np.floor(middle - reach), 0, shape)
    high = np.clip(np.ceil(middle + reach) + 1, 0, shape)
    return np.concatenate([low, high], axis=1).astype(np.int64)
