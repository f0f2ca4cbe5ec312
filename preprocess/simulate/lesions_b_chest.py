"""Site B's findings of lungs and heart."""

import numpy as np

from preprocess.simulate.area import Area, extent_mm, middle, place
from preprocess.simulate.blobs import blob, gain, patches, sized, speckled, uneven
from preprocess.simulate.lesions_chest import HEART, LOWER, LUNG, LUNGS, lobe_at, pleura_depth, skin_of
from preprocess.simulate.lesions_upper import whole_organ
from preprocess.simulate.paint import blend, cover, layer, stamp
from preprocess.simulate.recipe import Note, Recipe
from preprocess.simulate.shapes import ball, draw_waves, wander

_AIRLESS = {"native": 36.0, "arterial": 68.0, "portal": 80.0}


def atelectasis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Collapse a wedge of the lower lobe from the root outwards, and fold a round mass onto the pleura."""
    inwards = -1.0 if area.side == "left" else 1.0
    size = extent_mm(area)
    toward = (area.grid.points - middle(area).astype(np.float32)[:, None, None, None]) / size[:, None, None, None]
    score = inwards * toward[0] + 0.5 * toward[1] - 0.9 * toward[2]
    score = np.asarray(score + 0.12 * np.log(uneven(area, rng, 50.0, 1.0)), np.float32)
    share = 0.012 * (34**severity) * float(np.exp(rng.normal(0, 0.1)))
    level = float(np.quantile(score[area.organ], 1 - min(share, 0.6)))
    edge = np.float32(area.grid.step_mm / size.mean())
    wedge = np.clip((score - level) / edge + 0.5, 0, 1) * area.organ
    cover(area, np.asarray(wedge, np.float32), speckled(_AIRLESS[area.phase], 12, rng, 10.0), gain(severity))
    seat = place(area, rng, mask=area.organ & (pleura_depth(area) < 7), low=(0, 0.6, 0.1))
    lump = blob(rng, seat, sized(4, 13, severity, rng))
    stamp(area, lump, _AIRLESS[area.phase], gain(severity), within=area.organ)
    return Note(part=f"{area.side} lower lobe")


def pneumonia(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Scatter ground glass and denser cores in the outer and rear lung."""
    outer = np.clip(1.25 - pleura_depth(area) / 34, 0, 1)
    rear = np.clip(0.9 + (area.grid.points[1] - middle(area)[1]) / extent_mm(area)[1], 0.2, 1.2)
    glass = patches(area.grid, draw_waves(rng, 62.0, count=18), 0.06 + 0.36 * severity)
    glass = np.asarray(glass * (outer * rear > 0.45) * area.organ, np.float32)
    cover(area, glass, speckled(-640.0, 70, rng, 12.0), 0.85 * gain(severity))
    core = patches(area.grid, draw_waves(rng, 24.0, count=18), 0.12 + 0.3 * severity)
    cover(area, np.asarray(core * glass, np.float32), speckled(-60.0, 60, rng, 9.0), gain(severity))
    dense = area.hu - area.hu_before > 60
    strongest = np.argwhere(dense)
    if len(strongest) == 0:
        return Note()
    spot = area.grid.affine[:3, :3] @ strongest[len(strongest) // 2] + area.grid.affine[:3, 3]
    return Note(part=lobe_at(area, spot))


def bronchiectasis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw strings of thick-walled cysts along airways in the lower lobe."""
    width = sized(2.0, 6.2, severity, rng)
    wall = sized(0.8, 2.2, severity, rng)
    for _ in range(7):
        start = place(area, rng, depth_mm=10, high=(1, 1, 0.7))
        line = wander(rng, start, rng.normal(size=3) * (1, 1, 0.6), length_mm=34.0, steps=4, turn=0.35)
        sizes = width * np.exp(rng.normal(0, 0.25, size=len(line)))
        for point, size in zip(line, sizes, strict=True):
            stamp(area, ball(point, size + wall), 0.0, gain(severity), within=area.organ)
        for point, size in zip(line, sizes, strict=True):
            stamp(area, ball(point, size), -960.0, gain(severity), within=area.organ)
    return Note(part=f"{area.side} lower lobe")


def emphysema(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Thin the lungs all over and blow up thin-walled bullae under the pleura of the upper parts."""
    area.hu[...] -= np.float32(55 * gain(severity)) * (area.organ & (area.hu < -600))
    rim = area.organ & (pleura_depth(area) < 9)
    for _ in range(22):
        centre = place(area, rng, low=(0, 0, 0.5), mask=rim)
        radius = sized(3.5, 16, severity, rng, 0.35)
        stamp(area, ball(centre, radius + 1.0), -650.0, 0.7 * gain(severity), within=area.organ)
        stamp(area, ball(centre, radius), -985.0, gain(severity), within=area.organ)
    return Note()


def pleural_effusion(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a walled-off collection along the back and side of the chest, and fluid in the recess below."""
    inwards = -1.0 if area.side == "left" else 1.0
    size, centre = extent_mm(area), middle(area)
    toward = (area.grid.points - centre.astype(np.float32)[:, None, None, None]) / size[:, None, None, None]
    height = float(rng.uniform(-0.35, 0.0))
    seat = np.exp(-(((toward[2] - height) / 0.3) ** 2)) * np.clip(
        0.6 + 1.6 * toward[1] - 0.8 * inwards * toward[0], 0, 1.4
    )
    thick = np.asarray(sized(3.0, 44.0, severity, rng) * seat * uneven(area, rng, 70.0, 0.2), np.float32)
    base = np.clip(sized(2.0, 26.0, severity, rng) * (toward[2] < -0.33), 0, None) * np.clip(
        0.4 + 1.3 * toward[1], 0, 1
    )
    thick = np.maximum(thick, np.asarray(base, np.float32))
    depth = pleura_depth(area)
    fluid = skin_of(area, depth, thick)
    squeezed = np.maximum(skin_of(area, depth, 1.35 * thick) - fluid, 0)
    blend(area.hu, squeezed * np.float32(0.6 * gain(severity)), _AIRLESS[area.phase] - 30)
    cover(area, fluid, float(rng.uniform(6, 24)), gain(severity), label=0)
    return Note()


def pericardial_effusion(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Surround the heart with fluid of uneven depth all round, in front as well as behind."""
    depth = np.float32(sized(1.2, 12.0, severity, rng)) * uneven(area, rng, 75.0, 0.3)
    lungs = area.mask([name for name in area.scene.names.values() if name.startswith("lung_")])
    share = layer(area, area.organ, 0.0, depth, within=lungs | area.free())
    cover(area, share, float(rng.uniform(8, 28)), gain(severity), label=0)
    return Note(size_mm=float(np.median(depth)))


RECIPES = {
    "lung.emphysema": Recipe(LUNGS, emphysema, margin_mm=0),
    "lung.bronchiectasis": Recipe(LOWER, bronchiectasis, margin_mm=2, both=0.5),
    "lung.pneumonia": Recipe(LUNG, pneumonia, margin_mm=2, both=0.5),
    "lung.atelectasis": Recipe(LOWER, atelectasis, margin_mm=2, both=0.3),
    "lung.pleural_effusion": Recipe(LUNG, pleural_effusion, margin_mm=2, both=0.3),
    "heart.cardiomegaly": Recipe(HEART, whole_organ, margin_mm=2, whole=True),
    "heart.pericardial_effusion": Recipe(HEART, pericardial_effusion, margin_mm=32),
}
