"""The outline of a body and its inner spaces: skin, fat, muscle wall, pleural space, mediastinum, abdominal cavity."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from preprocess.simulate.frame import Frame, spine_p
from preprocess.simulate.scene import Ellipsoid, Organ, Primitive, Tube
from preprocess.simulate.tissue import attenuation

# Rows: height S, half width L, half depth P, centre P; reference millimetres.
MUSCLE_WALL = (
    (-350, 150, 86, 4),
    (-290, 160, 92, 8),
    (-230, 158, 92, 12),
    (-165, 146, 88, 8),
    (-100, 138, 86, 4),
    (-35, 138, 88, 2),
    (35, 143, 95, 1),
    (105, 150, 103, 0),
    (170, 155, 104, 4),
    (230, 160, 95, 12),
    (280, 165, 78, 22),
    (325, 120, 62, 26),
    (370, 70, 55, 26),
)
THORAX = (
    (45, 127, 84, 2),
    (85, 131, 90, 0),
    (125, 132, 92, 0),
    (165, 129, 90, 5),
    (205, 118, 82, 11),
    (240, 101, 70, 19),
    (268, 80, 57, 26),
    (290, 58, 43, 30),
)
ABDOMEN = (
    (-285, 52, 55, 0),
    (-240, 72, 66, 0),
    (-190, 96, 74, -3),
    (-140, 116, 76, -4),
    (-85, 122, 78, -3),
    (-30, 124, 80, -2),
    (15, 126, 82, 0),
)
REACH_MM = 105.0  # half height of each ellipsoid that the outline is made of
FAT_BY_HEIGHT = ((-350, 1.7), (-230, 1.8), (-100, 1.3), (0, 1.0), (105, 0.75), (230, 0.7), (330, 0.5))


def thorax_at(s: float) -> tuple[float, float, float]:
    """Half width, half depth and centre P of the pleural space at height `s` of the reference, in mm."""
    heights = [row[0] for row in THORAX]
    width, depth, back = (float(np.interp(s, heights, [row[k] for row in THORAX])) for k in (1, 2, 3))
    return width, depth, back


def trunk(frame: Frame) -> tuple[Primitive, ...]:
    """Build the skin's surface: the muscle wall plus fat, thicker in front and below, and breasts in women."""
    heights, factors = zip(*FAT_BY_HEIGHT, strict=True)
    shapes: list[Primitive] = []
    for s, width, depth, back in MUSCLE_WALL:
        fat = frame.fat_mm * float(np.interp(s, heights, factors))
        front = _belly(frame, s)
        grown = frame.ellipsoid((0.0, back - front / 2 - 0.1 * fat, s), (width, depth + front / 2, REACH_MM))
        left, deep, high = grown.radii
        shapes.append(replace(grown, radii=(left + fat, deep + 0.8 * fat, high)))
    if frame.sex == "F":
        size = 30.0 + 0.9 * frame.fat_mm
        shapes += [
            frame.ellipsoid((74.0 * side, -88.0, 152.0), (1.25 * size, 0.85 * size, 1.15 * size)) for side in (-1, 1)
        ]
    return tuple(shapes)


def _belly(frame: Frame, s: float) -> float:
    """How far the front of the abdomen bulges at height `s`, in mm."""
    return frame.belly_mm * float(np.exp(-(((s + 55.0) / 110.0) ** 2)))


def spaces(frame: Frame) -> list[Organ]:
    """Build the layers that organs lie in, from the muscle wall inwards."""
    wall = [
        frame.ellipsoid((0, back - _belly(frame, s) / 2, s), (width, depth + _belly(frame, s) / 2, REACH_MM))
        for s, width, depth, back in MUSCLE_WALL
    ]
    pleura = [frame.ellipsoid((0, back, s), (width, depth, 48 if s < 250 else 34)) for s, width, depth, back in THORAX]
    return [
        _layer("muscle_wall", wall, "muscle", 0),
        _layer("pleural_cavity", pleura, "lung", 1),
        _layer("mediastinum", _mediastinum(frame), "fat", 3),
        _layer("paraspinal", [_column(frame)], "muscle", 3),
        replace(_layer("abdominal_cavity", _abdomen(frame), "muscle", 4), content_hu=-103.0, wall_mm=3.5),
    ]


def _mediastinum(frame: Frame) -> list[Ellipsoid]:
    rows = (
        (100, 24, 84, 0),
        (150, 22, 84, 4),
        (200, 25, 78, 8),
        (245, 30, 62, 14),
        (285, 34, 42, 22),
        (315, 40, 36, 26),
    )
    return [frame.ellipsoid((4, back, s), (width, depth, 45)) for s, width, depth, back in rows]


def _column(frame: Frame) -> Tube:
    """Build the tissue between the spine and the lungs."""
    heights = [float(s) for s in np.linspace(20, 330, 12)]
    return frame.tube([(0.0, spine_p(s) + 18, s) for s in heights], 30.0)


def _abdomen(frame: Frame) -> list[Ellipsoid]:
    """Build the abdominal cavity with its two domes, the right one higher."""
    tube = [
        frame.ellipsoid((0, back - _belly(frame, s) / 2, s), (width, depth + _belly(frame, s) / 2, 60))
        for s, width, depth, back in ABDOMEN
    ]
    domes = [
        frame.ellipsoid((-58, -8, 30), (68, 76, 82)),
        frame.ellipsoid((58, -4, 28), (66, 74, 72)),
        frame.ellipsoid((0, -30, 30), (60, 52, 66)),
    ]
    return tube + domes


def _layer(name: str, shapes: Sequence[Primitive], tissue: str, priority: int) -> Organ:
    hu, texture = attenuation(tissue)
    return Organ(name, tuple(shapes), hu, texture, priority=priority)
