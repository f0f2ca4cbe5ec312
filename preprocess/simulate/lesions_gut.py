"""Site A's findings of esophagus and stomach."""

import numpy as np

from preprocess.simulate.area import Area, along, extent_mm, middle, midline, place, tip
from preprocess.simulate.course import courses
from preprocess.simulate.lesions_liver import vein_hu
from preprocess.simulate.paint import GAS_HU, Paint, between, cover, layer, lining, mottled, rise, stamp
from preprocess.simulate.recipe import Note, Recipe
from preprocess.simulate.scene import Floats, Mask
from preprocess.simulate.shapes import Grid, Vector, ball, bent, draw_waves, lobed, tube, union, wave_field

_WALL = {"native": 38.0, "arterial": 72.0, "portal": 82.0}
_TUMOUR = {"native": 45.0, "arterial": 80.0, "portal": 95.0}


def gullet(area: Area) -> Vector:
    """Return the esophagus's axis (n, 3) from below upwards."""
    found = courses(area.scene.plan, "esophagus")
    line = found[0].points if found else midline(area, 2, step_mm=8.0)
    line = line if line[0, 2] < line[-1, 2] else line[::-1]
    low, high = tip(area, (0, 0, -1))[2], tip(area, (0, 0, 1))[2]
    seen = line[(line[:, 2] > low - 8) & (line[:, 2] < high + 8)]
    return np.asarray(seen if len(seen) >= 2 else midline(area, 2, step_mm=8.0))


