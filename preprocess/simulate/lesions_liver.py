"""Site A's findings of the liver, as they change its attenuation."""

import numpy as np

from preprocess.simulate.area import Area, middle, place
from preprocess.simulate.course import courses
from preprocess.simulate.paint import between, cover, lining, mottled, rise, stamp
from preprocess.simulate.recipe import Note, Recipe
from preprocess.simulate.scene import Floats
from preprocess.simulate.shapes import Vector, ball, bent, draw_waves, lobed, rind, tube, wave_field

WATER_HU = 6.0
PORTAL = "portal_vein_and_splenic_vein"
_METASTASIS = {"native": 30.0, "arterial": 42.0, "portal": 52.0}
_CANCER = {"native": 34.0, "arterial": 125.0, "portal": 68.0}
_CAPSULE = {"native": 40.0, "arterial": 95.0, "portal": 140.0}
_HEMANGIOMA = {"native": 33.0, "arterial": 48.0, "portal": 80.0}
PORTAL_HU = {"native": 42.0, "arterial": 85.0, "portal": 165.0}


def vein_hu(area: Area) -> float:
    """Return the attenuation of portal blood in this study and phase."""
    return area.plan_hu(PORTAL, PORTAL_HU[area.phase])


def pool_hu(area: Area) -> float:
    """Return the attenuation of a pool of blood: between aorta and portal vein in the arterial phase."""
    return max(0.7 * area.plan_hu("aorta", 300.0), vein_hu(area)) if area.phase == "arterial" else vein_hu(area)


def lobe(area: Area, point: Vector) -> str:
    """Return the lobe of the liver that a point lies in."""
    return "left lobe" if point[0] > middle(area)[0] + 35 else "right lobe"


def bulk(area: Area) -> Floats:
    """Return how far each voxel belongs to the organ's bulk rather than its vessels, (z, y, x) in 0..1."""
    usual = float(np.median(area.hu[area.organ]))
    return np.asarray(np.clip(1.6 - np.abs(area.hu - usual) / 15, 0, 1) * area.organ, np.float32)


def hilum(area: Area) -> Vector:
    """Return the liver's hilum: the right end of the portal vein, or else a place where it usually lies."""
    centre = middle(area)
    found = courses(area.scene.plan, PORTAL)
    if found:
        ends = found[0].points[[0, -1]]
        return np.asarray(0.75 * ends[np.argmin(ends[:, 0])] + 0.25 * centre)
    return np.asarray(centre + np.array([25.0, 15.0, -10.0]))


def tracts(area: Area, rng: np.random.Generator, count: int) -> list[Vector]:
    """Return curves (16, 3) from the hilum to places throughout the liver, as portal tracts run."""
    root = hilum(area)
    curves = []
    for low, high in np.linspace([0, 1 / count], [1 - 1 / count, 1], count):
        end = place(area, rng, depth_mm=8, low=(low, 0.05, 0.1), high=(high, 0.95, 0.9))
        side = rng.normal(scale=0.12, size=3) * np.linalg.norm(end - root)
        curves.append(bent([root, root + 0.5 * (end - root) + side, end]))
    return curves


