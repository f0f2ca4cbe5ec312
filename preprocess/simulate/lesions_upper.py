"""Site A's findings of gallbladder, pancreas, portal vein and spleen."""

from dataclasses import replace

import numpy as np

from preprocess.simulate.area import Area, along, extent_mm, middle, midline, mm_within, place, tip
from preprocess.simulate.course import courses
from preprocess.simulate.lesions_liver import WATER_HU, hemangioma, vein_hu
from preprocess.simulate.paint import between, cover, infiltrate, layer, lining, mottled, rise, stamp
from preprocess.simulate.recipe import Note, Recipe
from preprocess.simulate.scene import Mask
from preprocess.simulate.shapes import Vector, ball, bent, draw_waves, lobed, rind, tube, wave_field

_WALL = {"native": 42.0, "arterial": 85.0, "portal": 105.0}
_POOR = {"native": 30.0, "arterial": 44.0, "portal": 45.0}
# dead tissue hardly enhances
_INFARCT = {"native": 28.0, "arterial": 35.0, "portal": 40.0}


def gallstone(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Lay one to four stones on the back wall of the gallbladder: calcified throughout, or at the rim."""
    count = int(rng.integers(1, 5))
    largest = 0.0
    for _ in range(count):
        radius = between(1.6, 7.5, severity) * float(rng.uniform(0.75, 1.1))
        centre = place(area, rng, depth_mm=2.5, low=(0.2, 0.72, 0.1), high=(0.8, 0.9, 0.8))
        calcium, rimmed = float(rng.uniform(320, 850)), bool(rng.uniform() < 0.3)
        stone = ball(centre, radius)
        if rimmed:
            stamp(area, stone, 60.0, rise(severity), within=area.organ)
            stone = rind(stone, 0.45 * radius)
        stamp(area, stone, calcium, rise(severity), within=area.organ)
        largest = max(largest, 2 * radius)
    return Note(size_mm=largest)


def cholecystitis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Thicken the gallbladder's wall inwards and outwards and surround it with fluid and stranding."""
    thick = between(0.0, 6.5, severity)
    soft = area.soft() & ~area.organ
    strength = rise(severity)
    cover(
        area,
        layer(area, area.organ, 0.35 * thick, 0.35 * thick + between(1.0, 6.0, severity), within=soft),
        12.0,
        strength,
    )
    cover(area, layer(area, area.organ, 0.0, 0.35 * thick, within=soft), _WALL[area.phase], strength)
    cover(area, lining(area, area.organ, 0.65 * thick), _WALL[area.phase], strength)
    infiltrate(area, area.organ, 8.0, 75.0, strength, rng)
    return Note(size_mm=max(thick, 1.0))


def adenomyomatosis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Thicken the wall of the fundus alone, with a row of small cysts in it."""
    fundus = tip(area, (0.0, -0.6, -0.8), share=0.04)
    to_fundus = ball(fundus, between(8.0, 20.0, severity))
    thick = between(0.0, 9.0, severity)
    near = to_fundus.distance(area.grid) < 0
    cover(area, lining(area, area.organ, thick) * near, _WALL[area.phase], rise(severity))
    soft = area.soft() & near
    cover(area, layer(area, area.organ, 0.0, 0.3 * thick, within=soft), _WALL[area.phase], rise(severity))
    for _ in range(5):
        centre = place(
            area, rng, low=(0, 0, 0), high=(1, 1, 1), mask=area.organ & near & (mm_within(area, area.organ) < 4)
        )
        stamp(area, ball(centre, between(0.8, 2.4, severity)), WATER_HU, rise(severity), within=area.soft())
    return Note(size_mm=max(thick, 1.0))


def section(area: Area, point: Vector) -> str:
    """Return head, body or tail of the pancreas for a point."""
    right, left = tip(area, (-1, 0, 0))[0], tip(area, (1, 0, 0))[0]
    share = (point[0] - right) / max(left - right, 1.0)
    return "head" if share < 0.35 else "body" if share < 0.7 else "tail"


def seat_in_gland(area: Area, share: float) -> Vector:
    """Return a point on the pancreas's axis at a share of the way from its head to its tail."""
    found = courses(area.scene.plan, "pancreas")
    line = found[0].points if found else midline(area, 0)
    line = line if line[0, 0] < line[-1, 0] else line[::-1]
    low, high = tip(area, (-1, 0, 0))[0], tip(area, (1, 0, 0))[0]
    seen = line[(line[:, 0] >= low - 6) & (line[:, 0] <= high + 6)]
    return along(seen if len(seen) > 1 else midline(area, 0), share)


def pancreas_cancer(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw one ill-defined mass that enhances less than the gland and bulges from it."""
    radius = between(5.0, 19.0, severity) * float(rng.uniform(0.85, 1.1))
    centre = seat_in_gland(area, float(rng.uniform(0.05, 0.95))) + rng.normal(scale=2.0, size=3)
    shape = lobed(ball(centre, radius), draw_waves(rng, 1.4 * radius), 0.12 * radius)
    paint = mottled(_POOR[area.phase], 8.0, draw_waves(rng, 9.0))
    stamp(area, shape, paint, rise(severity), within=area.soft(), label=area.number("pancreas"))
    return Note(part=section(area, centre), size_mm=2 * radius)


def pancreatitis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Make the gland low and uneven, with fluid and stranding round it."""
    strength = rise(severity)
    waves = draw_waves(rng, 22.0)
    drop = np.clip(20 + 12 * wave_field(area.grid, waves), 0, 45)
    area.hu[...] -= np.float32(strength) * drop * area.organ
    reach = between(0.5, 7.0, severity) * np.clip(1 + 0.4 * wave_field(area.grid, draw_waves(rng, 35.0)), 0.2, 1.4)
    fat = area.free() & (area.hu < -20)
    cover(area, layer(area, area.organ, 0.0, reach, within=fat), 14.0, strength)
    infiltrate(area, area.organ, 8.5, 85.0, strength, rng)
    return Note()


def duct_dilatation(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a water-density tube along the axis of the gland."""
    line = midline(area, 0, step_mm=9.0)
    width = between(0.8, 4.8, severity) * float(rng.uniform(0.9, 1.1))
    shape = tube(bent(line, 3 * len(line)), width * np.linspace(1.1, 0.8, 3 * len(line)))
    stamp(area, shape, WATER_HU, rise(severity), within=area.soft())
    return Note(size_mm=2 * width)


def pancreas_steatosis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Replace the gland by fat, more between its lobules."""
    fat = np.clip(0.55 + 0.25 * wave_field(area.grid, draw_waves(rng, 11.0)), 0.05, 1) * area.organ
    cover(area, np.asarray(fat, np.float32), -85.0, rise(severity))
    return Note()


def whole_organ(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Paint nothing: the body's plan already carries the change of size."""
    return Note(size_mm=float(extent_mm(area).max()))


def portal_hypertension(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw winding collateral veins beside the dilated splenic vein."""
    line = midline(area, 0, step_mm=8.0)
    for _ in range(5):
        start = along(line, float(rng.uniform(0.5, 1))) + rng.normal(scale=4.0, size=3)
        curve = bent(start + np.cumsum(np.vstack([np.zeros(3), rng.normal(scale=4.5, size=(4, 3))]), axis=0), 14)
        shape = tube(curve, between(0.6, 3.4, severity))
        stamp(area, shape, vein_hu(area), rise(severity), within=area.free() | area.organ)
    return Note(size_mm=between(12.0, 21.0, severity))


def portal_thrombosis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Fill a stretch of the vein with clot: low after contrast, a little high before."""
    line = midline(area, 0, step_mm=6.0)
    share = between(0.2, 0.75, severity)
    start = float(rng.uniform(0, 0.4)) * (1 - share)
    stretch = np.array([along(line, place_at) for place_at in np.linspace(start, start + share, 12)])
    clot = {"native": 64.0, "arterial": 36.0, "portal": 34.0}[area.phase]
    stamp(area, tube(stretch, between(5.0, 16.0, severity)), clot, rise(severity), within=area.organ)
    return Note(size_mm=float(np.linalg.norm(np.diff(stretch, axis=0), axis=1).sum()))


def infarction(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw one to three wedges that do not enhance, their base on the capsule."""
    heart_of_organ = middle(area)
    depth = mm_within(area, area.organ)
    for _ in range(int(rng.integers(1, 4))):
        edge = place(area, rng, mask=_outer(area, depth))
        axis = edge - heart_of_organ
        reach = max(float(np.linalg.norm(axis)), 1.0)
        axis /= reach
        length = between(0.35, 0.95, severity) * reach
        offset = area.grid.points - (edge - length * axis).astype(np.float32)[:, None, None, None]
        along = np.tensordot(axis.astype(np.float32), offset, 1)
        aside = np.sqrt(np.maximum(np.einsum("izyx,izyx->zyx", offset, offset) - along**2, 0))
        gap = (between(0.35, 0.75, severity) * along - aside) / np.float32(area.grid.step_mm)
        wedge = np.clip(gap + 0.5, 0, 1) * area.organ
        cover(area, np.asarray(wedge, np.float32), _INFARCT[area.phase], rise(severity))
    return Note()


def splenic_hemangioma(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a hemangioma as in the liver."""
    return replace(hemangioma(area, severity, rng), part=None)


def _outer(area: Area, depth: np.ndarray) -> Mask:
    return np.asarray(area.organ & (depth < max(4.0, area.grid.step_mm)))


RECIPES = {
    "pancreas.steatosis": Recipe(("pancreas",), pancreas_steatosis, whole=True),
    "pancreas.atrophy": Recipe(("pancreas",), whole_organ, whole=True),
    "pancreas.pancreatitis": Recipe(("pancreas",), pancreatitis, margin_mm=20),
    "pancreas.cancer": Recipe(("pancreas",), pancreas_cancer, margin_mm=20),
    "pancreas.duct_dilatation": Recipe(("pancreas",), duct_dilatation, margin_mm=6),
    "spleen.splenomegaly": Recipe(("spleen",), whole_organ, margin_mm=2, whole=True),
    "spleen.infarction": Recipe(("spleen",), infarction, margin_mm=4),
    "spleen.hemangioma": Recipe(("spleen",), splenic_hemangioma, margin_mm=4),
    "gallbladder.cholecystitis": Recipe(("gallbladder",), cholecystitis, margin_mm=20),
    "gallbladder.adenomyomatosis": Recipe(("gallbladder",), adenomyomatosis, margin_mm=10),
    "gallbladder.gallstone": Recipe(("gallbladder",), gallstone, margin_mm=4),
    "portal_vein.hypertension": Recipe(
        ("portal_vein_and_splenic_vein",), portal_hypertension, margin_mm=14, whole=True
    ),
    "portal_vein.thrombosis": Recipe(("portal_vein_and_splenic_vein",), portal_thrombosis, margin_mm=6),
}