def esophageal_varices(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw winding veins round the lower esophagus, some in its wall."""
    line = gullet(area)
    lower = bent(line[: max(3, round(0.45 * len(line)))], 20)
    for index in range(6):
        angle = index * np.pi / 3 + rng.normal(scale=0.25) + np.cumsum(rng.normal(scale=0.22, size=20))
        reach = 8.0 + 2.5 * np.sin(np.linspace(0, rng.uniform(6, 14), 20))
        curve = lower + np.stack([reach * np.cos(angle), reach * np.sin(angle), np.zeros(20)], axis=1)
        radius = between(0.7, 3.6, severity) * float(rng.uniform(0.8, 1.15))
        stamp(area, tube(curve, radius), vein_hu(area), rise(severity), within=area.soft())
    return Note()


def esophageal_cancer(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Thicken a stretch of the esophagus unevenly and narrow its lumen."""
    centre = along(gullet(area), float(rng.uniform(0.2, 0.75)))
    half = between(10.0, 32.0, severity)
    left, back, head = area.grid.points - centre.astype(np.float32)[:, None, None, None]
    fade = np.exp(-((head / half) ** 4))
    lean = 1 + 0.5 * np.cos(np.arctan2(back, left) - rng.uniform(0, 6.28))
    thick = np.asarray(between(0.0, 10.0, severity) * lean * fade, np.float32)
    within = area.soft() & ~area.mask(("trachea", "heart"))
    paint = mottled(_TUMOUR[area.phase], 9.0, draw_waves(rng, 12.0))
    inner = np.asarray(area.organ * fade * (np.abs(head) < 1.6 * half), np.float32)
    cover(
        area, layer(area, area.organ, 0.0, thick, within=within), paint, rise(severity), label=area.number("esophagus")
    )
    cover(area, inner, paint, rise(severity))
    return Note(size_mm=2 * half)


def hiatal_hernia(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a pouch of stomach with gas over fluid round the lower esophagus, above the diaphragm."""
    line = gullet(area)
    height = np.cumsum(np.r_[0, np.linalg.norm(np.diff(line, axis=0), axis=1)])
    radius = between(6.0, 25.0, severity) * float(rng.uniform(0.9, 1.1))
    way = between(42.0, 58.0, severity)
    centre = np.array([np.interp(way, height, axis) for axis in line.T])
    neck = line[height <= way]
    pouch = union([lobed(ball(centre, radius), draw_waves(rng, 40.0), 0.06 * radius), tube(neck, 0.5 * radius)])
    inside = union([ball(centre, max(radius - 4.0, 1.0)), tube(neck, max(0.5 * radius - 3.5, 0.8))])
    within = yielding(area)
    stamp(area, pouch, _WALL[area.phase], rise(severity), within=within, label=area.number("stomach"))
    level = float(centre[1]) + rng.uniform(-0.2, 0.4) * radius
    stamp(area, inside, _gas_over_fluid(level), rise(severity), within=within)
    area.labels[area.organ] = area.labels_before[area.organ]
    return Note(size_mm=2 * radius)


def yielding(area: Area) -> Mask:
    """Return what a pouch in the chest displaces: fat, lung, esophagus and the heart's back wall."""
    lungs = [name for name in area.scene.names.values() if name.startswith("lung_")]
    return np.asarray(area.free() | area.mask(("esophagus", "stomach", "heart", *lungs)))


def _gas_over_fluid(level: float) -> Paint:
    def paint(grid: Grid) -> Floats:
        fluid = np.clip((grid.points[1] - np.float32(level)) / np.float32(grid.step_mm) + np.float32(0.5), 0, 1)
        return np.asarray(GAS_HU + fluid * np.float32(16 - GAS_HU), np.float32)

    return paint


def wall_thickening(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Swell the stomach's wall inwards, in the antrum, the body or all over, in folds."""
    lumen = area.lumen(("stomach",))
    low, high = ((0.0, 0.5), (0.3, 1.0), (0.0, 1.0))[int(rng.integers(3))]
    right, left = tip(area, (-1, 0, 0))[0], tip(area, (1, 0, 0))[0]
    share = (area.grid.points[0] - right) / max(left - right, 1.0)
    here = np.clip((share - low) * 6 + 0.5, 0, 1) * np.clip((high - share) * 6 + 0.5, 0, 1)
    folds = np.clip(1 + 0.35 * wave_field(area.grid, draw_waves(rng, 18.0)), 0.4, 1.8)
    thick = np.asarray(between(0.0, 11.0, severity) * here * folds, np.float32)
    cover(area, lining(area, lumen, thick), _WALL[area.phase] - 15, rise(severity))
    cover(area, layer(area, area.organ, 0.0, 0.2 * thick, within=area.free()), _WALL[area.phase], rise(severity))
    return Note(part="antrum" if high < 0.6 else "body" if low > 0 else None, size_mm=4 + float(thick.max()))


def stomach_cancer(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a lobed, uneven mass on the stomach's wall, into its lumen and a little beyond."""
    radius = between(6.0, 27.0, severity) * float(rng.uniform(0.9, 1.1))
    surface = area.organ & ~area.lumen(("stomach",))
    seat = place(area, rng, low=(0.05, 0.1, 0.05), high=(0.85, 0.9, 0.8), mask=surface)
    inwards = middle(area) - seat
    centre = seat + 0.35 * radius * inwards / max(float(np.linalg.norm(inwards)), 1.0)
    shape = lobed(ball(centre, radius), draw_waves(rng, 1.2 * radius), 0.16 * radius)
    paint = mottled(_TUMOUR[area.phase], 13.0, draw_waves(rng, 11.0))
    near = area.organ | (area.free() & (layer(area, area.organ, 0.0, 9.0) > 0))
    stamp(area, shape, paint, rise(severity), within=near, label=area.number("stomach"))
    share = (centre[0] - tip(area, (-1, 0, 0))[0]) / max(float(extent_mm(area)[0]), 1.0)
    return Note(part="antrum" if share < 0.4 else "body", size_mm=2 * radius)


def gastric_varices(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a knot of winding veins in and behind the wall of the fundus."""
    seat = tip(area, (-0.4, 0.6, 0.8), share=0.02)
    free = area.free() & (layer(area, area.organ, 0.0, 8.0) > 0)
    for _ in range(8):
        start = seat + rng.normal(scale=7.0, size=3)
        curve = bent(start + np.cumsum(np.vstack([np.zeros(3), rng.normal(scale=7.0, size=(4, 3))]), axis=0), 12)
        radius = between(0.9, 4.2, severity) * float(rng.uniform(0.8, 1.15))
        stamp(area, tube(curve, radius), vein_hu(area), rise(severity), within=area.organ | free)
    return Note(part="fundus")


_ESOPHAGUS, _STOMACH = ("esophagus",), ("stomach",)
RECIPES = {
    "esophagus.cancer": Recipe(_ESOPHAGUS, esophageal_cancer, margin_mm=18),
    "esophagus.hiatal_hernia": Recipe(_ESOPHAGUS, hiatal_hernia, margin_mm=35),
    "esophagus.varices": Recipe(_ESOPHAGUS, esophageal_varices, margin_mm=16),
    "stomach.wall_thickening": Recipe(_STOMACH, wall_thickening, margin_mm=8),
    "stomach.cancer": Recipe(_STOMACH, stomach_cancer, margin_mm=12),
    "stomach.varices": Recipe(_STOMACH, gastric_varices, margin_mm=14),
}
