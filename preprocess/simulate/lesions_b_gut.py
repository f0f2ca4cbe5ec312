"""Site B's findings of esophagus and stomach."""

import numpy as np

from preprocess.simulate.area import Area, along, extent_mm, middle, place, tip
from preprocess.simulate.blobs import blob, gain, patches, sized, speckled, uneven, worm
from preprocess.simulate.lesions_gut import gullet, yielding
from preprocess.simulate.lesions_liver import vein_hu
from preprocess.simulate.paint import cover, layer, lining, stamp
from preprocess.simulate.recipe import Note, Recipe
from preprocess.simulate.shapes import ball, draw_waves, tube, union

_MUCOSA = {"native": 42.0, "arterial": 95.0, "portal": 110.0}
_TUMOUR = {"native": 40.0, "arterial": 66.0, "portal": 80.0}


def esophageal_varices(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a string of knots in the wall of the lower esophagus and winding veins beside it."""
    line = gullet(area)
    radius = sized(1.2, 4.0, severity, rng)
    for _ in range(14):
        seat = along(line, float(rng.uniform(0.0, 0.42)))
        turn = float(rng.uniform(0, 2 * np.pi))
        knot = seat + float(rng.uniform(4, 9)) * np.array([np.cos(turn), np.sin(turn), 0.0])
        stamp(
            area,
            ball(knot, radius * float(rng.uniform(0.8, 1.5))),
            vein_hu(area),
            gain(severity),
            within=area.soft(),
        )
    for _ in range(3):
        start = along(line, float(rng.uniform(0.05, 0.2))) + rng.normal(scale=(7, 7, 2), size=3)
        vein = worm(rng, start, (0, 0, 1), float(rng.uniform(30, 50)), 0.8 * radius)
        stamp(area, vein, vein_hu(area), gain(severity), within=area.soft() & (layer(area, area.organ, 0, 14) > 0))
    return Note()


def esophageal_cancer(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a polypoid mass that fills the lumen and breaks through one side of the wall."""
    line = gullet(area)
    share = float(rng.uniform(0.15, 0.7))
    radius = sized(6, 15, severity, rng)
    aside = rng.normal(size=3) * (1, 1, 0)
    within = area.soft() & ~area.mask(("trachea", "heart"))
    parts = [
        blob(rng, along(line, share + step) + 0.5 * aside * radius * 0.4, radius * f)
        for step, f in ((-0.06, 0.75), (0, 1), (0.06, 0.75))
    ]
    paint = speckled(_TUMOUR[area.phase], 14, rng, 7.0)
    stamp(area, union(parts), paint, gain(severity), within=within, label=area.number("esophagus"))
    return Note(size_mm=3 * radius)


def hiatal_hernia(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a sac of stomach and fat beside the lower esophagus, full of food with flecks of gas."""
    line = gullet(area)
    radius = sized(8, 22, severity, rng)
    side = float(rng.choice([-1.0, 1.0]))
    low = along(line, 0.0)
    centre = along(line, 0.24) + np.array([side * 0.35 * radius, 0.0, 0.0])
    within = yielding(area)
    fat = blob(rng, centre, 1.18 * radius, 0.12)
    stamp(area, fat, -98.0, gain(severity), within=within)
    sac = union([blob(rng, centre, radius, 0.12), tube(np.stack([low, centre]), 0.4 * radius)])
    stamp(area, sac, 62.0, gain(severity), within=within, label=area.number("stomach"))
    flecks = draw_waves(rng, 13.0, count=18)
    food = blob(rng, centre, max(radius - 3.5, 2.0), 0.12)
    stamp(area, food, lambda grid: 35 - 600 * patches(grid, flecks, 0.16), gain(severity), within=within)
    area.labels[area.organ] = area.labels_before[area.organ]
    return Note(size_mm=2 * radius)


def wall_thickening(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Swell the stomach's submucosa with water under a bright mucosa, unevenly, all over or in one half."""
    lumen = area.lumen(("stomach",))
    half = rng.uniform() < 0.5
    heading = rng.normal(size=3)
    toward = np.tensordot(heading / np.linalg.norm(heading), area.grid.points - middle(area)[:, None, None, None], 1)
    here = np.clip(toward / 12 + 0.7, 0, 1) if half else 1.0
    thick = np.asarray(sized(1.0, 8.0, severity, rng) * here * uneven(area, rng, 26.0, 0.35), np.float32)
    wall = area.organ & ~lumen
    cover(area, wall.astype(np.float32) * np.asarray(here, np.float32), 32.0, 0.8 * gain(severity))
    cover(area, lining(area, lumen, thick), 30.0, gain(severity))
    inner = np.clip(lining(area, lumen, thick + 2.5) - lining(area, lumen, thick), 0, 1) * (thick > 0.8)
    cover(area, np.asarray(inner, np.float32), _MUCOSA[area.phase], gain(severity))
    return Note(size_mm=4 + float(np.median(thick)))


def stomach_cancer(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Stiffen and thicken the wall all round a stretch of the stomach, and let a lump break outwards."""
    lumen = area.lumen(("stomach",))
    seat = place(area, rng, depth_mm=6, high=(0.8, 1, 0.85))
    reach = sized(14, 34, severity, rng)
    offset = area.grid.points - seat.astype(np.float32)[:, None, None, None]
    fade = np.clip(1.3 - np.einsum("izyx,izyx->zyx", offset, offset) / reach**2, 0, 1)
    thick = np.asarray(sized(2.2, 13.0, severity, rng) * fade * uneven(area, rng, 14.0, 0.4), np.float32)
    paint = speckled(_TUMOUR[area.phase], 15, rng, 8.0)
    cover(area, lining(area, lumen, thick), paint, gain(severity))
    outside = layer(area, area.organ, 0.0, 0.35 * thick, within=area.free())
    cover(area, outside, paint, gain(severity), label=area.number("stomach"))
    share = (seat[0] - tip(area, (-1, 0, 0))[0]) / max(float(extent_mm(area)[0]), 1.0)
    return Note(part="antrum" if share < 0.4 else "body", size_mm=2 * reach)


def gastric_varices(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a bunch of vein-bright balls on the fundus's inner wall and a vein that leads to them."""
    seat = tip(area, (-0.2, 0.8, 0.6), share=0.03)
    inwards = middle(area) - seat
    inwards /= max(float(np.linalg.norm(inwards)), 1.0)
    bunch = [
        ball(seat + 4 * inwards + rng.normal(scale=6.0, size=3), sized(1.3, 4.4, severity, rng)) for _ in range(11)
    ]
    feeder = worm(rng, seat, -inwards + rng.normal(scale=0.3, size=3), 14.0, sized(0.9, 2.4, severity, rng))
    near = area.organ | (area.free() & (layer(area, area.organ, 0.0, 9.0) > 0))
    stamp(area, union([*bunch, feeder]), vein_hu(area), gain(severity), within=near)
    return Note(part="fundus")


_ESOPHAGUS, _STOMACH = ("esophagus",), ("stomach",)
RECIPES = {
    "esophagus.cancer": Recipe(_ESOPHAGUS, esophageal_cancer, margin_mm=20),
    "esophagus.hiatal_hernia": Recipe(_ESOPHAGUS, hiatal_hernia, margin_mm=35),
    "esophagus.varices": Recipe(_ESOPHAGUS, esophageal_varices, margin_mm=16),
    "stomach.wall_thickening": Recipe(_STOMACH, wall_thickening, margin_mm=8),
    "stomach.cancer": Recipe(_STOMACH, stomach_cancer, margin_mm=12),
    "stomach.varices": Recipe(_STOMACH, gastric_varices, margin_mm=14),
}
