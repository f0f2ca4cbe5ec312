"""Lesion shapes in patient millimetres: signed distances on any grid, and the share of each voxel that they cover."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from preprocess.simulate.capsules import capsule_share
from preprocess.simulate.scene import Floats

Slices = tuple[slice, slice, slice]
Vector = NDArray[np.float64]
_FAR_MM = 1e3


@dataclass(frozen=True)
class Grid:
    """A box of voxels in patient space.

    Args:
        affine: 4x4, index (z, y, x) to LPS mm.
        shape: (z, y, x).
    """

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]

    @cached_property
    def points(self) -> Floats:
        """LPS mm of the voxel centres, (3, z, y, x) float32."""
        z, y, x = (np.arange(n, dtype=np.float32) for n in self.shape)
        columns = self.affine[:3].astype(np.float32)
        return np.stack([(c[0] * z + c[3])[:, None, None] + (c[1] * y)[:, None] + c[2] * x for c in columns])

    @property
    def step_mm(self) -> float:
        """Edge of a cube of a voxel's volume, mm."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) ** (1 / 3))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) in mm."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    def part(self, where: Slices) -> "Grid":
        """Return the grid of a box of this one."""
        start = np.array([s.start for s in where], dtype=float)
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ start
        z, y, x = (s.stop - s.start for s in where)
        return Grid(affine, (z, y, x))

    def nudged(self, offset: Sequence[float]) -> "Grid":
        """Return the grid moved by a part of a voxel, offset in (z, y, x) voxels."""
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ np.asarray(offset, dtype=float)
        return Grid(affine, self.shape)

    def box(self, low: ArrayLike, high: ArrayLike) -> Slices | None:
        """Return the voxels around the LPS box low..high, None where none lies on the grid."""
        corners = np.array(list(product(*zip(np.asarray(low), np.asarray(high), strict=True))), dtype=float)
        inverse = np.linalg.inv(self.affine)
        index = corners @ inverse[:3, :3].T + inverse[:3, 3]
        start = np.maximum(np.floor(index.min(0)).astype(int) - 1, 0)
        stop = np.minimum(np.ceil(index.max(0)).astype(int) + 2, self.shape)
        if (start >= stop).any():
            return None
        z, y, x = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        return z, y, x


@dataclass(frozen=True)
class Shape:
    """A solid given by its signed distance.

    Args:
        distance: Grid to (z, y, x) signed distance in mm, negative inside; exact near the surface only.
        low: (L, P, S) of the bounding box.
        high: (L, P, S) of the bounding box.
        thin_mm: Half of its thinnest extent, which decides how finely a voxel is divided.
        capsules: (n, 8) start, end, radius at both, where it is a union of balls and tubes and nothing else.
    """

    distance: Callable[[Grid], Floats]
    low: Vector
    high: Vector
    thin_mm: float
    capsules: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Waves:
    """A smooth random field in patient space: a sum of plane waves, the same on every grid.

    Args:
        vectors: (k, 3) wave vectors over (L, P, S), radians a mm.
        phases: (k,) radians.
    """

    vectors: NDArray[np.float64]
    phases: NDArray[np.float64]


