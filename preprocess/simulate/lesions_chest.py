"""Site A's findings of lungs and heart."""

import numpy as np

from preprocess.simulate.area import Area, extent_mm, middle, mm_within, place, tip
from preprocess.simulate.lesions_upper import whole_organ
from preprocess.simulate.paint import between, blend, cover, layer, mottled, rise, stamp
from preprocess.simulate.recipe import Note, Recipe
from preprocess.simulate.scene import Floats
from preprocess.simulate.shapes import Vector, ball, bent, draw_waves, lobed, tube, wave_field

_COLLAPSED = {"native": 32.0, "arterial": 75.0, "portal": 88.0}
_CONSOLIDATED = {"native": 28.0, "arterial": 55.0, "portal": 65.0}
_LOBE_WORDS = {"upper": "upper lobe", "middle": "middle lobe", "lower": "lower lobe"}


def lobe_at(area: Area, point: Vector) -> str | None:
    """Return the name of the lobe that a point lies in, as reports say it."""
    index = np.round(area.scene.index(point[None])[0]).astype(int)
    index = np.clip(index, 0, np.array(area.scene.labels.shape) - 1)
    name = area.scene.names.get(int(area.scene.labels[tuple(index)]), "")
    if not name.startswith("lung_"):
        return None
    _, height, _, side = name.split("_")
    return f"{side} {_LOBE_WORDS[height]}"


def pleura_depth(area: Area) -> Floats:
    """Return each voxel's depth in mm below the lungs' outer surface; airways and fissures do not count as surface."""
    lobes = area.mask([name for name in area.scene.names.values() if name.startswith("lung_")])
    air = (area.labels == 0) & (area.hu < -150)
    return mm_within(area, lobes | air)


def skin_of(area: Area, depth: Floats, thick: Floats) -> Floats:
    """Return the share of each voxel of the organ less than `thick` mm below the pleura, (z, y, x) in 0..1."""
    share = np.clip((thick - depth) / np.float32(area.grid.step_mm) + 0.5, 0, 1)
    return _f32(share * np.clip(thick / np.float32(area.grid.step_mm), 0, 1) * area.organ)


def atelectasis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Collapse the back and base of a lower lobe, and draw bands above it."""
    size = extent_mm(area)
    depth, height = area.grid.points[1] - tip(area, (0, 1, 0))[1], area.grid.points[2] - tip(area, (0, 0, -1))[2]
    low_back = np.clip(1.3 + depth / (0.6 * size[1]) - height / (0.7 * size[2]), 0, 1)
    thick = between(1.0, 27.0, severity) * float(rng.uniform(0.85, 1.15))
    rough = np.clip(1 + 0.35 * wave_field(area.grid, draw_waves(rng, 40.0)), 0.2, 1.8)
    share = skin_of(area, pleura_depth(area), _f32(thick * low_back * rough))
    cover(area, share, mottled(_COLLAPSED[area.phase], 10.0, draw_waves(rng, 12.0)), rise(severity))
    for _ in range(3):
        start = place(area, rng, low=(0.2, 0.4, 0.1), high=(0.8, 0.8, 0.45))
        normal = np.array([0.25, 0.25, 1.0]) * rng.normal(size=3) + np.array([0, 0, 1.0])
        normal /= np.linalg.norm(normal)
        offset = area.grid.points - start.astype(np.float32)[:, None, None, None]
        gap = np.abs(np.tensordot(normal.astype(np.float32), offset, 1)) - np.float32(between(0.4, 2.5, severity))
        near = np.einsum("izyx,izyx->zyx", offset, offset) < between(12, 32, severity) ** 2
        band = np.clip(0.5 - gap / np.float32(area.grid.step_mm), 0, 1) * near * area.organ
        cover(area, np.asarray(band, np.float32), _COLLAPSED[area.phase] - 30, 0.9 * rise(severity))
    return Note(part=f"{area.side} lower lobe")


def pneumonia(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw patches of consolidation with air bronchograms in a halo of ground glass."""
    centre = place(area, rng, depth_mm=10)
    for index in range(int(rng.integers(2, 5))):
        radius = between(7.0, 30.0, severity) * float(rng.uniform(0.6, 1.1))
        spot = centre if index == 0 else centre + rng.normal(scale=1.1 * radius, size=3)
        glass = lobed(ball(spot, 1.25 * radius), draw_waves(rng, 1.3 * radius), 0.22 * radius)
        stamp(area, glass, mottled(-560.0, 60.0, draw_waves(rng, 14.0)), 0.9 * rise(severity), within=area.organ)
        firm = lobed(ball(spot, 0.8 * radius), draw_waves(rng, radius), 0.2 * radius)
        paint = mottled(_CONSOLIDATED[area.phase], 22.0, draw_waves(rng, 10.0))
        stamp(area, firm, paint, rise(severity), within=area.organ)
        for _ in range(3):
            heading = rng.normal(size=3)
            line = np.stack([spot - 0.5 * radius * heading / 2, spot + 0.7 * radius * heading / 2])
            stamp(area, tube(line, 1.3), -800.0, rise(severity), within=area.organ)
    return Note(part=lobe_at(area, centre))


