"""Site A's findings of colon and small bowel."""

import numpy as np

from preprocess.simulate.area import Area, middle, place
from preprocess.simulate.course import Course, clear_share, courses, draw_loop
from preprocess.simulate.paint import GAS_HU, between, mottled, rise, stamp
from preprocess.simulate.recipe import Note, Recipe
from preprocess.simulate.scene import Mask
from preprocess.simulate.shapes import Vector, ball, bent, draw_waves, lobed, tube, without

_WALL = {"native": 38.0, "arterial": 65.0, "portal": 88.0}
_INFLAMED = {"native": 42.0, "arterial": 90.0, "portal": 115.0}
_TUMOUR = {"native": 44.0, "arterial": 78.0, "portal": 92.0}
COLON_PARTS = ((0.06, "cecum"), (0.2, "ascending"), (0.42, "transverse"), (0.66, "descending"), (0.84, "sigmoid"))


def colon_part(share: float) -> str:
    """Return the part of the colon at a share of its course."""
    return next((name for end, name in COLON_PARTS if share < end), "rectum")


def colon_course(area: Area) -> Course:
    """Return the colon's course from the caecum to the anus; across the organ where the plan has no tube."""
    found = courses(area.scene.plan, "colon")
    return found[0] if found else _straight(area)


def appendix_course(area: Area) -> Course:
    """Return the appendix's course: the plan's, or a short bent tube at the caecum."""
    found = courses(area.scene.plan, "colon")
    if len(found) > 1:
        return found[1]
    start = colon_course(area).points[0]
    return Course(bent(start + np.array([[0, 0, -4.0], [8, 4, -10], [18, 8, -20]]), 8), np.full(8, 4.0))


def _straight(area: Area) -> Course:
    centre = middle(area)
    return Course(centre + np.linspace(-40, 40, 20)[:, None] * np.array([0.4, 0.1, -0.9]), np.full(20, 14.0))


def around(area: Area, *structures: str) -> Mask:
    """Return where gut may grow: into itself, other gut and the fat round it."""
    return np.asarray(area.mask(("colon", "small_bowel", *structures)) | area.free())


def across(rng: np.random.Generator, heading: Vector) -> Vector:
    """Return a random unit direction at a right angle to a heading."""
    push = rng.normal(size=3)
    push = push - heading * float(push @ heading)
    return np.asarray(push / max(float(np.linalg.norm(push)), 1e-6))


