"""Kernels that fill a grid: smooth random fields, where each voxel lies in the plan, depth inside shapes, stamping."""

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from preprocess.simulate.scene import BodyPlan, Floats

COARSE_STEP = 8
"""The warp is evaluated at every eighth voxel and interpolated in between."""


def upsample(coarse: Floats, shape: tuple[int, int, int]) -> Floats:
    """Interpolate a coarse field linearly to `shape`; first and last knots lie on the first and last voxels.

    Args:
        coarse: (..., a, b, c).
        shape: (z, y, x).

    Returns:
        (..., z, y, x) float32.
    """
    a, b, c = (_weights(n, size) for n, size in zip(coarse.shape[-3:], shape, strict=True))
    field = (coarse.astype(np.float32) @ c.T).swapaxes(-1, -2) @ b.T  # (..., a, x, y)
    field = np.ascontiguousarray(field.swapaxes(-1, -2))  # (..., a, y, x)
    flat = field.reshape(*field.shape[:-2], -1)
    return np.asarray((a @ flat).reshape(*field.shape[:-3], *shape), dtype=np.float32)


def _weights(knots: int, size: int) -> Floats:
    """Linear interpolation matrix (size, knots)."""
    place = np.linspace(0.0, knots - 1, size)
    return np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(knots))).astype(np.float32)


def noise(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing_mm: tuple[float, ...], knot_mm: float
) -> Floats:
    """Draw a smooth random field of about unit variance whose knots lie `knot_mm` apart, (z, y, x)."""
    knots = tuple(max(2, round(n * step / knot_mm) + 1) for n, step in zip(shape, spacing_mm, strict=True))
    return upsample(rng.standard_normal(knots, dtype=np.float32) * np.float32(1.5), shape)


