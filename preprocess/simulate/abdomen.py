"""Solid organs of the abdomen, the gallbladder, the bladder and the portal system."""

import numpy as np

from preprocess.simulate.chest import hollow, solid
from preprocess.simulate.frame import Frame, Point, smooth, spine_p
from preprocess.simulate.scene import Organ, Primitive
from preprocess.simulate.tissue import attenuation

STOMACH, SPLEEN, LIVER, PANCREAS, KIDNEY, ADRENAL, GALLBLADDER, PORTAL, BLADDER = 13, 14, 15, 17, 18, 19, 20, 21, 18


def liver(frame: Frame, rng: np.random.Generator) -> list[Organ]:
    """Build the liver, its veins, the gallbladder under it, and the portal and splenic vein."""
    own = frame.organ(rng, (-60, -10, 40), shift_mm=4.0, size_sd=0.05)
    reach = float(rng.uniform(-18, 18))  # how far the left lobe goes
    tip = float(rng.uniform(-25, 18))  # how low the right lobe goes
    shapes = (
        own.ellipsoid((-76, -2, 48), (66, 80, 72)),
        own.ellipsoid((-92, 12, -8 + tip / 2), (44, 56, 56)),
        own.ellipsoid((-14, -42, 56), (62, 40, 40), (0, 8, 0)),
        own.ellipsoid((28 + reach / 2, -48, 66), (36 + reach / 2, 28, 26), (0, 14, 0)),
        own.ellipsoid((-30, 8, 48), (26, 22, 32)),
    )
    return [solid("liver", shapes, "liver", LIVER), _hepatic_veins(own), *_gallbladder(own, rng), *_portal(own, rng)]


def _hepatic_veins(own: Frame) -> Organ:
    outlet: Point = (-20, 4, 92)
    ends: tuple[Point, ...] = ((-112, 10, 62), (-76, -46, 62), (6, -52, 70), (-100, 34, 30))
    middles: tuple[Point, ...] = ((-70, 8, 82), (-50, -22, 78), (-8, -24, 82), (-64, 22, 64))
    ways = zip(middles, ends, strict=True)
    shapes = [own.tube(smooth([outlet, middle, end], 7), np.linspace(5.5, 2.2, 7)) for middle, end in ways]
    return solid("hepatic_veins", shapes, "hepatic_vein", LIVER + 1)


def _gallbladder(own: Frame, rng: np.random.Generator) -> list[Organ]:
    place = own.organ(rng, (-52, -48, -2), shift_mm=4.0, size_sd=0.12)
    body = place.ellipsoid((-54, -54, -14), (15, 17, 30), (28, 10, 0))
    neck = place.tube([(-50, -42, 6), (-40, -26, 18)], [7, 4])
    duct = own.tube(smooth([(-36, -22, 26), (-28, -10, 10), (-27, -2, -12)], 6), 3.2)
    return [
        hollow("gallbladder", (body, neck), "gallbladder_wall", GALLBLADDER, content_hu=8.0, wall_mm=2.2),
        Organ("common_bile_duct", (duct,), dict.fromkeys(("native", "arterial", "portal"), 8.0), 4.0, priority=PORTAL),
    ]


def _portal(own: Frame, rng: np.random.Generator) -> list[Organ]:
    lift = float(rng.normal(0, 3))
    gate: Point = (-42, -8, 42)
    main: list[Point] = [(96, 30, 42 + lift), (70, 26, 34 + lift), (38, 8, 26 + lift), (2, -8, 14), (-18, -8, 26), gate]
    trunk = own.tube(smooth(main, 20), np.interp(np.linspace(0, 1, 20), (0, 0.6, 0.8, 1), (4.5, 5.5, 7.5, 7.0)))
    right = own.tube(smooth([gate, (-66, 0, 44), (-96, 8, 40)], 6), np.linspace(6.0, 3.0, 6))
    fore = own.tube(smooth([(-60, -2, 44), (-78, -24, 34), (-86, -42, 20)], 6), np.linspace(4.5, 2.4, 6))
    left = own.tube(smooth([gate, (-22, -28, 52), (8, -44, 58)], 6), np.linspace(5.0, 2.6, 6))
    below = own.tube(smooth([(2, -8, 14), (-4, -22, -40), (-6, -28, -85)], 8), 5.0)
    return [
        solid("superior_mesenteric_vein", (below,), "blood_portal", PORTAL - 1),
        solid("portal_branches", (right, fore, left), "blood_portal", LIVER + 1),
        solid("portal_vein_and_splenic_vein", (trunk,), "blood_portal", PORTAL),
    ]


def spleen(frame: Frame, rng: np.random.Generator) -> list[Organ]:
    """Build the spleen, under the left dome and behind the stomach."""
    own = frame.organ(rng, (100, 34, 48), shift_mm=4.0, size_sd=0.09)
    shapes = (
        own.ellipsoid((102, 30, 46), (32, 52, 56), (18, -14, 8)),
        own.ellipsoid((86, 46, 54), (31, 30, 42), (18, -14, 8)),
    )
    return [solid("spleen", shapes, "spleen", SPLEEN)]


