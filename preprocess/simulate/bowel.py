"""The gut below the stomach: duodenum, convoluted small bowel, and the colon that frames it."""

import numpy as np

from preprocess.simulate.chest import hollow
from preprocess.simulate.frame import Frame, Point, smooth
from preprocess.simulate.scene import Organ, Tube

SMALL_BOWEL, COLON, DUODENUM = 10, 12, 16


def duodenum(frame: Frame, rng: np.random.Generator) -> list[Organ]:
    """Build the C of the duodenum round the head of the pancreas."""
    own = frame.organ(rng, (-30, -15, -20), shift_mm=2.5, size_sd=0.06)
    way: list[Point] = [
        (-22, -38, -4), (-44, -28, 0), (-50, -12, -18), (-48, -4, -46), (-26, 0, -62), (8, -12, -60), (32, -18, -46)
    ]  # fmt: skip
    tube = own.tube(smooth(way, 22), 11.0)
    return [hollow("duodenum", (tube,), "gut_wall", DUODENUM, content_hu=15.0, wall_mm=3.0)]


def small_bowel(frame: Frame, rng: np.random.Generator) -> list[Organ]:
    """Build loops that run to and fro inside the colon's frame, row after row downwards."""
    own = frame.organ(rng, (0, -35, -120), shift_mm=3.0, size_sd=0.04)
    radius = float(rng.uniform(10.5, 13.0))
    shapes: list[Tube] = []
    for depth, top in ((-60.0, -50.0), (-31.0, -72.0), (-4.0, -78.0)):
        points: list[Point] = []
        side = 1
        for row, s in enumerate(np.arange(top, -212.0, -2.2 * radius)):
            wide = float(np.interp(s, (-210, -170, -100, -48), (52, 74, 84, 66)))
            for share in (-1.0, -0.55, -0.1, 0.35, 0.8):
                jitter = rng.normal(0.0, (5.0, 6.0, 5.0))
                lift = 6.0 * np.sin(2.5 * share + row)
                points.append(
                    (side * share * wide + jitter[0], depth + jitter[1] - 8 * np.cos(share), s + lift + jitter[2])
                )
            side = -side
        count = 3 * len(points)
        radii = radius * (
            1 + 0.14 * np.sin(np.arange(count) * float(rng.uniform(0.6, 1.1))) + rng.normal(0, 0.05, count)
        )
        shapes.append(own.tube(smooth(points, count), radii))
    return [hollow("small_bowel", tuple(shapes), "gut_wall", SMALL_BOWEL, content_hu=16.0, wall_mm=3.0)]


def colon(frame: Frame, rng: np.random.Generator) -> list[Organ]:
    """Build the colon from the caecum over both flexures to the anus, with haustra and an appendix."""
    own = frame.organ(rng, (0, -20, -90), shift_mm=3.0, size_sd=0.02)
    sag = float(rng.uniform(-35, 15))  # of the transverse colon
    loop = float(rng.uniform(-20, 30))  # of the sigmoid
    way: list[Point] = [
        (-88, -24, -168), (-96, -10, -135), (-102, 4, -85), (-98, 0, -40), (-78, -46, -36), (-36, -70, -52 + sag / 2),
        (12, -76, -58 + sag), (58, -68, -34 + sag / 2), (96, -28, 4), (112, 14, 16), (112, 24, -30), (110, 20, -90),
        (102, 6, -140), (84, -2, -172), (56, -26, -182 + loop), (24, -22, -190 + loop), (6, 14, -188), (2, 44, -206),
        (0, 56, -232), (0, 54, -262), (0, 40, -292), (0, 46, -318),
    ]  # fmt: skip
    count = 110
    along = np.linspace(0, 1, count)
    base = np.interp(along, (0, 0.05, 0.25, 0.45, 0.62, 0.8, 0.86, 0.94, 1), (23, 25, 21, 18, 15, 14, 19, 18, 9))
    base *= float(rng.uniform(0.9, 1.12))
    wave = 1 + np.where(along < 0.82, 0.16, 0.05) * np.sin(np.arange(count) * 1.55 + rng.uniform(0, 6))
    tube = own.tube(smooth(way, count), base * wave * (1 + rng.normal(0, 0.03, count)))
    drop = float(rng.uniform(-15, 15))
    tail: list[Point] = [(-78, -16, -168), (-66, -6, -178 + drop), (-54, 0, -192 + drop), (-48, 4, -204 + drop)]
    appendix = own.tube(smooth(tail, 8), 4.5)
    return [hollow("colon", (tube, appendix), "gut_wall", COLON, content_hu=25.0, wall_mm=2.8)]