def warp_at(plan: BodyPlan, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Displacement (n, 3) in mm of points (n, 3) in LPS mm: knots weigh cubic B-splines, held beyond the box."""
    low, high = (np.array(corner) for corner in plan.warp_box)
    last = np.array(plan.warp_mm.shape[1:]) - 1
    place = ((points - low) / (high - low) * last).T
    return np.stack(
        [map_coordinates(axis, place, order=3, mode="nearest", prefilter=False) for axis in plan.warp_mm], axis=1
    )


def plan_positions(plan: BodyPlan, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> Floats:
    """Where each voxel lies in the unbent plan, (3, z, y, x) float32, LPS mm: its place plus the warp there."""
    axes = [np.linspace(0.0, n - 1, max(2, -(-n // COARSE_STEP) + 1)) for n in shape]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    points = index.reshape(-1, 3) @ affine[:3, :3].T + affine[:3, 3]
    coarse = (points + warp_at(plan, points)).T.reshape(3, *index.shape[:3])
    return upsample(coarse.astype(np.float32), shape)


@njit(cache=True, fastmath=True, error_model="numpy")
def lower_ellipsoid(depth, across, place_l, place_p, place_s, e, blend):  # type: ignore[no-untyped-def]  # numba
    """Lower one row of depths to an ellipsoid's; branch-free, so that it is vectorised. See `fill_depth`."""
    one = np.float32(1.0)
    tiny = np.float32(1e-12)
    i, j, k = one / e[3], one / e[4], one / e[5]
    a, b, c = e[6] * i, e[9] * i, e[12] * i
    f, g, h = e[7] * j, e[10] * j, e[13] * j
    m, n, o = e[8] * k, e[11] * k, e[14] * k
    quarter = np.float32(0.25) / blend
    for x in range(depth.size):
        dl, dp, ds = place_l[x] - e[0], place_p[x] - e[1], place_s[x] - e[2]
        u, v, w = a * dl + b * dp + c * ds, f * dl + g * dp + h * ds, m * dl + n * dp + o * ds
        size = np.sqrt(u * u + v * v + w * w + tiny)
        u, v, w = u * i, v * j, w * k
        d = size * (size - one) / np.sqrt(u * u + v * v + w * w + tiny)
        old = depth[x]
        near = max(blend - abs(d - old), np.float32(0.0))
        across[x] = dp * j if d < old else across[x]
        depth[x] = min(d, old) - near * near * quarter


@njit(cache=True, fastmath=True, error_model="numpy")
def lower_capsule(depth, across, place_l, place_p, place_s, c):  # type: ignore[no-untyped-def]  # numba
    """Lower one row of depths to a capsule's; branch-free, so that it is vectorised. See `fill_depth`."""
    zero, one = np.float32(0.0), np.float32(1.0)
    al, ap, h = c[3] - c[0], c[4] - c[1], c[5] - c[2]
    inverse = one / (al * al + ap * ap + h * h + np.float32(1e-6))
    for x in range(depth.size):
        dl, dp, ds = place_l[x] - c[0], place_p[x] - c[1], place_s[x] - c[2]
        t = min(max((dl * al + dp * ap + ds * h) * inverse, zero), one)
        dl, dp, ds = dl - t * al, dp - t * ap, ds - t * h
        radius = c[6] + t * (c[7] - c[6])
        d = np.sqrt(dl * dl + dp * dp + ds * ds) - radius
        old = depth[x]
        across[x] = dp / radius if d < old else across[x]
        depth[x] = min(d, old)


@njit(cache=True, inline="always")
def take_row(depth, across, origin, positions, z, y, low, high):  # type: ignore[no-untyped-def]  # numba
    """Return views of one row of the grid, voxels `low` to `high` along x: depth, across and three of place."""
    along = slice(low - origin[2], high - origin[2])
    row, row_across = depth[z - origin[0], y - origin[1], along], across[z - origin[0], y - origin[1], along]
    return row, row_across, (positions[0, z, y, low:high], positions[1, z, y, low:high], positions[2, z, y, low:high])


@njit(cache=True, fastmath=True)
def fill_depth(depth, across, origin, positions, ellipsoids, ellipsoid_boxes, capsules, capsule_boxes, blend):  # type: ignore[no-untyped-def]  # numba
    """Lower `depth` to the signed distance (mm, negative inside) of an organ's primitives, smoothly joined.

    Args:
        depth: (a, b, c) float32 over the organ's box, updated.
        across: Same shape; where a primitive is the nearest, the place back (+) or front (-) of its axis, in radii.
        origin: (3,) index of the box's first voxel.
        positions: (3, z, y, x) float32 place of each voxel in the plan.
        ellipsoids: (n, 15) float32: centre, radii, rotation by rows.
        ellipsoid_boxes: (n, 6) index ranges, low then high.
        capsules: (m, 8) float32: start, end, radius at start and end.
        capsule_boxes: (m, 6).
        blend: Width in mm of the smooth join between ellipsoids.
    """
    for n in range(ellipsoids.shape[0]):
        low_z, low_y, low_x, high_z, high_y, high_x = ellipsoid_boxes[n]
        for z in range(low_z, high_z):
            for y in range(low_y, high_y):
                row, row_across, place = take_row(depth, across, origin, positions, z, y, low_x, high_x)
                lower_ellipsoid(row, row_across, place[0], place[1], place[2], ellipsoids[n], blend)
    for n in range(capsules.shape[0]):
        low_z, low_y, low_x, high_z, high_y, high_x = capsule_boxes[n]
        for z in range(low_z, high_z):
            for y in range(low_y, high_y):
                row, row_across, place = take_row(depth, across, origin, positions, z, y, low_x, high_x)
                lower_capsule(row, row_across, place[0], place[1], place[2], capsules[n])


@njit(cache=True, fastmath=True)
def stamp(depth, across, origin, ripple, swing, allowed, material, labels, paint):  # type: ignore[no-untyped-def]  # numba
    """Paint an organ where its depth is negative and the material beneath allows it.

    Args:
        depth: (a, b, c) signed distance over the organ's box.
        across: (a, b, c), see `fill_depth`.
        origin: (3,) index of the box's first voxel.
        ripple: (z, y, x) unit noise that roughens the surface.
        swing: (z, y, x) unit noise that moves the level between gas and fluid.
        allowed: (materials,) bool: what may be painted over.
        material: (z, y, x) uint16, updated.
        labels: (z, y, x) uint8, updated.
        paint: (8,) float32: wall material, content material or -1, gas material or -1, label or -1 to keep it, surface
            roughness in mm, wall in mm, mean gas level in radii, its swing.
    """
    for i in range(depth.shape[0]):
        for j in range(depth.shape[1]):
            for k in range(depth.shape[2]):
                if depth[i, j, k] > 8.0:
                    continue
                z, y, x = i + origin[0], j + origin[1], k + origin[2]
                d = depth[i, j, k] + paint[4] * ripple[z, y, x]
                if d >= 0 or not allowed[material[z, y, x]]:
                    continue
                value = paint[0]
                if paint[1] >= 0 and d < -paint[5]:
                    value = paint[1]
                    if paint[2] >= 0 and across[i, j, k] < paint[6] + paint[7] * swing[z, y, x]:
                        value = paint[2]
                material[z, y, x] = int(value)
                if paint[3] >= 0:
                    labels[z, y, x] = int(paint[3])


@njit(cache=True, fastmath=True)
def divide(positions, seeds, space, materials, numbers, ripple, material, labels):  # type: ignore[no-untyped-def]  # numba
    """Give every voxel of the material `space` to the nearest seed: the lobes of the lungs.

    Args:
        positions: (3, z, y, x) float32.
        seeds: (n, 3) float32 LPS mm.
        space: Material of the pleural space.
        materials: (n,) material of each lobe.
        numbers: (n,) label of each lobe.
        ripple: (z, y, x) unit noise that bends the fissures.
        material: (z, y, x) uint16, updated.
        labels: (z, y, x) uint8, updated.
    """
    for z in range(material.shape[0]):
        for y in range(material.shape[1]):
            for x in range(material.shape[2]):
                if material[z, y, x] != space:
                    continue
                best, chosen = np.float32(1e9), 0
                bend = np.float32(2.0) * ripple[z, y, x]
                for n in range(seeds.shape[0]):
                    dl = positions[0, z, y, x] - seeds[n, 0]
                    dp = positions[1, z, y, x] - seeds[n, 1]
                    ds = positions[2, z, y, x] - seeds[n, 2] + bend
                    d = dl * dl + dp * dp + ds * ds
                    if d < best:
                        best, chosen = d, n
                material[z, y, x] = materials[chosen]
                labels[z, y, x] = numbers[chosen]
