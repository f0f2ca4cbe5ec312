"""Site B's findings of kidneys, bladder, adrenal glands and sacrum."""

import numpy as np

from preprocess.simulate.area import Area, extent_mm, middle, mm_from, mm_within, place, tip
from preprocess.simulate.blobs import blob, gain, gravel, patches, sized, speckled, tree, uneven
from preprocess.simulate.lesions_urinary import pole, sinus
from preprocess.simulate.paint import cover, layer, lining, stamp
from preprocess.simulate.recipe import Note, Recipe
from preprocess.simulate.shapes import ball, draw_waves, ellipsoid, rind, union

_GLAND = {"native": 28.0, "arterial": 66.0, "portal": 76.0}
_LIPID = {"native": -8.0, "arterial": 38.0, "portal": 50.0}
_MASS = {"native": 46.0, "arterial": 88.0, "portal": 92.0}
_BLADDER_WALL = {"native": 40.0, "arterial": 52.0, "portal": 64.0}


def renal_cyst(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw many small cysts in the cortex and one with a septum."""
    label = area.number(f"kidney_cyst_{area.side}") or None
    largest = sized(5, 17, severity, rng)
    rim = area.organ & (mm_within(area, area.organ) < 9)
    part = ""
    for index in range(int(rng.integers(3, 8))):
        radius = largest if index == 0 else largest * float(rng.uniform(0.25, 0.5))
        centre = place(area, rng, mask=rim)
        part = pole(area, centre) if index == 0 else part
        shape = blob(rng, centre, radius, 0.1)
        stamp(area, shape, float(rng.uniform(0, 16)), gain(severity), within=area.soft(), label=label)
        if index == 0:
            half = 0.8 * radius
            septum = ellipsoid(centre, (half, half, 0.8), np.linalg.qr(rng.normal(size=(3, 3)))[0])
            stamp(area, septum, 45.0, gain(severity), within=area.soft())
    return Note(part=part, size_mm=2 * largest)


def hydronephrosis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw balloons for calyces and a large pelvis outside the kidney; the parenchyma enhances late."""
    inwards = -1.0 if area.side == "left" else 1.0
    size, centre = extent_mm(area), sinus(area)
    pelvis = blob(rng, centre + np.array([inwards * 7.0, -4.0, 0]), sized(4, 14, severity, rng), 0.15)
    balloons = [
        blob(rng, middle(area) + np.array([-inwards * 0.08, 0.0, height]) * size, sized(2.5, 10, severity, rng), 0.12)
        for height in (-0.32, -0.12, 0.1, 0.3)
    ]
    if area.phase != "native":
        area.hu[...] -= np.float32(22 * gain(severity)) * area.organ
    stamp(area, union([pelvis, *balloons]), float(rng.uniform(2, 12)), gain(severity), within=area.soft())
    return Note(size_mm=2 * sized(4, 14, severity, rng, 0.0))


def calculus(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a branching cast of the collecting system, or gravel in the lower calyces."""
    centre, size = 0.5 * sinus(area) + 0.5 * middle(area), extent_mm(area)
    calcium = float(rng.uniform(420, 1000))
    if rng.uniform() < 0.4:
        ends = [centre + np.array([rng.normal(scale=3), rng.normal(scale=3), h * size[2]]) for h in (-0.22, 0.02, 0.22)]
        width = sized(1.5, 5.5, severity, rng)
        cast, _ = tree(rng, centre, ends, width, twigs=0)
        stamp(area, cast, calcium, gain(severity), within=area.soft())
        return Note(part="pelvis", size_mm=0.4 * float(size[2]))
    radius = sized(1.3, 5.0, severity, rng)
    seats = [centre + np.array([0, 0.05, -0.24]) * size + rng.normal(scale=4.0, size=3) for _ in range(4)]
    stamp(area, gravel(rng, seats, radius), calcium, gain(severity), within=area.soft())
    return Note(part="lower pole", size_mm=2.2 * radius)


def kidney_atrophy(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Let fat replace the rim of the shrunken kidney and dull the rest."""
    cover(
        area, lining(area, area.organ, np.float32(2.5 * severity) * uneven(area, rng, 30.0, 0.5)), -75.0, gain(severity)
    )
    drop = 10.0 if area.phase == "native" else 34.0
    area.hu[...] -= np.float32(drop * gain(severity)) * area.organ
    return Note(size_mm=float(extent_mm(area).max()))


def bladder_diverticulum(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw several small pouches round a trabeculated bladder."""
    centre, size = middle(area), extent_mm(area)
    outside = area.soft() & ~area.organ
    largest = sized(4, 12, severity, rng)
    for index in range(int(rng.integers(3, 7))):
        radius = largest * (1.0 if index == 0 else float(rng.uniform(0.35, 0.7)))
        angle, height = float(rng.uniform(0.35 * np.pi, 1.65 * np.pi)), float(rng.uniform(-0.2, 0.35))
        heading = np.array([np.sin(angle), -np.cos(angle), 0.0])
        pouch = centre + np.array([0.5, 0.5, 1.0]) * size * (heading * np.sqrt(1 - 2 * height**2) + [0, 0, height])
        pouch = pouch + heading * 0.55 * radius
        stamp(area, blob(rng, pouch, radius + 1.8, 0.1), _BLADDER_WALL[area.phase], gain(severity), within=outside)
        stamp(area, blob(rng, pouch, radius, 0.1), 8.0, gain(severity), within=outside)
    wall = np.float32(2.5 * severity) * uneven(area, rng, 9.0, 0.6)
    cover(area, lining(area, area.organ, wall), _BLADDER_WALL[area.phase], gain(severity))
    return Note(size_mm=2 * largest)


def bladder_stone(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Lay several layered stones on the bladder's floor."""
    radius = sized(2.0, 7.0, severity, rng)
    for _ in range(int(rng.integers(2, 6))):
        seat = place(area, rng, depth_mm=5, low=(0.2, 0.7, 0.02), high=(0.8, 0.92, 0.35))
        stone = ball(seat, radius * float(rng.uniform(0.6, 1.0)))
        stamp(area, stone, float(rng.uniform(220, 420)), gain(severity), within=area.organ)
        stamp(area, rind(stone, 0.35 * radius), 900.0, gain(severity), within=area.organ)
    return Note(size_mm=2 * radius)


def adrenal_thickening(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Thicken the gland in knots."""
    growth = np.float32(sized(0.7, 4.0, severity, rng)) * uneven(area, rng, 14.0, 0.4)
    share = layer(area, area.organ, 0.0, growth, within=area.soft())
    cover(area, share, _GLAND[area.phase], gain(severity), label=area.number(f"adrenal_gland_{area.side}"))
    return Note(size_mm=4 + 2 * float(np.median(growth)))


def adrenal_nodule(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw an oval nodule rich in fat, beside the gland's body."""
    radius = sized(4, 11, severity, rng)
    centre = tip(area, rng.normal(size=3), share=0.15)
    shape = ellipsoid(centre, radius * np.array([0.8, 1.0, 1.25]), np.linalg.qr(rng.normal(size=(3, 3)))[0])
    label = area.number(f"adrenal_gland_{area.side}")
    paint = speckled(_LIPID[area.phase], 9, rng, 6.0)
    stamp(area, shape, paint, gain(severity), within=area.soft(), label=label)
    return Note(size_mm=2 * radius)


def adrenal_metastasis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Replace the gland by an irregular solid mass with old blood in it."""
    radius = sized(7, 18, severity, rng)
    centre = middle(area) + rng.normal(scale=3.0, size=3)
    label = area.number(f"adrenal_gland_{area.side}")
    paint = speckled(_MASS[area.phase], 20, rng, 9.0)
    stamp(area, blob(rng, centre, radius, 0.38), paint, gain(severity), within=area.soft(), label=label)
    for _ in range(3):
        pool = blob(rng, centre + rng.normal(scale=0.4 * radius, size=3), 0.3 * radius)
        stamp(area, pool, 26.0, gain(severity), within=area.soft())
    return Note(size_mm=2 * radius)


def osteitis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Harden patches of bone beside the joints and erode holes between them."""
    size, centre = extent_mm(area), middle(area)
    upper = area.grid.points[2] > tip(area, (0, 0, -1))[2] + 0.42 * size[2]
    outwards = np.abs(area.grid.points[0] - np.float32(centre[0])) / np.float32(0.5 * size[0])
    band = np.clip((outwards - (0.85 - 0.3 * severity)) / 0.12 + 0.5, 0, 1)
    if rng.uniform() < 0.5:
        left = area.grid.points[0] > centre[0]
        band = band * (left if rng.uniform() < 0.5 else ~left)
    bone = (area.organ | area.mask(("hip_left", "hip_right"))) & (mm_from(area, area.organ) < 12)
    hard = patches(area.grid, draw_waves(rng, 13.0, count=20), 0.62) * band * upper * bone
    holes = patches(area.grid, draw_waves(rng, 7.0, count=20), 0.1) * band * upper * area.organ
    area.hu[...] += np.float32(420 * gain(severity)) * np.asarray(hard, np.float32)
    cover(area, np.asarray(holes, np.float32), 40.0, 0.7 * gain(severity))
    return Note()


_KIDNEY, _ADRENAL, _BLADDER = ("kidney_{side}",), ("adrenal_gland_{side}",), ("urinary_bladder",)
RECIPES = {
    "kidney.atrophy": Recipe(_KIDNEY, kidney_atrophy, margin_mm=4, both=0.3, whole=True),
    "kidney.hydronephrosis": Recipe(_KIDNEY, hydronephrosis, margin_mm=22, both=0.4),
    "kidney.cyst": Recipe(_KIDNEY, renal_cyst, margin_mm=20, both=0.5),
    "kidney.calculus": Recipe(_KIDNEY, calculus, margin_mm=4, both=0.15),
    "adrenal_gland.thickening": Recipe(_ADRENAL, adrenal_thickening, margin_mm=12, both=0.5),
    "adrenal_gland.nodule": Recipe(_ADRENAL, adrenal_nodule, margin_mm=25, both=0.15),
    "adrenal_gland.metastasis": Recipe(_ADRENAL, adrenal_metastasis, margin_mm=45, both=0.45),
    "bladder.diverticulum": Recipe(_BLADDER, bladder_diverticulum, margin_mm=30),
    "bladder.stone": Recipe(_BLADDER, bladder_stone, margin_mm=4),
    "sacrum.osteitis": Recipe(("sacrum", "vertebrae_S1"), osteitis, margin_mm=15),
}
