"""Site B's findings of colon and small bowel."""

import numpy as np

from preprocess.simulate.area import Area, middle
from preprocess.simulate.blobs import blob, gain, gravel, patches, sized, speckled
from preprocess.simulate.course import Course, clear_share, courses, draw_loop
from preprocess.simulate.lesions_bowel import across, appendix_course, around, colon_course, colon_part, holds, loops
from preprocess.simulate.paint import stamp
from preprocess.simulate.recipe import Note, Recipe
from preprocess.simulate.scene import Mask
from preprocess.simulate.shapes import draw_waves, ellipsoid, tube, union

_WALL = {"native": 40.0, "arterial": 62.0, "portal": 82.0}
_HOT = {"native": 44.0, "arterial": 84.0, "portal": 108.0}
_TUMOUR = {"native": 40.0, "arterial": 68.0, "portal": 84.0}


def appendicolith(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw two or three small faceted stones in a row in the appendix."""
    course = appendix_course(area)
    radius = sized(1.4, 3.8, severity, rng)
    first = float(rng.uniform(0.1, 0.45))
    seats = [course.at(first + step)[0] for step in (0.0, 0.22, 0.42)[: int(rng.integers(2, 4))]]
    stamp(area, gravel(rng, seats, radius), float(rng.uniform(300, 1000)), gain(severity), within=area.but_bone())
    return Note(part="cecum", size_mm=2 * radius)


def appendicitis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw an inflamed mass round the appendix's tip, with a pocket of pus and gas."""
    course = appendix_course(area)
    width = sized(4.2, 8.0, severity, rng)
    tip_point = course.at(0.85)[0]
    waves = draw_waves(rng, 8.0, count=18)
    cloud = union([blob(rng, course.at(share)[0], sized(6, 19, severity, rng)) for share in (0.3, 0.9)])
    stamp(area, cloud, lambda grid: -88 + 75 * patches(grid, waves, 0.45), gain(severity), within=area.free())
    within, label = area.but_bone(), area.number("colon")
    stamp(area, tube(course.points, width), _HOT[area.phase], gain(severity), within=within, label=label)
    stamp(area, blob(rng, tip_point, sized(4, 11, severity, rng)), _HOT[area.phase], gain(severity), within=within)
    stamp(area, blob(rng, tip_point, sized(2.5, 8, severity, rng)), 16.0, gain(severity), within=within)
    gas = blob(rng, tip_point - np.array([0, 0.25 * width, 0]), sized(0.9, 2.8, severity, rng))
    stamp(area, gas, -700.0, gain(severity), within=within)
    return Note(size_mm=2 * width)


def colon_obstruction(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Distend the right and transverse colon with stool and fluid, a little gas on top."""
    course = colon_course(area)
    stop = float(rng.uniform(0.4, 0.78))
    part = course.stretch(0.0, stop)
    wide = Course(part.points, part.radii * (1 + 0.7 * severity))
    within = area.mask(("colon", "small_bowel", "stomach")) | area.free()
    draw_loop(
        area, wide, gain(severity), within=within, wall_mm=2.4, wall_hu=_WALL[area.phase],
        fluid_hu=float(rng.uniform(18, 45)), gas=float(rng.uniform(0.08, 0.3)) * severity, label=area.number("colon"),
    )  # fmt: skip
    return Note(part=colon_part(stop), size_mm=2 * float(wide.radii.max()))


def colon_diverticulum(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw pouches of unequal size, some with gas and some with dense stool, from the caecum to the sigmoid."""
    course = colon_course(area)
    within = around(area) & ~area.lumen(("colon",))
    for share in rng.uniform(0.05, 0.82, size=int(rng.integers(10, 18))):
        point, width = course.at(float(share))
        size = sized(1.8, 4.8, severity, rng, 0.3)
        ways = [across(rng, course.heading(float(share))) * (width + 0.45 * size) for _ in range(4)]
        centre = point + next((way for way in ways if holds(area, within, point + way)), ways[0])
        content = -880.0 if rng.uniform() < 0.65 else float(rng.uniform(60, 260))
        stamp(area, blob(rng, centre, size + 1.2, 0.12), 30.0, gain(severity), within=within)
        stamp(area, blob(rng, centre, size, 0.12), content, gain(severity), within=within)
    return Note(part="ascending")


def _polyp(area: Area, severity: float, rng: np.random.Generator, share: float, within: Mask) -> float:
    """Draw a lump from one side of the wall into the lumen and beyond it; return its extent in mm."""
    course = colon_course(area)
    point, width = course.at(share)
    aside = across(rng, course.heading(share))
    radius = sized(7, 24, severity, rng)
    mass = blob(rng, point + aside * max(width - 0.55 * radius, 0.0), radius, 0.36)
    paint = speckled(_TUMOUR[area.phase], 16, rng, 8.0)
    stamp(area, mass, paint, gain(severity), within=within, label=area.number("colon"))
    return 2 * radius


def colorectal_cancer(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw an eccentric, lobulated tumour of the colon above the rectum."""
    share = clear_share(area, colon_course(area), rng.uniform(0.02, 0.82, size=8), around(area), 14.0)
    return Note(part=colon_part(share), size_mm=_polyp(area, severity, rng, share, around(area)))


def rectal_cancer(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw an eccentric tumour of the rectum, with round nodes in the fat beside it."""
    course = colon_course(area)
    share = clear_share(area, course, rng.uniform(0.87, 0.95, size=6), around(area), 14.0)
    size = _polyp(area, severity, rng, share, around(area))
    point, width = course.at(share)
    for _ in range(3):
        node = point + across(rng, course.heading(share)) * (width + float(rng.uniform(5, 9)))
        stamp(
            area,
            blob(rng, node, sized(1.6, 4.0, severity, rng), 0.1),
            _TUMOUR[area.phase],
            gain(severity),
            within=area.free(),
        )
    return Note(part="rectum", size_mm=size)


def small_obstruction(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Distend the first loops with fluid that holds stool-like flecks and only beads of gas."""
    flecks = draw_waves(rng, 14.0, count=18)
    within, label = area.organ | area.free(), area.number("small_bowel")
    upto, widest, gas = float(rng.uniform(0.5, 0.85)), 0.0, float(rng.uniform(0.02, 0.2))
    for course in loops(area):
        part = course.stretch(0.0, upto)
        swell = 1 + 0.75 * severity * (0.7 + 0.3 * np.linspace(0, 1, len(part.points)))
        wide = Course(part.points, part.radii * swell)
        draw_loop(
            area, wide, gain(severity), within=within, wall_mm=2.2, wall_hu=_WALL[area.phase], fluid_hu=14.0,
            gas=gas * severity, label=label,
        )  # fmt: skip
        end = wide.stretch(0.75, 1.0)
        stool = tube(end.points, np.maximum(end.radii - 3.0, 1.0))
        stamp(area, stool, lambda grid: 45 - 380 * patches(grid, flecks, 0.22), gain(severity), within=within)
        widest = max(widest, 2 * float(wide.radii.max()))
    return Note(size_mm=widest)


def intussusception(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a short sausage of four rings, wall and mesenteric fat in turn."""
    course = loops(area)[-1]
    within = area.organ | area.free()
    share = clear_share(area, course, rng.uniform(0.1, 0.9, size=8), within, 16.0)
    centre, _ = course.at(share)
    heading = course.heading(share)
    side = across(rng, heading)
    turn = np.stack([heading, side, np.cross(heading, side)], axis=1)
    outer = sized(8, 19, severity, rng)
    paints = (_WALL[area.phase] + 6, -88.0, _WALL[area.phase] + 14, -40.0)
    for index, (scale, paint) in enumerate(zip((1.0, 0.78, 0.55, 0.24), paints, strict=True)):
        label = area.number("small_bowel") if index == 0 else None
        middle_of = centre + side * outer * (0.0, 0.03, 0.14, 0.16)[index]
        ring = ellipsoid(middle_of, np.array([1.6, 1.0, 1.0]) * outer * scale, turn)
        stamp(area, ring, paint, gain(severity), within=within, label=label)
    return Note(part="jejunum" if share < 0.5 else "ileum", size_mm=3.2 * outer)


def small_diverticulum(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a lobulated pouch on the duodenum's third part with food and gas, and a smaller one beside it."""
    found = courses(area.scene.plan, "duodenum")
    radius = sized(4, 12, severity, rng)
    outside = area.soft() & ~area.organ
    flecks = draw_waves(rng, 11.0, count=18)
    for index, share in enumerate(rng.uniform(0.3, 0.95, size=2)):
        point, width = found[0].at(float(share)) if found else (middle(area), 10.0)
        heading = found[0].heading(float(share)) if found else np.array([1.0, 0, 0])
        size = radius if index == 0 else 0.6 * radius
        ways = [across(rng, heading) * (0.85 * width + 0.25 * size) for _ in range(4)]
        centre = point + next((way for way in ways if holds(area, outside, point + way)), ways[0])
        stamp(area, blob(rng, centre, size + 1.8, 0.15), _WALL[area.phase], gain(severity), within=outside)
        stamp(
            area,
            blob(rng, centre, size, 0.15),
            lambda grid: 25 - 820 * patches(grid, flecks, 0.5),
            gain(severity),
            within=outside,
        )
    return Note(part="duodenum", size_mm=2 * radius)


_COLON, _BOWEL = ("colon",), ("small_bowel",)
RECIPES = {
    "colon.obstruction": Recipe(_COLON, colon_obstruction, margin_mm=25),
    "colon.diverticulum": Recipe(_COLON, colon_diverticulum, margin_mm=12),
    "colon.colorectal_cancer": Recipe(_COLON, colorectal_cancer, margin_mm=18),
    "colon.rectal_cancer": Recipe(_COLON, rectal_cancer, margin_mm=18),
    "colon.appendicitis": Recipe(_COLON, appendicitis, margin_mm=30),
    "colon.appendicolith": Recipe(_COLON, appendicolith, margin_mm=15),
    "small_intestine.obstruction": Recipe(_BOWEL, small_obstruction, margin_mm=20),
    "small_intestine.intussusception": Recipe(_BOWEL, intussusception, margin_mm=25),
    "small_intestine.diverticulum": Recipe(("duodenum",), small_diverticulum, margin_mm=25),
}
