"""How a body is scanned: range, grid and series, and what kernel, noise and padding make of clean attenuation."""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.simulate.frame import rotation
from preprocess.simulate.raster import Grid
from preprocess.simulate.scene import BodyPlan, Ellipsoid, Floats, Phase
from preprocess.simulate.site import Coverage, Scanner, Site

PADDING_HU = -1024
RANGES_MM: dict[Coverage, tuple[float, float]] = {
    # lower and upper end, S of the reference body
    "whole": (-342.0, 338.0),
    "chest": (5.0, 338.0),
    "abdomen_pelvis": (-342.0, 130.0),
}


@dataclass(frozen=True)
class SeriesPlan:
    """One series to be made: contrast phase, kernel with its noise and blur, slices averaged into one."""

    description: str
    phase: Phase
    kernel: str
    noise_hu: float
    blur: float
    slab: int = 1


@dataclass(frozen=True)
class Protocol:
    """One examination.

    Attributes:
        grid: In the body's own coordinates.
        offset_mm: From the body's coordinates to the scanner's, (L, P, S).
        coverage: Scan range.
        range_mm: Its lower and upper end in the body's coordinates.
        thickness_ratio: Slice thickness over the distance between slices.
        scanner: Make.
        kvp: Tube voltage.
        table_p_mm: Depth P of the table top, in the body's coordinates.
        has_circle: Whether corners hold padding.
        has_localizer: Whether a localizer belongs to the study.
        is_head_first_file: Whether the first instance is the uppermost slice.
        series: The series; the first is the primary one.
    """

    grid: Grid
    offset_mm: NDArray[np.float64]
    coverage: Coverage
    range_mm: tuple[float, float]
    thickness_ratio: float
    scanner: Scanner
    kvp: int
    table_p_mm: float
    has_circle: bool
    has_localizer: bool
    is_head_first_file: bool
    series: tuple[SeriesPlan, ...]


def sample_protocol(rng: np.random.Generator, site: Site, plan: BodyPlan) -> Protocol:
    """Draw how a study is scanned; nothing of it depends on findings."""
    scanner = site.scanners[int(rng.integers(len(site.scanners)))]
    coverage = _choose(rng, site.coverage)
    bottom, top = (level * _stature(plan) + float(rng.uniform(-12, 12)) for level in RANGES_MM[coverage])
    edge, ratio = rng.uniform(*site.in_plane_mm), np.sqrt(rng.uniform(*site.pixel_ratio))
    spacing = (float(rng.uniform(*site.slice_mm)), float(edge * ratio), float(edge / ratio))
    low, high = trunk_box(plan)
    rim = rng.uniform(4.0, 22.0, 4)
    low = np.array([low[0] - rim[0], low[1] - rim[1], bottom])
    high = np.array([high[0] + rim[2], high[1] + 12 + rim[3], top])
    return Protocol(
        grid=_grid(rng, site, low, high, spacing),
        offset_mm=np.array([rng.normal(0, 12), rng.uniform(-190, -120), rng.uniform(-1500, 100)]).round(2),
        coverage=coverage,
        range_mm=(bottom, top),
        thickness_ratio=float(rng.choice([1.0, 1.0, 1.25])),
        scanner=scanner,
        kvp=int(rng.choice(site.kvp)),
        table_p_mm=trunk_box(plan)[1][1] + 2.0,
        has_circle=bool(rng.random() < site.circle),
        has_localizer=bool(rng.random() < site.localizer),
        is_head_first_file=bool(rng.random() < 0.5),
        series=_series(rng, site, scanner),
    )


def _stature(plan: BodyPlan) -> float:
    """Stretch of this body along S, from the place of the first thoracic vertebra (S = 301 in the reference)."""
    body = plan.organs["vertebrae_T1"].shapes[0]
    return body.centre[2] / 301.0 if isinstance(body, Ellipsoid) else 1.0


