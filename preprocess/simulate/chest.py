"""Organs of the chest: lobes and their vessels, airways, heart, great vessels, esophagus."""

from collections.abc import Sequence

import numpy as np

from preprocess.simulate.frame import Frame, Point, smooth, spine_p
from preprocess.simulate.scene import Organ, Primitive, Tube
from preprocess.simulate.tissue import attenuation

LOBES: dict[str, Point] = {
    # A lobe is the part of the pleural space that is nearer to its seed than to any other.
    "lung_upper_lobe_right": (-62, -36, 214),
    "lung_middle_lobe_right": (-62, -50, 108),
    "lung_lower_lobe_right": (-62, 44, 126),
    "lung_upper_lobe_left": (62, -40, 204),
    "lung_lower_lobe_left": (62, 40, 124),
}
LOBE_RADIUS_MM = 60.0
LOBE_PRIORITY, VESSELS, HEART, ESOPHAGUS = 2, 8, 9, 12


def solid(structure: str, shapes: Sequence[Primitive], tissue: str, priority: int) -> Organ:
    """Build an organ of one tissue."""
    hu, texture = attenuation(tissue)
    return Organ(structure, tuple(shapes), hu, texture, priority=priority)


def hollow(
    structure: str, shapes: Sequence[Primitive], tissue: str, priority: int, *, content_hu: float, wall_mm: float
) -> Organ:
    """Build an organ with a lumen."""
    hu, texture = attenuation(tissue)
    return Organ(structure, tuple(shapes), hu, texture, content_hu, wall_mm, priority)


def lungs(frame: Frame, rng: np.random.Generator) -> list[Organ]:
    """Build the five lobes and the branching vessels inside them."""
    lobes = []
    for name, seed in LOBES.items():
        moved = frame.organ(rng, seed, shift_mm=4.0, size_sd=0.0)
        lobes.append(solid(name, (moved.ellipsoid(seed, (LOBE_RADIUS_MM,) * 3),), "lung", LOBE_PRIORITY))
    vessels: list[Primitive] = []
    for side in (-1, 1):
        root: Point = (30.0 * side, 8.0, 192.0)
        vessels += _branches(frame, rng, root, side)
    return [*lobes, solid("lung_vessels", vessels, "lung_vessel", LOBE_PRIORITY + 1)]


def _branches(frame: Frame, rng: np.random.Generator, root: Point, side: int) -> list[Tube]:
    """Build branching vessels from the root of one lung, thinner with every generation."""
    tubes = []
    for _ in range(16):
        way = rng.normal(0.0, 1.0, 3) * (0.7, 1.0, 1.3) - (0.0, 0.0, 0.35)
        way[0] = side * (0.35 + abs(way[0]))
        way /= np.linalg.norm(way)
        stem = np.array(root)
        for radius, length, forks in ((4.4, 40.0, 2), (3.0, 36.0, 3), (2.2, 34.0, 2)):
            bent = way + rng.normal(0.0, 0.25, 3)
            tip = stem + bent / np.linalg.norm(bent) * length
            tubes.append(frame.tube([_point(stem), _point(tip)], [radius, radius * 0.75]))
            for _ in range(forks):
                aside = way + rng.normal(0.0, 0.55, 3)
                end = tip + aside / np.linalg.norm(aside) * length * 0.9
                tubes.append(frame.tube([_point(tip), _point(end)], [radius * 0.65, radius * 0.45]))
            stem, way = tip, bent
    return tubes


def _point(values: np.ndarray) -> Point:
    left, back, head = values.tolist()
    return left, back, head


def airways(frame: Frame) -> list[Organ]:
    """Build the trachea and the main bronchi (unlabelled beyond the carina), and the thyroid."""
    windpipe = frame.tube([(0, -4, 345), (0, 6, 290), (0, 14, 226)], 9.5)
    main = [
        frame.tube([(0, 14, 228), (-22, 16, 206), (-44, 18, 188)], [8, 7, 5]),
        frame.tube([(0, 14, 228), (24, 18, 208), (48, 22, 194)], [8, 6.5, 5]),
    ]
    small = [
        frame.tube([(-44, 18, 188), (-60, 30, 150), (-66, 38, 110)], [4.5, 3.5, 2]),
        frame.tube([(48, 22, 194), (60, 34, 150), (66, 40, 112)], [4.5, 3.5, 2]),
        frame.tube([(-40, 17, 192), (-58, 0, 225)], [4, 2.2]),
        frame.tube([(46, 20, 196), (60, -4, 225)], [4, 2.2]),
    ]
    air = -990.0
    lobes = [frame.ellipsoid((17 * side, -12, 330), (9, 10, 20)) for side in (-1, 1)]
    return [
        hollow("bronchi", (*main, *small), "airway_wall", VESSELS, content_hu=air, wall_mm=1.2),
        hollow("trachea", (windpipe,), "airway_wall", VESSELS + 1, content_hu=air, wall_mm=1.5),
        solid("thyroid_gland", lobes, "thyroid", VESSELS),
    ]


