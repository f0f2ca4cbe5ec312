"""Site B's findings of gallbladder, pancreas and portal vein."""

import numpy as np

from preprocess.simulate.area import Area, along, extent_mm, middle, midline, place
from preprocess.simulate.blobs import beads, blob, gain, gravel, patches, sized, speckled, uneven, worm
from preprocess.simulate.lesions_liver import vein_hu
from preprocess.simulate.lesions_upper import seat_in_gland, section
from preprocess.simulate.paint import cover, infiltrate, layer, lining, stamp
from preprocess.simulate.recipe import Note, Recipe
from preprocess.simulate.shapes import draw_waves, union

_WALL = {"native": 40.0, "arterial": 78.0, "portal": 98.0}
_POOR = {"native": 32.0, "arterial": 50.0, "portal": 52.0}
_CLOT = {"native": 60.0, "arterial": 40.0, "portal": 42.0}


def gallstone(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Pile faceted gravel on the back wall of the gallbladder."""
    radius = sized(1.7, 4.8, severity, rng)
    count = int(rng.integers(5, 13))
    pile = [place(area, rng, depth_mm=2, low=(0.15, 0.65, 0.05), high=(0.85, 0.95, 0.9)) for _ in range(count)]
    stamp(area, gravel(rng, pile, radius), float(rng.uniform(260, 620)), gain(severity), within=area.organ)
    return Note(size_mm=2.2 * radius)


def cholecystitis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Thicken the wall unevenly in two layers, cloud the bile, and let the liver beside it enhance."""
    thick = np.float32(sized(0.8, 5.5, severity, rng)) * uneven(area, rng, 22.0, 0.45)
    beyond = area.soft() & ~area.organ
    cover(area, layer(area, area.organ, 0.0, thick, within=beyond), 22.0, gain(severity))
    cover(area, lining(area, area.organ, 0.5 * thick), _WALL[area.phase], gain(severity))
    area.hu[...] += np.float32(14 * gain(severity)) * (area.organ & (lining(area, area.organ, 4.0) < 0.1))
    if area.phase != "native":
        bed = layer(area, area.organ, 2.0, 8.0, within=area.mask(("liver",)))
        area.hu[...] += np.float32(20 * gain(severity)) * bed
    infiltrate(area, area.organ, 7.0, 60.0, gain(severity), rng)
    return Note(size_mm=float(np.median(thick)))


def adenomyomatosis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a ring of thickened wall at the waist of the gallbladder, speckled with bright and dark spots."""
    waist = middle(area) + np.array([0, 0, 0.15]) * extent_mm(area) * rng.uniform(-1, 1)
    here = np.abs(area.grid.points[2] - np.float32(waist[2])) < sized(4, 10, severity, rng)
    thick = np.float32(sized(1.0, 9.0, severity, rng)) * uneven(area, rng, 12.0, 0.3)
    paint = speckled(_WALL[area.phase] - 8, 26, rng, 5.0)
    cover(area, lining(area, area.organ, thick) * here, paint, gain(severity))
    outside = area.soft() & here
    cover(area, layer(area, area.organ, 0.0, 0.35 * thick, within=outside), _WALL[area.phase], gain(severity))
    return Note(size_mm=float(np.median(thick)))


def pancreas_steatosis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Replace lobules by fat in stripes, more towards one end of the gland."""
    along = (area.grid.points[0] - middle(area)[0]) / max(float(extent_mm(area)[0]), 1.0)
    tilt = 0.55 + float(rng.choice([-1, 1])) * 0.35 * along
    stripes = patches(area.grid, draw_waves(rng, 8.0, count=20), 0.62)
    share = np.clip((0.25 + 0.75 * stripes) * tilt * 1.35, 0, 1) * area.organ
    cover(area, np.asarray(share, np.float32), -92.0, gain(severity))
    return Note()


def pancreas_atrophy(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Cut clefts of fat into the thinned gland's surface."""
    cleft = np.clip(uneven(area, rng, 10.0, 0.9) - 1.0, 0, 2) * np.float32(2.2 * severity)
    cover(area, lining(area, area.organ, cleft), -88.0, gain(severity))
    return Note(size_mm=float(extent_mm(area).max()))


def pancreatitis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw dead patches in the gland, collections of fluid before it, and stranding."""
    dead = patches(area.grid, draw_waves(rng, 26.0), 0.38) * area.organ
    cover(area, np.asarray(dead, np.float32), 30.0, 0.9 * gain(severity))
    fat = area.free()
    for _ in range(4):
        seat = place(area, rng, high=(1, 0.4, 1)) + np.array([0.0, -0.5, 0.0]) * sized(4, 8, severity, rng)
        stamp(area, blob(rng, seat, sized(3, 9.5, severity, rng)), 12.0, gain(severity), within=fat)
    infiltrate(area, area.organ, 8.0, 70.0, gain(severity), rng)
    return Note()


def pancreas_cancer(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw an infiltrating mass in the right half of the gland with a dilated duct to its left."""
    radius = sized(6, 17, severity, rng)
    centre = seat_in_gland(area, float(rng.uniform(0.03, 0.6))) + rng.normal(scale=2.5, size=3)
    line = midline(area, 0, step_mm=8.0)
    beyond = line[line[:, 0] > centre[0]]
    if len(beyond) > 1:
        stamp(area, beads(rng, beyond, sized(0.8, 2.4, severity, rng)), 8.0, gain(severity), within=area.organ)
    paint = speckled(_POOR[area.phase], 10, rng, 7.0)
    label = area.number("pancreas")
    stamp(area, blob(rng, centre, radius, 0.4), paint, gain(severity), within=area.soft(), label=label)
    return Note(part=section(area, centre), size_mm=2 * radius)


def duct_dilatation(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a beaded duct with short side branches."""
    line = midline(area, 0, step_mm=7.0) + rng.normal(scale=0.8, size=3)
    width = sized(1.1, 4.4, severity, rng)
    sides = [worm(rng, along(line, float(rng.uniform())), rng.normal(size=3), 9.0, 0.5 * width) for _ in range(6)]
    shape = union([beads(rng, line, width), *sides])
    stamp(area, shape, float(rng.uniform(4, 14)), gain(severity), within=area.organ)
    return Note(size_mm=2 * width)


def portal_hypertension(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a tangle of collaterals at the left end of the splenic vein and near the confluence."""
    line = midline(area, 0, step_mm=8.0)
    for index in range(6):
        seat = along(line, 1.0 - 0.06 * index) if index < 4 else along(line, 0.33)
        start = seat + rng.normal(scale=4.0, size=3)
        shape = worm(rng, start, rng.normal(size=3), float(rng.uniform(22, 38)), sized(0.8, 3.0, severity, rng))
        stamp(area, shape, vein_hu(area), gain(severity), within=area.free() | area.organ)
    return Note(size_mm=13 + 8 * severity)


def portal_thrombosis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw clot as lumps along one side of the vein, which may leave a crescent of flow."""
    line = midline(area, 0, step_mm=5.0)
    start = float(rng.uniform(0, 0.3))
    lumps = [along(line, share) for share in np.linspace(start, start + 0.1 + 0.6 * severity, 9)]
    aside = rng.normal(size=3)
    aside *= 1.6 / np.linalg.norm(aside)
    radius = sized(3.0, 8.5, severity, rng)
    shape = union([blob(rng, point + aside, radius, 0.2) for point in lumps])
    stamp(area, shape, speckled(_CLOT[area.phase], 6, rng, 8.0), gain(severity), within=area.organ)
    return Note(size_mm=float(np.linalg.norm(lumps[-1] - lumps[0])) + radius)


_PANCREAS, _GALLBLADDER, _PORTAL = ("pancreas",), ("gallbladder",), ("portal_vein_and_splenic_vein",)
RECIPES = {
    "pancreas.steatosis": Recipe(_PANCREAS, pancreas_steatosis, whole=True),
    "pancreas.atrophy": Recipe(_PANCREAS, pancreas_atrophy, whole=True),
    "pancreas.pancreatitis": Recipe(_PANCREAS, pancreatitis, margin_mm=22),
    "pancreas.cancer": Recipe(_PANCREAS, pancreas_cancer, margin_mm=20),
    "pancreas.duct_dilatation": Recipe(_PANCREAS, duct_dilatation, margin_mm=6),
    "gallbladder.cholecystitis": Recipe(_GALLBLADDER, cholecystitis, margin_mm=18),
    "gallbladder.adenomyomatosis": Recipe(_GALLBLADDER, adenomyomatosis, margin_mm=10),
    "gallbladder.gallstone": Recipe(_GALLBLADDER, gallstone, margin_mm=4),
    "portal_vein.hypertension": Recipe(_PORTAL, portal_hypertension, margin_mm=14, whole=True),
    "portal_vein.thrombosis": Recipe(_PORTAL, portal_thrombosis, margin_mm=6),
}