def trunk_box(plan: BodyPlan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper corner (L, P, S) of the trunk's ellipsoids in mm."""
    ellipsoids = [shape for shape in plan.trunk if isinstance(shape, Ellipsoid)]
    centres, radii = np.array([e.centre for e in ellipsoids]), np.array([e.radii for e in ellipsoids])
    return (centres - radii).min(axis=0), (centres + radii).max(axis=0)


def _choose(rng: np.random.Generator, shares: dict[Coverage, float]) -> Coverage:
    return list(shares)[int(rng.choice(len(shares), p=list(shares.values())))]


def _grid(
    rng: np.random.Generator,
    site: Site,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    spacing: tuple[float, float, float],
) -> Grid:
    """Build the grid over a box of the body: axes z, y, x along S, P, L, some flipped, some slightly turned."""
    axes = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]]).T  # columns: directions of z, y, x in (L, P, S)
    turn = rng.uniform(-site.oblique_deg, site.oblique_deg, 3)
    flips = np.where(rng.random(2) < site.flipped, -1.0, 1.0)
    if rng.random() < site.oblique:
        axes = rotation((float(turn[0]), float(turn[1]), float(turn[2]))) @ axes
    axes = axes * np.array([1.0, flips[0], flips[1]])
    extent = (high - low)[::-1]
    shape = tuple(int(np.ceil(length / step)) for length, step in zip(extent, spacing, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array(spacing)
    affine[:3, 3] = (low + high) / 2 - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid((shape[0], shape[1], shape[2]), affine)


def _series(rng: np.random.Generator, site: Site, scanner: Scanner) -> tuple[SeriesPlan, ...]:
    """Draw the primary series and the ones beside it."""
    phases = list(site.phases)
    phase = phases[int(rng.choice(len(phases), p=list(site.phases.values())))]
    kernel = scanner.soft[int(rng.integers(len(scanner.soft)))]
    noise, blur = float(rng.uniform(*site.noise_hu)), float(rng.uniform(0.06, 0.16))
    other: Phase = "native" if phase != "native" else "portal"
    chances = rng.random(3)
    found = [SeriesPlan(f"{phase} {kernel}", phase, kernel, noise, blur)]
    if chances[0] < site.second_phase:
        found.append(SeriesPlan(f"{other} {kernel}", other, kernel, noise, blur))
    if chances[1] < site.sharp_copy:
        found.append(SeriesPlan(f"{phase} {scanner.sharp}", phase, scanner.sharp, 2.6 * noise, 0.01))
    if chances[2] < site.thick_copy:
        found.append(SeriesPlan(f"{phase} {kernel} thick", phase, kernel, noise, blur, slab=2))
    return tuple(found)


def expose(
    hu: Floats, series: SeriesPlan, protocol: Protocol, rng: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Turn clean attenuation into a series' pixels.

    Args:
        hu: (z, y, x) float32; changed in place.
        series: What to make of it.
        protocol: How it is scanned.
        rng: Source of noise.

    Returns:
        int16 HU (z', y, x) with z' smaller for thick slices, and its affine in the scanner's LPS mm.
    """
    _table(hu, protocol)
    soft = np.float32(series.blur)
    blur3(hu, soft * np.float32(min(protocol.thickness_ratio, 1.5) - 0.5), soft, soft)
    grain = rng.standard_normal(hu.shape, dtype=np.float32)
    correlate = np.float32(0.04 if series.blur < 0.05 else 0.16)
    blur3(grain, np.float32(0.0), correlate, correlate)
    grain *= np.float32(series.noise_hu / ((1 - 2 * correlate) ** 2 + 2 * correlate**2))
    hu += grain
    affine = protocol.grid.affine.copy()
    affine[:3, 3] += protocol.offset_mm
    if series.slab > 1:
        count = hu.shape[0] // series.slab
        hu = hu[: count * series.slab].reshape(count, series.slab, *hu.shape[1:]).mean(axis=1)
        affine[:3, 3] += affine[:3, 0] * (series.slab - 1) / 2
        affine[:3, 0] *= series.slab
    np.clip(hu, PADDING_HU, 3071, out=hu)
    pixels = np.rint(hu).astype(np.int16)
    if protocol.has_circle:
        pixels[:, ~_circle(protocol.grid)] = PADDING_HU
    return pixels, affine


def _circle(grid: Grid) -> NDArray[np.bool_]:
    """Where the slice lies inside the reconstruction circle, whose diameter is the slice's longer side, (y, x)."""
    _, rows, columns = grid.shape
    _, dy, dx = grid.spacing_mm
    y = (np.arange(rows) - (rows - 1) / 2)[:, None] * dy
    x = (np.arange(columns) - (columns - 1) / 2)[None] * dx
    return np.asarray(y**2 + x**2 <= (max(rows * dy, columns * dx) / 2) ** 2)


def _table(hu: Floats, protocol: Protocol) -> None:
    """Lay the table under the body: a thin curved shell, drawn in air only."""
    grid = protocol.grid
    rows, columns = (np.arange(n) for n in grid.shape[1:])
    middle = grid.affine[:3, 3] + grid.affine[:3, 0] * (grid.shape[0] - 1) / 2
    plane = rows[:, None, None] * grid.affine[:3, 1] + columns[None, :, None] * grid.affine[:3, 2] + middle
    left, back = plane[..., 0] + 0.0, plane[..., 1]
    below = back - (protocol.table_p_mm - left**2 / 1800.0)
    shell = (below > 0) & (below < 1.6 * grid.spacing_mm[1]) & (np.abs(left) < 210)
    under = hu[:, shell]
    hu[:, shell] = np.where(under < -900, np.float32(-250.0), under)


@njit(cache=True, fastmath=True)
def blur3(volume, along_z, along_y, along_x):  # type: ignore[no-untyped-def]  # numba
    """Smooth in place with the kernel (w, 1 - 2w, w) along each axis; edges are repeated.

    Args:
        volume: (z, y, x) float32.
        along_z: w along z; 0 leaves the axis alone.
        along_y: w along y.
        along_x: w along x.
    """
    nz, ny, nx = volume.shape
    if along_x > 0 or along_y > 0:
        above = np.empty(nx, dtype=np.float32)
        for z in range(nz):
            for y in range(ny):
                before = volume[z, y, 0]
                for x in range(nx):
                    here = volume[z, y, x]
                    after = volume[z, y, min(x + 1, nx - 1)]
                    volume[z, y, x] = here + along_x * (before + after - 2 * here)
                    before = here
            above[:] = volume[z, 0]
            for y in range(ny):
                lower = min(y + 1, ny - 1)
                for x in range(nx):
                    here = volume[z, y, x]
                    volume[z, y, x] = here + along_y * (above[x] + volume[z, lower, x] - 2 * here)
                    above[x] = here
    if along_z > 0:
        over = volume[0].copy()
        for z in range(nz):
            lower = min(z + 1, nz - 1)
            for y in range(ny):
                for x in range(nx):
                    here = volume[z, y, x]
                    volume[z, y, x] = here + along_z * (over[y, x] + volume[lower, y, x] - 2 * here)
                    over[y, x] = here