def stomach(frame: Frame, rng: np.random.Generator) -> list[Organ]:
    """Build the stomach: fundus under the left dome, body, antrum, pylorus right of the midline."""
    own = frame.organ(rng, (55, -20, 40), shift_mm=4.0, size_sd=0.05)
    drop = float(rng.uniform(-25, 10))
    way: list[Point] = [
        (62, 16, 66), (64, -10, 50), (62, -36, 18 + drop / 2), (40, -52, -8 + drop), (6, -50, -12 + drop),
        (-22, -38, -4),
    ]  # fmt: skip
    fill = float(rng.uniform(0.75, 1.12))
    radii = np.interp(np.linspace(0, 1, 18), (0, 0.25, 0.55, 0.8, 1), (34, 35, 27, 20, 12)) * fill
    tube = own.tube(smooth(way, 18), radii)
    return [hollow("stomach", (tube,), "stomach_wall", STOMACH, content_hu=18.0, wall_mm=4.5)]


def pancreas(frame: Frame, rng: np.random.Generator) -> list[Organ]:
    """Build the pancreas as a tube from the head at the duodenum to the tail at the spleen."""
    own = frame.organ(rng, (10, -12, 12), shift_mm=2.5, size_sd=0.08)
    way: list[Point] = [(-24, -8, -26), (-24, -12, -6), (-4, -24, 10), (26, -20, 20), (54, 0, 28), (82, 20, 36)]
    radii = np.interp(np.linspace(0, 1, 18), (0, 0.2, 0.4, 0.7, 1), (12, 15, 10.5, 12, 10.5))
    return [solid("pancreas", (own.tube(smooth(way, 18), radii),), "pancreas", PANCREAS)]


def kidneys(frame: Frame, rng: np.random.Generator) -> list[Organ]:
    """Build kidneys with medulla and sinus fat, and the adrenal glands above them."""
    found: list[Organ] = []
    for side, word, s in ((-1, "right", -24), (1, "left", -8)):
        own = frame.organ(rng, (60 * side, 46, s), shift_mm=4.0, size_sd=0.07)
        centre: Point = (62 * side, spine_p(s) + 3, s)
        turn: Point = (-12, -13 * side, 28 * side)
        medial: Point = (centre[0] - 17 * side, centre[1] - 8, s)
        found += [
            solid(f"kidney_{word}", (own.ellipsoid(centre, (29, 26, 55), turn),), "kidney_cortex", KIDNEY),
            solid(f"kidney_medulla_{word}", (own.ellipsoid(centre, (21, 18, 46), turn),), "kidney_medulla", KIDNEY + 1),
            solid(f"renal_sinus_{word}", (own.ellipsoid(medial, (13, 8, 16), turn),), "fat", KIDNEY + 2),
            _renal_vein(own, medial, side, word),
        ]
        top: Point = (33 * side if side > 0 else -30, spine_p(45) - 14, s + 62)
        gland = frame.organ(rng, top, shift_mm=2.0, size_sd=0.1)
        bed = gland.ellipsoid((top[0] + 3 * side, top[1] + 1, top[2] - 2), (13, 19, 20))
        found.append(solid(f"adrenal_fat_{word}", (bed,), "fat", LIVER + 1))  # no gland lies in the liver
        found.append(solid(f"adrenal_gland_{word}", _adrenal(gland, top, side), "adrenal", ADRENAL))
    return found


def _renal_vein(own: Frame, medial: Point, side: int, word: str) -> Organ:
    end: Point = (8 * side, spine_p(medial[2]) - 22, medial[2] + 4)
    return solid(f"renal_vessels_{word}", (own.tube([medial, end], [4, 5]),), "blood_venous", KIDNEY)


def _adrenal(own: Frame, top: Point, side: int) -> list[Primitive]:
    left, back, head = top
    ridge: Point = (left, back - 8, head - 4)
    ends: tuple[Point, ...] = ((left + 12 * side, back + 12, head - 6), (left - 5 * side, back + 13, head - 2))
    limbs: list[Primitive] = [own.tube([ridge, end], [4.8, 3.4]) for end in ends]
    return [*limbs, own.tube([(left, back - 7, head - 14), (left, back - 6, head + 9)], [4.6, 3.8])]


def pelvis(frame: Frame, rng: np.random.Generator) -> list[Organ]:
    """Build the bladder, and the prostate or the uterus."""
    own = frame.organ(rng, (0, -32, -258), shift_mm=3.0, size_sd=0.05)
    fill = float(rng.uniform(0.75, 1.25))
    shape = own.ellipsoid((0, -30, -262 + 22 * fill), (42 * fill, 33 * fill, 34 * fill))
    found = [hollow("urinary_bladder", (shape,), "bladder_wall", BLADDER, content_hu=6.0, wall_mm=3.5)]
    hu, texture = attenuation("gland")
    if frame.sex == "M":
        gland = own.ellipsoid((0, -14, -288), (23, 18, 17))
        return [*found, Organ("prostate", (gland,), hu, texture, priority=BLADDER - 1)]
    womb = (
        own.ellipsoid((4, 8, -222 + 12 * fill), (26, 22, 34), (-30, 0, 0)),
        own.ellipsoid((0, 14, -262), (16, 14, 22)),
    )
    return [*found, solid("uterus", womb, "uterus", BLADDER - 1)]