def fatty_liver(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Lower the liver's attenuation, sparing its vessels."""
    drop = between(46, 58, float(rng.uniform())) * rise(severity)
    area.hu[...] -= np.float32(drop) * bulk(area)
    return Note()


def periportal_edema(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw portal veins with a low halo on both sides."""
    for curve in tracts(area, rng, 8):
        taper = np.linspace(1.0, 0.55, len(curve))
        stamp(area, tube(curve, between(4.0, 8.5, severity) * taper), 14.0, rise(severity), within=area.organ)
        stamp(area, tube(curve, 3.2 * taper), vein_hu(area), rise(severity), within=area.organ)
    return Note()


def bile_duct_dilatation(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw branching water-density ducts that meet at the hilum."""
    width = between(1.2, 5.5, severity)
    for curve in tracts(area, rng, 7):
        curve = curve + np.array([0.0, -7.0, 3.0])
        stamp(area, tube(curve, width * np.linspace(1.1, 0.5, len(curve))), WATER_HU, rise(severity), within=area.organ)
        joint = curve[len(curve) // 2]
        for _ in range(2):
            twig = bent([joint, joint + rng.normal(scale=14, size=3), joint + rng.normal(scale=22, size=3)], 8)
            shape = tube(twig, width * np.linspace(0.7, 0.35, 8))
            stamp(area, shape, WATER_HU, rise(severity), within=area.organ)
    return Note(size_mm=2 * width)


def metastasis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw several low, slightly lobed foci, with a faint rim after contrast."""
    count = int(rng.integers(3, 9))
    largest = 0.0
    for _ in range(count):
        radius = between(4.0, 14.0, severity) * float(rng.uniform(0.6, 1.15))
        centre = place(area, rng, depth_mm=5)
        shape = lobed(ball(centre, radius), draw_waves(rng, 1.6 * radius), 0.08 * radius)
        stamp(area, shape, _METASTASIS[area.phase], rise(severity), within=area.organ)
        stamp(area, ball(centre, 0.4 * radius), 22.0, rise(severity), within=area.organ)
        if area.phase != "native":
            stamp(area, rind(shape, 2.0), _METASTASIS[area.phase] + 45, 0.5 * rise(severity), within=area.organ)
        largest = max(largest, 2 * radius)
    return Note(size_mm=largest)


def cancer(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw one large lobed mass: bright in the arterial phase, washed out with a capsule in the portal phase."""
    radius = between(7.0, 38.0, severity) * float(rng.uniform(0.85, 1.15))
    centre = place(area, rng, depth_mm=14)
    shape = lobed(ball(centre, radius), draw_waves(rng, 1.3 * radius), 0.12 * radius)
    paint = mottled(_CANCER[area.phase], 15.0, draw_waves(rng, 0.7 * radius))
    stamp(area, shape, paint, rise(severity), within=area.organ)
    core = lobed(ball(centre, 0.45 * radius), draw_waves(rng, 0.7 * radius), 0.1 * radius)
    stamp(area, core, 24.0, 0.8 * rise(severity), within=area.organ)
    stamp(area, rind(shape, 3.5), _CAPSULE[area.phase], 0.9 * rise(severity), within=area.organ)
    return Note(part=lobe(area, centre), size_mm=2 * radius)


def cyst(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw one to three sharp balls of water."""
    count = int(rng.integers(1, 4))
    largest, centre = 0.0, middle(area)
    for _ in range(count):
        radius = between(4.0, 24.0, severity) * float(rng.uniform(0.6, 1.1))
        centre = place(area, rng, depth_mm=6)
        stamp(area, ball(centre, radius), WATER_HU, rise(severity), within=area.organ)
        largest = max(largest, 2 * radius)
    return Note(part=lobe(area, centre) if count == 1 else None, size_mm=largest)


def abscess(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a cluster of pus-filled cavities in an enhancing rim with edema around, at times with gas."""
    radius = between(6.0, 27.0, severity) * float(rng.uniform(0.85, 1.1))
    centre = place(area, rng, depth_mm=12)
    cavities = [centre] + [centre + 0.7 * radius * _unit(rng) for _ in range(3)]
    sizes = [0.75 * radius, *(0.5 * radius * rng.uniform(0.8, 1.1, size=3))]
    has_gas = bool(rng.uniform() < 0.5)
    usual = float(np.median(area.hu[area.organ]))
    strength = rise(severity)
    stamp(area, ball(centre, 1.35 * radius), usual - 30, 0.7 * strength, within=area.organ)
    for where, size in zip(cavities, sizes, strict=True):
        stamp(area, ball(where, size + 4), _CAPSULE[area.phase], strength, within=area.organ)
    for where, size in zip(cavities, sizes, strict=True):
        stamp(area, ball(where, size), 16.0, strength, within=area.organ)
    if has_gas:
        bubble = centre - np.array([0.0, 0.45 * radius, 0.0])
        stamp(area, ball(bubble, between(1.0, 6.0, severity)), -800.0, strength, within=area.organ)
    return Note(part=lobe(area, centre), size_mm=2 * radius)


def hemangioma(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a low mass with nodules at its rim that enhance like vessels and fill inwards with time."""
    radius = between(5.0, 25.0, severity) * float(rng.uniform(0.85, 1.1))
    centre = place(area, rng, depth_mm=10)
    stamp(area, ball(centre, radius), _HEMANGIOMA[area.phase], rise(severity), within=area.organ)
    nodule = {"native": 0.0, "arterial": 0.28, "portal": 0.36}[area.phase] * radius
    directions = [_unit(rng) for _ in range(9)]
    if nodule > 0:
        for direction in directions:
            knot = ball(centre + (radius - 0.8 * nodule) * direction, nodule)
            stamp(area, knot, pool_hu(area), rise(severity), within=area.organ)
    return Note(part=lobe(area, centre), size_mm=2 * radius)


def cirrhosis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Carve a nodular surface with fluid in its furrows, and give the parenchyma a nodular texture."""
    nodules = draw_waves(rng, 17.0, count=24)
    texture = draw_waves(rng, 13.0, count=24)
    furrow = np.clip(wave_field(area.grid, nodules) - 0.1, 0, 1.6) * np.float32(between(0.0, 6.5, severity))
    area.hu[...] += np.float32(13.0 * rise(severity)) * wave_field(area.grid, texture) * bulk(area)
    cover(area, lining(area, area.organ, furrow), 8.0, rise(severity), label=0)
    return Note()


def _unit(rng: np.random.Generator) -> Vector:
    direction = rng.normal(size=3)
    return np.asarray(direction / np.linalg.norm(direction))


_ORGAN = ("liver",)
RECIPES = {
    "liver.fatty_liver": Recipe(_ORGAN, fatty_liver, margin_mm=4, whole=True),
    "liver.cirrhosis": Recipe(_ORGAN, cirrhosis, margin_mm=6, whole=True),
    "liver.metastasis": Recipe(_ORGAN, metastasis, margin_mm=4),
    "liver.cancer": Recipe(_ORGAN, cancer, margin_mm=4),
    "liver.hemangioma": Recipe(_ORGAN, hemangioma, margin_mm=4),
    "liver.cyst": Recipe(_ORGAN, cyst, margin_mm=4),
    "liver.abscess": Recipe(_ORGAN, abscess, margin_mm=4),
    "liver.bile_duct_dilatation": Recipe(_ORGAN, bile_duct_dilatation, margin_mm=12),
    "liver.glisson_capsule_effusion": Recipe(_ORGAN, periportal_edema, margin_mm=12),
}