def heart(frame: Frame, rng: np.random.Generator) -> list[Organ]:
    """Build the heart in its fat, its chambers, and the left atrial appendage."""
    own = frame.organ(rng, (22, -28, 148), shift_mm=4.0, size_sd=0.05)
    turn: Point = (0, 28, -32)
    outer = [own.ellipsoid((28, -34, 138), (58, 42, 42), turn), own.ellipsoid((4, -12, 168), (44, 38, 34))]
    rim = [own.ellipsoid((28, -34, 138), (65, 48, 48), turn), own.ellipsoid((4, -12, 168), (49, 43, 40))]
    left = [own.ellipsoid((44, -28, 130), (30, 19, 19), turn), own.ellipsoid((12, 10, 168), (27, 17, 18))]
    right = [own.ellipsoid((14, -52, 136), (32, 15, 24), turn), own.ellipsoid((-24, -22, 152), (17, 22, 25))]
    ear = own.ellipsoid((48, -12, 190), (15, 12, 9), (0, 20, -35))
    return [
        solid("pericardial_fat", rim, "fat", HEART - 1),
        solid("heart", outer, "myocardium", HEART),
        solid("heart_left_blood", left, "blood_arterial", HEART + 1),
        solid("heart_right_blood", right, "blood_right_heart", HEART + 1),
        solid("atrial_appendage_left", (ear,), "blood_arterial", HEART + 1),
    ]


def great_vessels(frame: Frame) -> list[Organ]:
    """Build the arteries and veins of chest, abdomen and pelvis."""
    fore = spine_p

    def beside(s: float, left: float) -> Point:
        return (left, fore(s) - 29, s)

    arch: list[Point] = [(4, -20, 186), (-14, -28, 214), (-8, -18, 242), (8, 4, 256), (20, 26, 246), (24, 40, 222)]
    aorta = smooth(
        [*arch, (22, fore(170) - 18, 170), beside(91, 14), beside(20, 8), beside(-45, 6), beside(-108, 4)], 30
    )
    radii = np.interp(np.linspace(0, 1, 30), (0, 0.35, 0.6, 1), (16, 14, 12, 9))
    cava = smooth([beside(-108, -14), beside(-40, -17), (-18, fore(30) - 32, 30), (-20, 6, 80), (-22, -8, 125)], 16)
    lung_trunk = [
        frame.tube([(20, -48, 180), (18, -26, 204), (6, -2, 206), (-38, 6, 200)], [14, 13, 10, 8]),
        frame.tube([(18, -24, 206), (40, 10, 208)], [12, 8]),
    ]
    veins = [frame.tube([(14 * side, 12, 172), (48 * side, 20, 166)], [7, 5]) for side in (-1, 1)]
    return [
        *_paired_vessels(frame),
        solid("aorta", (frame.tube(aorta, radii),), "blood_arterial", VESSELS),
        solid("inferior_vena_cava", (frame.tube(cava, 11.0),), "blood_venous", VESSELS),
        solid(
            "superior_vena_cava", (frame.tube([(-24, -14, 165), (-26, -16, 250)], 9.0),), "blood_venous", VESSELS + 2
        ),
        solid("pulmonary_artery", lung_trunk, "blood_right_heart", VESSELS + 2),
        solid("pulmonary_vein", veins, "blood_arterial", VESSELS),
        solid("brachiocephalic_trunk", (frame.tube([(-8, -14, 250), (-24, -2, 300)], 6.0),), "blood_arterial", VESSELS),
        solid("common_carotid_artery_left", (frame.tube([(6, 0, 254), (20, 2, 340)], 4.5),), "blood_arterial", VESSELS),
        solid("subclavian_artery_left", (frame.tube([(16, 16, 252), (30, 20, 305)], 5.0),), "blood_arterial", VESSELS),
    ]


def _paired_vessels(frame: Frame) -> list[Organ]:
    """Build the iliac arteries and veins, and the brachiocephalic veins."""
    found: list[Organ] = []
    for side, word in ((-1, "right"), (1, "left")):
        way: list[Point] = [
            (4 + 3 * side, 4, -104),
            (30 * side, 16, -150),
            (58 * side, 14, -195),
            (72 * side, -44, -252),
        ]
        found.append(solid(f"iliac_artery_{word}", (frame.tube(smooth(way, 10), 5.5),), "blood_arterial", VESSELS))
        deep: list[Point] = [(left, back + 10, s - 4) for left, back, s in way[1:]]
        start: Point = (-14, 6, -110)
        found.append(
            solid(f"iliac_vena_{word}", (frame.tube(smooth([start, *deep], 10), 6.5),), "blood_venous", VESSELS)
        )
        head: list[Point] = [(-26 + 4 * (side + 1), -16, 248), (26 * side, -18, 268), (44 * side, -10, 300)]
        found.append(solid(f"brachiocephalic_vein_{word}", (frame.tube(head, 6.5),), "blood_venous", VESSELS))
    return found


def esophagus(frame: Frame, rng: np.random.Generator) -> list[Organ]:
    """Build the esophagus from the neck to the cardia."""
    own = frame.organ(rng, (4, 32, 200), shift_mm=1.5, size_sd=0.08)
    way: list[Point] = [
        (3, 16, 335),
        (3, 24, 280),
        (4, 33, 225),
        (-1, 34, 180),
        (4, 28, 130),
        (16, 16, 96),
        (38, 8, 72),
    ]
    tube = own.tube(smooth(way, 20), 9.0)
    return [hollow("esophagus", (tube,), "esophagus_wall", ESOPHAGUS, content_hu=5.0, wall_mm=4.5)]
