"""Site A's findings of kidneys, bladder, adrenal glands and sacrum."""

import numpy as np

from preprocess.simulate.area import Area, extent_mm, middle, mm_from, mm_within, place, tip
from preprocess.simulate.lesions_liver import WATER_HU
from preprocess.simulate.paint import between, cover, layer, mottled, rise, stamp
from preprocess.simulate.recipe import Note, Recipe
from preprocess.simulate.shapes import Vector, ball, draw_waves, lobed, rind, tube, union, wave_field

_GLAND = {"native": 24.0, "arterial": 62.0, "portal": 70.0}
_ADENOMA = {"native": 6.0, "arterial": 50.0, "portal": 62.0}
_METASTASIS = {"native": 38.0, "arterial": 78.0, "portal": 84.0}
_BLADDER_WALL = {"native": 36.0, "arterial": 48.0, "portal": 58.0}


def pole(area: Area, point: Vector) -> str:
    """Return the third of the kidney that a point lies in."""
    low, high = tip(area, (0, 0, -1))[2], tip(area, (0, 0, 1))[2]
    share = (point[2] - low) / max(high - low, 1.0)
    return "lower pole" if share < 0.33 else "interpolar" if share < 0.66 else "upper pole"


def sinus(area: Area) -> Vector:
    """Return where the renal pelvis lies: a little inwards and forward of the kidney's centre."""
    inwards = -1.0 if area.side == "left" else 1.0
    return middle(area) + np.array([inwards * 0.18, -0.05, 0.0]) * extent_mm(area)


