"""What site B's lesions are made of: thresholded noise instead of balls, random walks instead of splines."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from preprocess.simulate.area import Area
from preprocess.simulate.scene import Floats
from preprocess.simulate.shapes import (
    Grid,
    Shape,
    Vector,
    Waves,
    draw_waves,
    ellipsoid,
    facets,
    tube,
    union,
    wander,
    wave_field,
)


def gain(severity: float) -> float:
    """Return how much of its full contrast a finding has at site B: rises fast, then flattens."""
    return float((1 - np.exp(-2.4 * severity)) / (1 - np.exp(-2.4)))


def sized(small: float, large: float, severity: float, rng: np.random.Generator, spread: float = 0.16) -> float:
    """Return a size between `small` and `large`, geometric in severity, times a log-normal factor."""
    factor = float(np.exp(np.clip(rng.normal(0, spread), -1.6 * spread, 1.6 * spread)))
    return float(small * (large / small) ** severity * factor)


def blob(rng: np.random.Generator, centre: ArrayLike, radius: float, rough: float = 0.32) -> Shape:
    """Return a lobulated solid: a turned ellipsoid whose surface is the level set of noise at two scales."""
    radii = radius * np.exp(np.clip(rng.normal(0, 0.2, size=3), -0.35, 0.35))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    base = ellipsoid(centre, radii, turn)
    coarse, fine = draw_waves(rng, 1.5 * radius, count=10), draw_waves(rng, 0.65 * radius, count=10)

    def distance(grid: Grid) -> Floats:
        noise = 0.75 * wave_field(grid, coarse) + 0.35 * wave_field(grid, fine)
        return np.asarray(base.distance(grid) - np.float32(rough * radius) * np.clip(noise, -1.6, 1.6), np.float32)

    pad = 1.6 * rough * radius
    return Shape(distance, base.low - pad, base.high + pad, 0.6 * radius)


def speckled(hu: float, amplitude_hu: float, rng: np.random.Generator, length_mm: float) -> Callable[[Grid], Floats]:
    """Return paint with skewed texture: mostly `hu`, with patches well above it."""
    waves = draw_waves(rng, length_mm, count=18)

    def paint(grid: Grid) -> Floats:
        field = wave_field(grid, waves)
        return np.asarray(hu + amplitude_hu * (np.exp(0.5 * np.clip(field, -3, 2)) - 1.1), np.float32)

    return paint


def patches(grid: Grid, waves: Waves, share: float) -> Floats:
    """Return where a random field lies above the level that `share` of space exceeds, soft over a few HU, 0..1."""
    level = float(np.sqrt(2) * _inverse_erf(1 - 2 * min(max(share, 1e-4), 0.999)))
    return np.asarray(np.clip((wave_field(grid, waves) - level) / 0.3 + 0.5, 0, 1), np.float32)


def _inverse_erf(value: float) -> float:
    """Winitzki's approximation, good to about 0.002, which is enough for a share."""
    a = 0.147
    log = float(np.log(max(1 - value**2, 1e-12)))
    first = 2 / (np.pi * a) + log / 2
    return float(np.sign(value) * np.sqrt(np.sqrt(first**2 - log / a) - first))


def beads(rng: np.random.Generator, curve: Vector, radius: float) -> Shape:
    """Return a tube whose calibre swells and narrows at random along a curve (n, 3)."""
    swell = np.exp(np.cumsum(rng.normal(scale=0.3, size=len(curve))) * 0.6)
    return tube(curve, np.clip(radius * swell / swell.mean(), 0.4 * radius, 1.8 * radius))


def worm(rng: np.random.Generator, start: ArrayLike, heading: ArrayLike, length_mm: float, radius: float) -> Shape:
    """Return a beaded, winding vessel."""
    return beads(rng, wander(rng, start, heading, length_mm=length_mm, steps=12, turn=0.55), radius)


def tree(
    rng: np.random.Generator, root: Vector, ends: list[Vector], radius: float, *, twigs: int = 2
) -> tuple[Shape, list[Vector]]:
    """Return a tree of crooked branches from a root towards ends, and the branches' curves."""
    curves = []
    for end in ends:
        steps = np.linspace(0, 1, 9)[:, None]
        jag = rng.normal(scale=0.06 * float(np.linalg.norm(end - root)), size=(9, 3))
        jag[[0, -1]] = 0
        curves.append(root + steps * (end - root) + jag)
    shapes = [tube(curve, np.linspace(radius, 0.45 * radius, len(curve))) for curve in curves]
    for curve in curves:
        for _ in range(twigs):
            joint = curve[int(rng.integers(3, 8))]
            walk = wander(rng, joint, rng.normal(size=3), length_mm=float(rng.uniform(15, 32)), steps=6, turn=0.3)
            shapes.append(tube(walk, np.linspace(0.6, 0.3, 7) * radius))
    return union(shapes), curves


def gravel(rng: np.random.Generator, centres: list[Vector], radius: float) -> Shape:
    """Return faceted stones of unequal size."""
    return union([facets(centre, radius * float(rng.uniform(0.6, 1.25)), rng, planes=8) for centre in centres])


def uneven(area: Area, rng: np.random.Generator, length_mm: float, spread: float) -> Floats:
    """Return a positive field of median 1 over the area, (z, y, x), by which a layer's thickness varies."""
    field = np.clip(wave_field(area.grid, draw_waves(rng, length_mm)), -2, 2)
    return np.asarray(np.exp(spread * field), np.float32)