def bronchiectasis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw wide, thick-walled bronchi from the root of the lung into one lobe, each beside its artery."""
    inwards = -1.0 if area.side == "left" else 1.0
    root = middle(area) + np.array([inwards * 0.35, 0.0, 0.25]) * extent_mm(area)
    width = between(1.0, 5.5, severity)
    for _ in range(9):
        end = place(area, rng, depth_mm=8, low=(0.1, 0.2, 0.05), high=(0.9, 0.9, 0.75))
        start = root + 0.3 * (end - root)
        sway = rng.normal(scale=0.1 * float(np.linalg.norm(end - start)), size=3)
        curve = bent([start, (start + end) / 2 + sway, end], 12)
        bulge = 1 + 0.3 * np.sin(np.linspace(0, 9, 12) + rng.uniform(0, 6))
        artery = tube(curve + np.array([0.0, width + 2.5, 0.0]), between(0.5, 2.0, severity))
        wall = between(0.5, 2.2, severity)
        stamp(area, artery, 40.0, rise(severity), within=area.organ)
        stamp(area, tube(curve, width * bulge + wall), 10.0, rise(severity), within=area.organ)
        stamp(area, tube(curve, width * bulge), -960.0, rise(severity), within=area.organ)
    return Note(part=f"{area.side} lower lobe")


def emphysema(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Riddle the lungs with holes without walls, most in the upper parts."""
    low, high = tip(area, (0, 0, -1))[2], tip(area, (0, 0, 1))[2]
    upper = (area.grid.points[2] - low) / max(high - low, 1.0)
    limit = between(2.0, 0.15, severity) + 0.5 * (0.75 - upper)
    field = wave_field(area.grid, draw_waves(rng, 22.0, count=24))
    holes = np.clip((field - limit) / 0.35, 0, 1) * area.organ
    cover(area, np.asarray(holes, np.float32), -990.0, rise(severity))
    return Note()


def pleural_effusion(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Let fluid settle behind and below the lung, rising along the wall, and press the lung next to it together."""
    size, centre = extent_mm(area), middle(area)
    left, back, head = area.grid.points
    outwards = (left - centre[0]) / (0.5 * size[0])
    score = (back - centre[1]) / size[1] - 0.22 * (head - centre[2]) / size[2] + 0.05 * outwards**2
    score = np.asarray(score, np.float32)
    filled = between(0.004, 0.36, severity) * float(rng.uniform(0.85, 1.1))
    level = float(np.quantile(score[area.organ], 1 - filled))
    soft = np.float32(area.grid.step_mm / size[1])
    fluid = np.clip((score - level) / soft + 0.5, 0, 1) * area.organ
    pressed = np.clip((score - level) * size[1] / between(3.0, 14.0, severity) + 1, 0, 1) * area.organ
    blend(area.hu, _f32(pressed * 0.75 * rise(severity)), _COLLAPSED[area.phase] - 40)
    cover(area, _f32(fluid), float(rng.uniform(2, 16)), rise(severity), label=0)
    return Note()


def pericardial_effusion(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Surround the heart by fluid, deepest behind and below."""
    offset = area.grid.points - middle(area).astype(np.float32)[:, None, None, None]
    length = np.sqrt(np.einsum("izyx,izyx->zyx", offset, offset)) + 1
    dependent = (0.6 * offset[1] - 0.6 * offset[2]) / length
    depth = between(0.3, 12.0, severity) * float(rng.uniform(0.9, 1.1)) * np.clip(1 + 0.7 * dependent, 0.3, 2)
    lungs = area.mask([name for name in area.scene.names.values() if name.startswith("lung_")])
    share = layer(area, area.organ, 0.0, _f32(depth), within=lungs | area.free())
    cover(area, share, float(rng.uniform(4, 16)), rise(severity), label=0)
    return Note(size_mm=max(between(0.3, 12.0, severity) * 1.4, 1.0))


def _f32(values: np.ndarray) -> Floats:
    return np.asarray(values, np.float32)


LUNG = tuple(f"lung_{lobe}_lobe_{{side}}" for lobe in ("upper", "middle", "lower"))
LUNGS = tuple(name.format(side=side) for name in LUNG for side in ("left", "right"))
LOWER = ("lung_lower_lobe_{side}",)
HEART = ("heart", "atrial_appendage_left")
RECIPES = {
    "lung.emphysema": Recipe(LUNGS, emphysema, margin_mm=0),
    "lung.bronchiectasis": Recipe(LOWER, bronchiectasis, margin_mm=2, both=0.4),
    "lung.pneumonia": Recipe(LUNG, pneumonia, margin_mm=2, both=0.3),
    "lung.atelectasis": Recipe(LOWER, atelectasis, margin_mm=2, both=0.4),
    "lung.pleural_effusion": Recipe(LUNG, pleural_effusion, margin_mm=2, both=0.4),
    "heart.cardiomegaly": Recipe(HEART, whole_organ, margin_mm=2, whole=True),
    "heart.pericardial_effusion": Recipe(HEART, pericardial_effusion, margin_mm=32),
}