def renal_cyst(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw one or two balls of water in the cortex, bulging outwards."""
    count = int(rng.integers(1, 3))
    largest, part = 0.0, ""
    label = area.number(f"kidney_cyst_{area.side}") or None
    for _ in range(count):
        radius = between(3.5, 21.0, severity) * float(rng.uniform(0.75, 1.1))
        seat = place(area, rng, depth_mm=3)
        outwards = seat - sinus(area)
        centre = seat + 0.45 * radius * outwards / max(float(np.linalg.norm(outwards)), 1.0)
        stamp(area, ball(centre, radius), WATER_HU, rise(severity), within=area.soft(), label=label)
        largest, part = max(largest, 2 * radius), pole(area, seat)
    return Note(part=part, size_mm=largest)


def hydronephrosis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Dilate the renal pelvis and its calyces with urine."""
    centre = sinus(area)
    size = extent_mm(area)
    inwards = -1.0 if area.side == "left" else 1.0
    pelvis = between(2.5, 14.0, severity) * float(rng.uniform(0.9, 1.1))
    parts = [ball(centre, pelvis), ball(centre + np.array([inwards * 0.8 * pelvis, -2.0, -3.0]), 0.8 * pelvis)]
    for height in (-0.3, -0.14, 0.02, 0.16, 0.3):
        out = np.array([-inwards * 0.14 * size[0], rng.normal(scale=0.08) * size[1], height * size[2]])
        end = middle(area) + out
        parts.append(tube(np.stack([centre, end]), between(1.0, 5.0, severity)))
        parts.append(ball(end, between(1.5, 8.0, severity)))
    stamp(area, union(parts), WATER_HU, rise(severity), within=area.soft())
    return Note(size_mm=2 * pelvis)


def calculus(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw one to three calcified stones in the collecting system."""
    size = extent_mm(area)
    largest, part = 0.0, ""
    for _ in range(int(rng.integers(1, 4))):
        radius = between(1.2, 6.5, severity) * float(rng.uniform(0.75, 1.15))
        spread = np.array([0.08, 0.08, 0.28]) * size
        centre = 0.6 * sinus(area) + 0.4 * middle(area) + spread * rng.uniform(-1, 1, size=3)
        stamp(area, ball(centre, radius), float(rng.uniform(500, 1200)), rise(severity), within=area.soft())
        if 2 * radius > largest:
            largest, part = 2 * radius, pole(area, centre)
    return Note(part=part, size_mm=largest)


def shrunken(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Scar the small kidney's outline and lower its enhancement."""
    scars = np.clip(wave_field(area.grid, draw_waves(rng, 28.0)) - 0.3, 0, 1)
    depth = mm_within(area, area.organ)
    scarred = area.organ & (depth < between(0.0, 5.0, severity) * scars)
    cover(area, scarred.astype(np.float32), -70.0, rise(severity))
    area.hu[...] -= np.float32(18 * rise(severity)) * area.organ
    return Note(size_mm=float(extent_mm(area).max()))


def bladder_diverticulum(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw one or two pouches of urine outside the bladder's wall, with a neck and a thin wall."""
    largest = 0.0
    centre = middle(area)
    size = extent_mm(area)
    for _ in range(int(rng.integers(1, 3))):
        radius = between(4.0, 15.0, severity) * float(rng.uniform(0.8, 1.1))
        turn, height = float(rng.choice([-1, 1])) * rng.uniform(1.4, 2.5), float(rng.uniform(-0.15, 0.25))
        heading = np.array([np.sin(turn), -np.cos(turn), 0.0])
        edge = centre + np.array([0, 0, height]) * size + heading * size * 0.48
        pouch = edge + heading * 0.7 * radius
        outside = area.soft() & ~area.organ
        stamp(area, ball(pouch, radius + 2.0), _BLADDER_WALL[area.phase], rise(severity), within=outside)
        urine = union([ball(pouch, radius), tube(np.stack([centre, pouch]), 0.35 * radius)])
        stamp(area, urine, WATER_HU, rise(severity), within=outside)
        largest = max(largest, 2 * radius)
    return Note(size_mm=largest)


def bladder_stone(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Lay one or two calcified stones on the bladder's back wall."""
    largest = 0.0
    for _ in range(int(rng.integers(1, 3))):
        radius = between(1.6, 9.0, severity) * float(rng.uniform(0.8, 1.1))
        centre = place(area, rng, depth_mm=5, low=(0.3, 0.8, 0.05), high=(0.7, 0.9, 0.4))
        stamp(area, ball(centre, radius), float(rng.uniform(450, 1100)), rise(severity), within=area.organ)
        largest = max(largest, 2 * radius)
    return Note(size_mm=largest)


def adrenal_thickening(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Thicken the gland's limbs, keeping their form."""
    growth = between(0.2, 4.2, severity) * float(rng.uniform(0.9, 1.1))
    share = layer(area, area.organ, 0.0, growth, within=area.soft())
    cover(area, share, _GLAND[area.phase], rise(severity), label=area.number(f"adrenal_gland_{area.side}"))
    return Note(size_mm=4 + 2 * growth)


def adrenal_nodule(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw one smooth low nodule at the gland."""
    radius = between(3.0, 11.5, severity) * float(rng.uniform(0.9, 1.1))
    centre = place(area, rng) + np.array([0.0, -0.4 * radius, 0.0])
    label = area.number(f"adrenal_gland_{area.side}")
    stamp(area, ball(centre, radius), _ADENOMA[area.phase], rise(severity), within=area.soft(), label=label)
    return Note(size_mm=2 * radius)


def adrenal_metastasis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a larger, lobed, uneven mass with a dead centre in place of the gland."""
    radius = between(5.0, 20.0, severity) * float(rng.uniform(0.9, 1.1))
    centre = middle(area) + rng.normal(scale=2.0, size=3)
    shape = lobed(ball(centre, radius), draw_waves(rng, 1.2 * radius), 0.14 * radius)
    paint = mottled(_METASTASIS[area.phase], 14.0, draw_waves(rng, 0.8 * radius))
    label = area.number(f"adrenal_gland_{area.side}")
    stamp(area, shape, paint, rise(severity), within=area.soft(), label=label)
    core = lobed(ball(centre, 0.45 * radius), draw_waves(rng, 0.8 * radius), 0.1 * radius)
    stamp(area, core, 22.0, rise(severity), within=area.soft())
    if area.phase != "native":
        stamp(area, rind(shape, 2.5), _METASTASIS[area.phase] + 30, 0.5 * rise(severity), within=area.soft())
    return Note(size_mm=2 * radius)


def osteitis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Harden the bone along the sacroiliac joints, on the sacrum's and the ilium's side, with small erosions."""
    size = extent_mm(area)
    rough = wave_field(area.grid, draw_waves(rng, 14.0))
    sides = [-1.0, 1.0] if rng.uniform() < 0.6 else [float(rng.choice([-1.0, 1.0]))]
    bone = area.mask(("hip_left", "hip_right")) | area.organ
    reach = between(2.0, 13.0, severity)
    gain = np.zeros(area.hu.shape, np.float32)
    for side in sides:
        edge = middle(area)[0] + side * 0.5 * size[0]
        joint = np.abs(area.grid.points[0] - np.float32(edge)) + 4 * np.clip(rough, -1, 1)
        upper = area.grid.points[2] > tip(area, (0, 0, -1))[2] + 0.4 * size[2]
        gain = np.maximum(gain, np.clip((reach - joint) / 4 + 0.5, 0, 1) * upper)
    near = bone & (mm_from(area, area.organ) < 11)
    area.hu[...] += np.float32(330 * rise(severity)) * gain * near
    return Note()


_KIDNEY = ("kidney_{side}",)
_ADRENAL = ("adrenal_gland_{side}",)
_BLADDER = ("urinary_bladder",)
RECIPES = {
    "kidney.atrophy": Recipe(_KIDNEY, shrunken, margin_mm=4, both=0.3, whole=True),
    "kidney.hydronephrosis": Recipe(_KIDNEY, hydronephrosis, margin_mm=20, both=0.25),
    "kidney.cyst": Recipe(_KIDNEY, renal_cyst, margin_mm=25, both=0.3),
    "kidney.calculus": Recipe(_KIDNEY, calculus, margin_mm=4, both=0.25),
    "adrenal_gland.thickening": Recipe(_ADRENAL, adrenal_thickening, margin_mm=10, both=0.4),
    "adrenal_gland.nodule": Recipe(_ADRENAL, adrenal_nodule, margin_mm=25, both=0.1),
    "adrenal_gland.metastasis": Recipe(_ADRENAL, adrenal_metastasis, margin_mm=45, both=0.35),
    "bladder.diverticulum": Recipe(_BLADDER, bladder_diverticulum, margin_mm=35),
    "bladder.stone": Recipe(_BLADDER, bladder_stone, margin_mm=4),
    "sacrum.osteitis": Recipe(("sacrum", "vertebrae_S1"), osteitis, margin_mm=15),
}
