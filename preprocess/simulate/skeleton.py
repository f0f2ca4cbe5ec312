"""Bones and the large muscles beside them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from preprocess.simulate.envelope import thorax_at
from preprocess.simulate.frame import Frame, Point, smooth, spine_p
from preprocess.simulate.scene import Organ, Primitive
from preprocess.simulate.tissue import attenuation

MARROW_HU = 170.0
MUSCLES, BONES = 5, 6

VERTEBRAE: tuple[tuple[str, float, float], ...] = (
    # name, height S of the body's centre, body's height
    ("T1", 301, 17), ("T2", 281, 18), ("T3", 260, 19), ("T4", 238, 20), ("T5", 216, 20), ("T6", 193, 21),
    ("T7", 169, 22), ("T8", 144, 22), ("T9", 118, 23), ("T10", 91, 24), ("T11", 63, 25), ("T12", 33, 27),
    ("L1", 0, 29), ("L2", -36, 30), ("L3", -73, 31), ("L4", -110, 31), ("L5", -147, 30),
)  # fmt: skip
RIB_DROP = (22, 38, 52, 64, 74, 82, 88, 88, 80, 68, 48, 30)  # mm from the spine to the front end
RIB_END = (22, 20, 20, 20, 20, 22, 26, 36, 46, 58, 88, 112)  # degrees from the midline in front


def bone(structure: str, shapes: Sequence[Primitive], *, wall_mm: float = 3.0, priority: int = BONES) -> Organ:
    """Build a bone: cortex round marrow."""
    hu, texture = attenuation("cortex")
    return Organ(structure, tuple(shapes), hu, texture, MARROW_HU, wall_mm, priority)


def muscle(structure: str, shapes: Sequence[Primitive]) -> Organ:
    """Build a muscle."""
    hu, texture = attenuation("muscle")
    return Organ(structure, tuple(shapes), hu, texture, priority=MUSCLES)


def skeleton(frame: Frame) -> list[Organ]:
    """Build spine, ribs, sternum, shoulders, pelvis and thighs."""
    return [*_spine(frame), *_ribs(frame), *_breastbone(frame), *_shoulders(frame), *_sacrum(frame), *_pelvis(frame)]


def _spine(frame: Frame) -> list[Organ]:
    bones = []
    for name, s, height in VERTEBRAE:
        back, wide = spine_p(s), 14.0 + 0.30 * (height - 17)  # bodies grow downwards
        body = frame.ellipsoid((0, back, s), (wide * 1.25, wide, height * 0.56))
        arch = [
            frame.tube([(9.0 * side, back + wide * 0.7, s), (11.0 * side, back + 27, s - 4)], 4.0) for side in (-1, 1)
        ]
        roof = frame.tube([(-10, back + 27, s - 5), (0, back + 32, s - 7), (10, back + 27, s - 5)], 4.0)
        thorn = frame.tube([(0, back + 32, s - 7), (0, back + 52, s - 16)], [4.5, 3.5])
        wings = [frame.tube([(11 * side, back + 24, s), (34 * side, back + 26, s + 2)], [4.5, 3.5]) for side in (-1, 1)]
        bones.append(bone(f"vertebrae_{name}", (body, *arch, roof, thorn, *wings)))
    heights = np.linspace(-30, 335, 14)
    cord = frame.tube([(0, spine_p(float(s)) + 21, float(s)) for s in heights], 7.0)
    hu, texture = attenuation("cord")
    return [Organ("spinal_cord", (cord,), hu, texture, priority=MUSCLES), *bones]


def _ribs(frame: Frame) -> list[Organ]:
    ribs = []
    for number, (drop, end) in enumerate(zip(RIB_DROP, RIB_END, strict=True), start=1):
        start_s = VERTEBRAE[number - 1][1] + 8
        angles = np.deg2rad(np.linspace(158, end, 14 if number < 11 else 8))
        for side, word in ((-1, "right"), (1, "left")):
            path: list[Point] = [(24.0 * side, spine_p(start_s) + 8, start_s)]
            for step, angle in enumerate(angles):
                s = start_s - drop * (step / (len(angles) - 1)) ** 1.1
                width, depth, back = thorax_at(s)
                out = 6.5
                path.append(
                    (side * (width + out) * float(np.sin(angle)), back - (depth + out) * float(np.cos(angle)), s)
                )
            ribs.append(bone(f"rib_{word}_{number}", (frame.tube(path, 5.0),), wall_mm=2.5))
    return ribs


def _breastbone(frame: Frame) -> list[Organ]:
    def front(s: float) -> float:
        _, depth, back = thorax_at(s)
        return back - depth - 7.0

    sternum = [
        frame.ellipsoid((0, front(s), s), (18 if s > 220 else 15, 7, 17)) for s in (240, 220, 200, 180, 160, 140)
    ]
    strips = []
    for number in range(2, 8):
        s = VERTEBRAE[number - 1][1] + 8 - RIB_DROP[number - 1]
        top = min(s + 6.0 * (number - 2), 225.0)
        for side in (-1, 1):
            width, depth, back = thorax_at(s)
            angle = np.deg2rad(RIB_END[number - 1])
            end = (side * (width + 6.5) * float(np.sin(angle)), back - (depth + 6.5) * float(np.cos(angle)), s)
            strips.append(frame.tube([end, (14.0 * side, front(top) + 1, top)], 5.0))
    hu, texture = attenuation("cartilage")
    return [
        bone("sternum", sternum, wall_mm=2.5),
        Organ("costal_cartilages", tuple(strips), hu, texture, priority=BONES - 1),
    ]


def _shoulders(frame: Frame) -> list[Organ]:
    bones = []
    for side, word in ((-1, "right"), (1, "left")):
        blade = frame.ellipsoid((100 * side, 72, 215), (5, 32, 58), (0, -12 * side, -58 * side))
        bones.append(bone(f"scapula_{word}", (blade,), wall_mm=2.5))
        collar = frame.tube([(18 * side, -48, 262), (60 * side, -44, 276), (110 * side, -8, 292)], 6.0)
        bones.append(bone(f"clavicula_{word}", (collar,), wall_mm=2.5))
    return bones


def _sacrum(frame: Frame) -> list[Organ]:
    first = [frame.ellipsoid((0, 60, -180), (25, 17, 15))]
    wings = [frame.ellipsoid((33 * side, 70, -194), (22, 17, 24), (0, -18 * side, 0)) for side in (-1, 1)]
    rows = ((73, -206, 32, 14, 16), (84, -231, 27, 12, 16), (86, -254, 21, 10, 14), (79, -274, 13, 8, 12))
    lower = [frame.ellipsoid((0, back, s), (width, depth, height)) for back, s, width, depth, height in rows]
    return [bone("sacrum", (*wings, *lower)), bone("vertebrae_S1", first, priority=BONES + 1)]


def _pelvis(frame: Frame) -> list[Organ]:
    bones = []
    for side, word in ((-1, "right"), (1, "left")):
        wing = frame.ellipsoid((98 * side, 22, -152), (8, 52, 52), (0, 22 * side, -24 * side))
        joint = frame.tube([(62 * side, 68, -190), (76 * side, 52, -178), (88 * side, 30, -165)], [10, 11, 9])
        strut = frame.tube([(90 * side, 20, -185), (90 * side, 0, -240)], [16, 24])
        pubis = frame.tube([(80 * side, -28, -248), (45 * side, -52, -262), (9 * side, -52, -282)], [11, 8, 10])
        sit = frame.tube([(78 * side, 28, -250), (62 * side, 38, -305), (30 * side, -20, -312)], [13, 15, 8])
        bones.append(bone(f"hip_{word}", (wing, joint, strut, pubis, sit)))
        head = frame.ellipsoid((93 * side, -6, -246), (22, 22, 22))
        neck = frame.tube([(93 * side, -6, -246), (132 * side, 6, -268), (128 * side, 2, -345)], [15, 17, 15])
        bones.append(bone(f"femur_{word}", (head, neck), wall_mm=4.0, priority=BONES + 1))
    return bones


def muscles(frame: Frame) -> list[Organ]:
    """Build the back muscles, the hip flexors and the buttocks."""
    found = []
    heights = np.linspace(-200, 320, 14)
    for side, word in ((-1, "right"), (1, "left")):
        back = [(24.0 * side, spine_p(float(s)) + 38, float(s)) for s in heights]
        found.append(
            muscle(f"autochthon_{word}", (frame.tube(back, np.interp(heights, (-200, -60, 320), (16, 23, 13))),))
        )
        bend: list[Point] = [
            (24 * side, 36, 5), (36 * side, 38, -60), (48 * side, 34, -125), (68 * side, 12, -185),
            (84 * side, -34, -245), (92 * side, -16, -300),
        ]  # fmt: skip
        radii = np.interp(np.linspace(0, 1, 18), (0, 0.45, 0.8, 1), (9, 22, 20, 11))
        found.append(muscle(f"iliopsoas_{word}", (frame.tube(smooth(bend, 18), radii),)))
        big = frame.ellipsoid((72 * side, 82, -255), (55, 26, 62))
        mid = frame.ellipsoid((118 * side, 38, -195), (24, 48, 52))
        found += [muscle(f"gluteus_maximus_{word}", (big,)), muscle(f"gluteus_medius_{word}", (mid,))]
    return [replace(organ, texture_hu=9.0) for organ in found]
