"""Strokes: how shapes, layers, fluid levels and washes change the canvas, with partial volume at their edges."""

from collections.abc import Callable

import numpy as np

from preprocess.simulate.area import Area, mm_from, mm_within
from preprocess.simulate.scene import Floats, Mask
from preprocess.simulate.shapes import Grid, Shape, Waves, coverage, draw_waves, wave_field

Paint = float | Callable[[Grid], Floats]
GAS_HU = -950.0


def rise(severity: float) -> float:
    """Return how much of its full contrast a finding has: 0 at severity 0, 0.7 at one half, 1 at 1."""
    return float(np.sin(np.pi / 2 * severity))


def between(small: float, large: float, severity: float) -> float:
    """Return the size at a severity, linear from `small` to `large`."""
    return small + (large - small) * severity


def mottled(hu: float, amplitude_hu: float, waves: Waves) -> Callable[[Grid], Floats]:
    """Return paint that varies about `hu` by a random field, `amplitude_hu` a standard deviation."""
    return lambda grid: np.float32(hu) + np.float32(amplitude_hu) * wave_field(grid, waves)


def stamp(
    area: Area, shape: Shape, paint: Paint, strength: float, *, within: Mask | None = None, label: int | None = None
) -> None:
    """Paint a shape over what is there.

    Args:
        area: The canvas box.
        shape: What to paint.
        paint: HU, or a function of the grid that gives HU.
        strength: 0 changes nothing, 1 covers.
        within: Only there, (z, y, x) of the area.
        label: If given, voxels at least half covered get this label.
    """
    reach = area.grid.step_mm
    where = area.grid.box(shape.low - reach, shape.high + reach)
    if where is None:
        return
    grid = area.grid.part(where)
    share = coverage(grid, shape)
    if within is not None:
        share *= within[where]
    blend(area.hu[where], share * np.float32(strength), paint(grid) if callable(paint) else paint)
    if label is not None:
        area.labels[where][share >= 0.5] = label


def blend(hu: Floats, share: Floats, target: Floats | float) -> None:
    """Move `hu` towards `target` by `share`, in place."""
    hu += share * (np.asarray(target, np.float32) - hu)


def cover(area: Area, share: Floats, paint: Paint, strength: float, *, label: int | None = None) -> None:
    """Paint where and as far as `share` (z, y, x of the area, 0..1) says."""
    blend(area.hu, share * np.float32(strength), paint(area.grid) if callable(paint) else paint)
    if label is not None:
        area.labels[share >= 0.5] = label


def layer(
    area: Area, mask: Mask, inner_mm: float | Floats, outer_mm: float | Floats, *, within: Mask | None = None
) -> Floats:
    """Return the share of each voxel between two distances outside the surface of `mask`.

    Args:
        area: The canvas box.
        mask: (z, y, x) of the area.
        inner_mm: Where the layer begins.
        outer_mm: Where it ends; may vary from voxel to voxel.
        within: Only there.

    Returns:
        (z, y, x) in 0..1, edges soft over a voxel.
    """
    step = np.float32(area.grid.step_mm)
    distance = mm_from(area, mask)
    share = np.clip((outer_mm - distance) / step + np.float32(0.5), 0, 1) - np.clip(
        (inner_mm - distance) / step + np.float32(0.5), 0, 1
    )
    share = np.maximum(share, 0) * ~mask
    return np.asarray(share if within is None else share * within, np.float32)


def lining(area: Area, mask: Mask, depth_mm: float | Floats) -> Floats:
    """Return the share of each voxel of `mask` that lies less than `depth_mm` below its surface, (z, y, x) in 0..1."""
    share = np.clip((depth_mm - mm_within(area, mask)) / np.float32(area.grid.step_mm) + np.float32(0.5), 0, 1)
    fade = np.clip(np.asarray(depth_mm, np.float32) / np.float32(area.grid.step_mm), 0, 1)
    return np.asarray(share * mask * fade, np.float32)


def infiltrate(
    area: Area, mask: Mask, reach_mm: float, gain_hu: float, strength: float, rng: np.random.Generator
) -> None:
    """Raise the attenuation of fat within `reach_mm` of `mask` in strands, as inflammation does."""
    waves = draw_waves(rng, 10.0, count=30)
    fat = (area.labels == 0) & (area.hu > -180) & (area.hu < -20)
    share = layer(area, mask, 0.0, reach_mm, within=fat)
    strands = np.clip(0.55 + 0.45 * wave_field(area.grid, waves), 0, 1)
    area.hu[...] += np.float32(gain_hu * strength) * share * strands