def appendicolith(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a calcified focus in the appendix, whose lumen it widens a little."""
    course = appendix_course(area)
    radius = between(1.4, 5.2, severity) * float(rng.uniform(0.9, 1.1))
    centre, _ = course.at(float(rng.uniform(0.15, 0.8)))
    within = area.but_bone()
    stamp(area, ball(centre, radius + 2.0), _WALL[area.phase], rise(severity), within=within)
    stamp(area, ball(centre, radius), float(rng.uniform(350, 900)), rise(severity), within=within)
    return Note(part="cecum", size_mm=2 * radius)


def appendicitis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Swell the appendix, with an enhancing wall, fluid inside and stranding of the fat around."""
    course = appendix_course(area)
    width = between(4.0, 9.0, severity) * float(rng.uniform(0.9, 1.1))
    label, strength = area.number("colon"), rise(severity)
    outer = tube(course.points, width)
    haze = lobed(tube(course.points, width + between(3.0, 13.0, severity)), draw_waves(rng, 16.0), 2.5)
    stamp(area, haze, mottled(-48.0, 26.0, draw_waves(rng, 9.0)), strength, within=area.free())
    within = area.but_bone()
    stamp(area, outer, _INFLAMED[area.phase], strength, within=within, label=label)
    stamp(area, tube(course.points, max(width - 3.0, 0.8)), 14.0, strength, within=within)
    return Note(size_mm=2 * width)


def colon_obstruction(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Distend the colon above a stop with gas and fluid."""
    course = colon_course(area)
    stop = float(rng.uniform(0.5, 0.84))
    part = course.stretch(0.0, stop)
    wide = Course(part.points, part.radii * between(1.0, 1.75, severity))
    within = around(area, "stomach")
    kind = {
        "wall_mm": 2.0,
        "wall_hu": _WALL[area.phase],
        "fluid_hu": 18.0,
        "gas": float(rng.uniform(0.4, 0.6)) * severity,
    }
    draw_loop(area, wide, rise(severity), within=within, label=area.number("colon"), **kind)
    return Note(part=colon_part(stop), size_mm=2 * float(wide.radii.max()))


def colon_diverticulum(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw small gas pouches along the descending and sigmoid colon."""
    course = colon_course(area)
    radius = between(1.5, 4.6, severity)
    shares = rng.uniform(0.5, 0.84, size=int(rng.integers(9, 20)))
    within = around(area) & ~area.lumen(("colon",))
    for share in shares:
        point, width = course.at(float(share))
        size = radius * float(rng.uniform(0.75, 1.2))
        ways = [across(rng, course.heading(float(share))) * (width + 0.35 * size) for _ in range(4)]
        centre = point + next((way for way in ways if holds(area, within, point + way)), ways[0])
        stamp(area, ball(centre, size + 1.0), 20.0, rise(severity), within=within)
        stamp(area, ball(centre, size), GAS_HU, rise(severity), within=within)
    return Note(part="sigmoid")


def holds(area: Area, mask: Mask, point: Vector) -> bool:
    """Return whether nearly all voxels about a point lie in the mask."""
    where = area.grid.box(point, point)
    return where is not None and bool(mask[where].mean() > 0.8)


def _annular(area: Area, severity: float, rng: np.random.Generator, share: float, length: float) -> float:
    """Draw a mass all round the wall that leaves a narrow lumen; return its extent in mm."""
    course = colon_course(area)
    point, width = course.at(share)
    heading = course.heading(share)
    half = between(0.3, 1.0, severity) * length
    thick = width + between(-2.0, 7.0, severity)
    axis = np.stack([point - heading * half, point, point + heading * half])
    mass = lobed(tube(axis, [0.75 * thick, thick, 0.75 * thick]), draw_waves(rng, 20.0), 0.14 * thick)
    aside = across(rng, heading) * 0.25 * width
    mass = without(mass, tube(axis + aside, between(0.62, 0.18, severity) * width))
    paint = mottled(_TUMOUR[area.phase], 12.0, draw_waves(rng, 12.0))
    stamp(area, mass, paint, rise(severity), within=around(area), label=area.number("colon"))
    return 2 * half + thick


def colorectal_cancer(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw an annular tumour of the colon above the rectum."""
    share = clear_share(area, colon_course(area), rng.uniform(0.03, 0.82, size=8), around(area), 14.0)
    return Note(part=colon_part(share), size_mm=_annular(area, severity, rng, share, float(rng.uniform(14, 24))))


def rectal_cancer(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw an annular tumour of the rectum."""
    share = clear_share(area, colon_course(area), rng.uniform(0.86, 0.95, size=6), around(area), 14.0)
    return Note(part="rectum", size_mm=_annular(area, severity, rng, share, float(rng.uniform(12, 20))))


def loops(area: Area) -> list[Course]:
    """Return the courses of the small bowel; where the plan has none, one through the organ."""
    return courses(area.scene.plan, "small_bowel") or [_straight(area)]


def small_obstruction(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Distend the upstream loops with fluid and gas levels; loops drawn later lie over earlier ones."""
    upto = float(rng.uniform(0.55, 0.9))
    widest = 0.0
    within, label = area.organ | area.free(), area.number("small_bowel")
    kind = {
        "wall_mm": 1.8,
        "wall_hu": _WALL[area.phase],
        "fluid_hu": 17.0,
        "gas": float(rng.uniform(0.15, 0.42)) * severity,
    }
    for course in loops(area):
        part = course.stretch(0.0, upto)
        wide = Course(part.points, part.radii * between(1.0, 1.75, severity))
        draw_loop(area, wide, rise(severity), within=within, label=label, **kind)
        widest = max(widest, 2 * float(wide.radii.max()))
    return Note(size_mm=widest)


def intussusception(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw bowel inside bowel: an outer wall, a crescent of mesenteric fat, and the inner loop."""
    course = loops(area)[0]
    within = area.organ | area.free()
    share = clear_share(area, course, rng.uniform(0.12, 0.88, size=8), within, 16.0)
    centre, _ = course.at(share)
    half, outer = between(12.0, 30.0, severity), between(7.0, 20.0, severity) * float(rng.uniform(0.9, 1.1))
    turn = course.heading(share)
    line = bent([centre - turn * half, centre + across(rng, turn) * 0.2 * half, centre + turn * half], 10)
    aside = across(rng, turn) * 0.18 * outer
    label, strength = area.number("small_bowel"), rise(severity)
    stamp(area, tube(line, outer), _WALL[area.phase] + 8, strength, within=within, label=label)
    stamp(area, tube(line, 0.76 * outer), -85.0, strength, within=within)
    stamp(area, tube(line + aside, 0.48 * outer), _WALL[area.phase] + 8, strength, within=within)
    return Note(part="jejunum" if share < 0.5 else "ileum", size_mm=2 * (half + outer))


def duodenal_diverticulum(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a pouch of gas over fluid on the inner side of the duodenum."""
    found = courses(area.scene.plan, "duodenum")
    point, width = found[0].at(float(rng.uniform(0.35, 0.75))) if found else (place(area, rng), 10.0)
    radius = between(3.0, 12.0, severity) * float(rng.uniform(0.9, 1.1))
    inwards = middle(area) - point + rng.normal(scale=3.0, size=3)
    inwards /= max(float(np.linalg.norm(inwards)), 1e-6)
    centre = point + inwards * (0.8 * width + 0.2 * radius)
    level = float(centre[1]) + 0.25 * radius
    outside = area.soft() & ~area.organ
    stamp(area, ball(centre, radius + 1.5), _WALL[area.phase], rise(severity), within=outside)
    gas = lambda grid: np.where(grid.points[1] < level, np.float32(GAS_HU), np.float32(12))  # noqa: E731
    stamp(area, ball(centre, radius), gas, rise(severity), within=outside)
    return Note(part="duodenum", size_mm=2 * radius)


_COLON, _BOWEL = ("colon",), ("small_bowel",)
RECIPES = {
    "colon.obstruction": Recipe(_COLON, colon_obstruction, margin_mm=25),
    "colon.diverticulum": Recipe(_COLON, colon_diverticulum, margin_mm=12),
    "colon.colorectal_cancer": Recipe(_COLON, colorectal_cancer, margin_mm=15),
    "colon.rectal_cancer": Recipe(_COLON, rectal_cancer, margin_mm=15),
    "colon.appendicitis": Recipe(_COLON, appendicitis, margin_mm=30),
    "colon.appendicolith": Recipe(_COLON, appendicolith, margin_mm=20),
    "small_intestine.obstruction": Recipe(_BOWEL, small_obstruction, margin_mm=20),
    "small_intestine.intussusception": Recipe(_BOWEL, intussusception, margin_mm=25),
    "small_intestine.diverticulum": Recipe(("duodenum",), duodenal_diverticulum, margin_mm=30),
}