def draw_waves(rng: np.random.Generator, length_mm: float, count: int = 14) -> Waves:
    """Return a random field of mean 0 and variance 1 whose waves are 0.7 to 1.5 times `length_mm` long."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    lengths = length_mm * rng.uniform(0.7, 1.5, size=(count, 1))
    return Waves(2 * np.pi * direction / lengths, rng.uniform(0, 2 * np.pi, size=count))


def wave_field(grid: Grid, waves: Waves) -> Floats:
    """Return the field at the grid's voxel centres, (z, y, x).

    A plane wave on an affine grid is a product over the three axes, so that the sum is one matrix product.
    """
    per_voxel = waves.vectors @ grid.affine[:3, :3]
    start = waves.vectors @ grid.affine[:3, 3] + waves.phases
    nz, ny, nx = grid.shape
    along_z = np.exp(1j * (per_voxel[:, 0:1] * np.arange(nz) + start[:, None]))
    along_y = np.exp(1j * per_voxel[:, 1:2] * np.arange(ny))
    along_x = np.exp(1j * per_voxel[:, 2:3] * np.arange(nx))
    rows = (along_z[:, :, None] * along_y[:, None, :]).reshape(len(start), -1)
    real = rows.real.astype(np.float32).T @ along_x.real.astype(np.float32)
    imaginary = rows.imag.astype(np.float32).T @ along_x.imag.astype(np.float32)
    field: Floats = (real - imaginary).reshape(grid.shape) * np.float32(np.sqrt(2 / len(start)))
    return field


def coverage(grid: Grid, shape: Shape) -> Floats:
    """Return the share of each voxel inside the shape, (z, y, x) in 0..1.

    Voxels are divided by up to 3 along each axis where the shape is thin, so that a small stone keeps its volume.
    """
    if shape.capsules is not None:
        return capsule_share(grid.affine, grid.shape, shape.capsules)
    detail = int(np.clip(np.ceil(grid.step_mm / max(shape.thin_mm, 1e-3)), 1, 3))
    offsets = (np.arange(detail) + 0.5) / detail - 0.5
    edge = np.float32(detail / grid.step_mm)
    total = np.zeros(grid.shape, np.float32)
    for offset in product(offsets, repeat=3):
        total += np.clip(0.5 - edge * shape.distance(grid.nudged(offset)), 0, 1)
    return total / np.float32(detail**3)


def _from(grid: Grid, centre: Vector) -> Floats:
    return grid.points - centre.astype(np.float32)[:, None, None, None]


def ball(centre: ArrayLike, radius: float) -> Shape:
    """Return a ball."""
    middle = np.asarray(centre, dtype=float)

    def distance(grid: Grid) -> Floats:
        offset = _from(grid, middle)
        return np.asarray(np.sqrt(np.einsum("izyx,izyx->zyx", offset, offset)) - np.float32(radius))

    capsule = np.concatenate([middle, middle, [radius, radius]])[None]
    return Shape(distance, middle - radius, middle + radius, radius, capsule)


def ellipsoid(centre: ArrayLike, radii: ArrayLike, rotation: Vector | None = None) -> Shape:
    """Return an ellipsoid; `rotation` takes its own axes to (L, P, S)."""
    middle, half = np.asarray(centre, dtype=float), np.asarray(radii, dtype=float)
    to_own = np.eye(3) if rotation is None else np.asarray(rotation, dtype=float).T
    scaled = (to_own / half[:, None]).astype(np.float32)
    twice = (to_own / half[:, None] ** 2).astype(np.float32)

    def distance(grid: Grid) -> Floats:
        offset = _from(grid, middle).reshape(3, -1)
        first = np.linalg.norm(scaled @ offset, axis=0)
        slope = np.maximum(np.linalg.norm(twice @ offset, axis=0), 1e-6)
        return np.asarray((first * (first - 1) / slope).reshape(grid.shape), np.float32)

    reach = np.sqrt(((to_own.T * half) ** 2).sum(1))
    return Shape(distance, middle - reach, middle + reach, float(half.min()))


def tube(points: ArrayLike, radii: ArrayLike) -> Shape:
    """Return a tube round a polyline (n, 3) with a radius at each point (n,) or one for all."""
    line = np.asarray(points, dtype=float)
    width = np.broadcast_to(np.asarray(radii, dtype=float), (len(line),))
    pad = float(width.max())

    def distance(grid: Grid) -> Floats:
        nearest = np.full(grid.shape, _FAR_MM, np.float32)
        reach = pad + 2 * grid.step_mm
        for a, b, ra, rb in zip(line[:-1], line[1:], width[:-1], width[1:], strict=True):
            where = grid.box(np.minimum(a, b) - reach, np.maximum(a, b) + reach)
            if where is None:
                continue
            offset = _from(grid.part(where), a)
            step = (b - a).astype(np.float32)
            along = np.clip(np.tensordot(step, offset, 1) / max(float(step @ step), 1e-6), 0, 1)
            gap = offset - step[:, None, None, None] * along
            here = np.sqrt(np.einsum("izyx,izyx->zyx", gap, gap)) - (np.float32(ra) + np.float32(rb - ra) * along)
            np.minimum(nearest[where], here, out=nearest[where])
        return nearest

    capsules = np.concatenate([line[:-1], line[1:], width[:-1, None], width[1:, None]], axis=1)
    return Shape(distance, line.min(0) - pad, line.max(0) + pad, float(width.min()), capsules)


def union(shapes: Sequence[Shape]) -> Shape:
    """Return the union of one or more shapes; each is worked out in its own box only."""

    def distance(grid: Grid) -> Floats:
        nearest = np.full(grid.shape, _FAR_MM, np.float32)
        for shape in shapes:
            reach = 2 * grid.step_mm
            where = grid.box(shape.low - reach, shape.high + reach)
            if where is not None:
                np.minimum(nearest[where], shape.distance(grid.part(where)), out=nearest[where])
        return nearest

    low = np.min([s.low for s in shapes], axis=0)
    high = np.max([s.high for s in shapes], axis=0)
    parts = [s.capsules for s in shapes if s.capsules is not None]
    capsules = np.concatenate(parts) if len(parts) == len(shapes) else None
    return Shape(distance, low, high, min(s.thin_mm for s in shapes), capsules)


def without(shape: Shape, hole: Shape) -> Shape:
    """Return the shape less another."""

    def distance(grid: Grid) -> Floats:
        return np.asarray(np.maximum(shape.distance(grid), -hole.distance(grid)))

    return Shape(distance, shape.low, shape.high, shape.thin_mm)


def lobed(shape: Shape, waves: Waves, depth_mm: float) -> Shape:
    """Return the shape with its surface pushed in and out by a random field, `depth_mm` a standard deviation."""

    def distance(grid: Grid) -> Floats:
        return shape.distance(grid) - np.float32(depth_mm) * np.clip(wave_field(grid, waves), -2, 2)

    return Shape(distance, shape.low - 2 * depth_mm, shape.high + 2 * depth_mm, shape.thin_mm)


def rind(shape: Shape, thickness_mm: float) -> Shape:
    """Return the outermost layer of the shape, `thickness_mm` deep."""

    def distance(grid: Grid) -> Floats:
        outer = shape.distance(grid)
        return np.asarray(np.maximum(outer, -(outer + np.float32(thickness_mm))))

    return Shape(distance, shape.low, shape.high, thickness_mm)


def facets(centre: ArrayLike, radius: float, rng: np.random.Generator, planes: int = 10) -> Shape:
    """Return a convex polyhedron cut from a ball by random planes, as faceted stones are."""
    middle = np.asarray(centre, dtype=float)
    normals = rng.normal(size=(planes, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    heights = radius * rng.uniform(0.6, 0.95, size=planes)
    round_part = ball(middle, radius)

    def distance(grid: Grid) -> Floats:
        offset = _from(grid, middle)
        cut = np.tensordot(normals.astype(np.float32), offset, 1) - heights.astype(np.float32)[:, None, None, None]
        return np.asarray(np.maximum(round_part.distance(grid), cut.max(axis=0)))

    return Shape(distance, middle - radius, middle + radius, radius * 0.7)


def bent(points: ArrayLike, count: int = 16) -> Vector:
    """Return a smooth curve (count, 3) through control points (n, 3): a Catmull-Rom spline."""
    knots = np.asarray(points, dtype=float)
    ends = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    where = np.linspace(0, len(knots) - 1, count)
    left = np.minimum(where.astype(int), len(knots) - 2)
    t = (where - left)[:, None]
    p0, p1, p2, p3 = (ends[left + k] for k in range(4))
    curve = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    return np.asarray(curve / 2)


def wander(
    rng: np.random.Generator, start: ArrayLike, heading: ArrayLike, *, length_mm: float, steps: int = 10, turn: float
) -> Vector:
    """Return a random walk (steps + 1, 3) in mm whose heading drifts by `turn` a step."""
    direction = np.asarray(heading, dtype=float) / max(float(np.linalg.norm(heading)), 1e-9)
    points = [np.asarray(start, dtype=float)]
    for push in rng.normal(size=(steps, 3)):
        direction = direction + turn * push
        direction /= max(float(np.linalg.norm(direction)), 1e-9)
        points.append(points[-1] + direction * length_mm / steps)
    return np.array(points)
