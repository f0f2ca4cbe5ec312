"""Site B's findings of liver and spleen: geographic, infiltrating and many where site A's are round and few."""

import numpy as np

from preprocess.simulate.area import Area, mm_within, place
from preprocess.simulate.blobs import blob, gain, patches, sized, speckled, tree, uneven
from preprocess.simulate.lesions_liver import bulk, hilum, lobe, pool_hu
from preprocess.simulate.lesions_upper import whole_organ
from preprocess.simulate.paint import cover, layer, lining, stamp
from preprocess.simulate.recipe import Note, Recipe
from preprocess.simulate.shapes import Vector, draw_waves, tube, union, wave_field, without

_LOW = {"native": 26.0, "arterial": 34.0, "portal": 44.0}
_TUMOUR = {"native": 36.0, "arterial": 62.0, "portal": 60.0}
_FRINGE = {"native": 38.0, "arterial": 115.0, "portal": 105.0}
_MATRIX = {"native": 44.0, "arterial": 92.0, "portal": 125.0}
_DEAD = {"native": 24.0, "arterial": 30.0, "portal": 36.0}


def fatty_liver(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Lower the attenuation in a geographic pattern that spares patches."""
    spread = np.clip(0.85 + 0.3 * wave_field(area.grid, draw_waves(rng, 110.0)), 0.15, 1.3)
    area.hu[...] -= np.float32(sized(54, 54, severity, rng, 0.08) * gain(severity)) * spread * bulk(area)
    return Note()


def cirrhosis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Give the liver fine nodules, a notched surface and a rim of ascites."""
    nodules = np.exp(0.6 * np.clip(wave_field(area.grid, draw_waves(rng, 15.0, count=24)), -2, 2)) - 1.2
    area.hu[...] += np.float32(12 * gain(severity)) * nodules * bulk(area)
    notch = np.clip(uneven(area, rng, 20.0, 0.7) - 0.5, 0, 2.5) * np.float32(3.5 * severity)
    cover(area, lining(area, area.organ, notch), 5.0, gain(severity), label=0)
    ascites = np.minimum(np.float32(5 * severity) * uneven(area, rng, 60.0, 0.5), np.float32(7.0))
    cover(area, layer(area, area.organ, 0.0, ascites, within=area.free()), 5.0, gain(severity))
    return Note()


def metastasis(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Strew many small irregular foci under the capsule, and one larger."""
    rim = area.organ & (mm_within(area, area.organ) < 22)
    largest = sized(6, 20, severity, rng)
    for index in range(int(rng.integers(7, 16))):
        radius = largest if index == 0 else largest * float(rng.uniform(0.3, 0.65))
        centre = place(area, rng, mask=rim)
        stamp(
            area,
            blob(rng, centre, radius, 0.25),
            speckled(_LOW[area.phase], 10, rng, 6),
            gain(severity),
            within=area.organ,
        )
    return Note(size_mm=2 * largest)


def cancer(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw an infiltrating mass of poor enhancement with a brighter fringe, and satellites beside it."""
    radius = sized(9, 36, severity, rng)
    centre = place(area, rng, depth_mm=10)
    mass = blob(rng, centre, radius, 0.4)
    stamp(area, mass, speckled(_FRINGE[area.phase], 14, rng, 9), 0.8 * gain(severity), within=area.organ)
    heart = blob(rng, centre, 0.78 * radius, 0.4)
    stamp(area, heart, speckled(_TUMOUR[area.phase], 16, rng, 8), gain(severity), within=area.organ)
    for _ in range(4):
        beside = centre + rng.normal(scale=1.1 * radius, size=3)
        stamp(area, blob(rng, beside, 0.22 * radius), _TUMOUR[area.phase], gain(severity), within=area.organ)
    return Note(part=lobe(area, centre), size_mm=2 * radius)


def cyst(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a cluster of touching cysts with thin septa, and tiny ones apart from it."""
    radius = sized(5, 22, severity, rng)
    centre = place(area, rng, depth_mm=5)
    for _ in range(int(rng.integers(2, 5))):
        locule = centre + rng.normal(scale=0.5 * radius, size=3)
        shape = blob(rng, locule, radius * float(rng.uniform(0.5, 0.85)), 0.12)
        stamp(area, shape, float(rng.uniform(-2, 14)), gain(severity), within=area.organ)
    for _ in range(5):
        tiny = blob(rng, place(area, rng, depth_mm=3), sized(2.0, 5.0, severity, rng), 0.1)
        stamp(area, tiny, 8.0, gain(severity), within=area.organ)
    return Note(part=lobe(area, centre), size_mm=2 * radius)


def abscess(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a honeycomb of pus in an enhancing matrix, with specks of gas and edema around."""
    radius = sized(8, 27, severity, rng)
    centre = place(area, rng, depth_mm=10)
    usual = float(np.median(area.hu[area.organ]))
    stamp(area, blob(rng, centre, 1.35 * radius), usual - 24, 0.7 * gain(severity), within=area.organ)
    shape = blob(rng, centre, radius)
    comb = draw_waves(rng, 11.0, count=20)
    bright = _MATRIX[area.phase]
    stamp(
        area, shape, lambda grid: bright + (14 - bright) * patches(grid, comb, 0.68), gain(severity), within=area.organ
    )
    if rng.uniform() < 0.5:
        specks = [
            blob(rng, centre + rng.normal(scale=0.3 * radius, size=3), sized(1.2, 3.2, severity, rng)) for _ in range(5)
        ]
        stamp(area, union(specks), -650.0, gain(severity), within=area.organ)
    return Note(part=lobe(area, centre), size_mm=2 * radius)


def hemangioma(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a mass that fills with contrast like blood from its edge, but for an irregular scar."""
    radius = sized(6, 22, severity, rng)
    centre = place(area, rng, depth_mm=8)
    scar = {"native": 0.35, "arterial": 0.72, "portal": 0.48}[area.phase]
    stamp(area, blob(rng, centre, radius), speckled(pool_hu(area), 12, rng, 8), gain(severity), within=area.organ)
    stamp(area, blob(rng, centre, scar * radius, 0.5), _DEAD[area.phase] + 12, gain(severity), within=area.organ)
    return Note(part=lobe(area, centre), size_mm=2 * radius)


def _ends(area: Area, rng: np.random.Generator, count: int) -> list[Vector]:
    return [place(area, rng, depth_mm=10) for _ in range(count)]


def bile_duct_dilatation(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw a crooked tree of ducts of uneven calibre."""
    width = sized(1.5, 5.2, severity, rng)
    shape, _ = tree(rng, hilum(area) + rng.normal(scale=4, size=3), _ends(area, rng, 9), width)
    stamp(area, shape, float(rng.uniform(2, 12)), gain(severity), within=area.organ)
    return Note(size_mm=2 * width)


def periportal_edema(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw collars of fluid round the portal tracts and leave what lies in them."""
    _, curves = tree(rng, hilum(area), _ends(area, rng, 10), 3.0, twigs=0)
    thick = sized(1.6, 4.8, severity, rng)
    for curve in curves:
        curve = curve[2:]
        inner = np.linspace(3.2, 1.8, len(curve))
        collar = without(tube(curve, inner + thick), tube(curve, inner))
        stamp(area, collar, 9.0, gain(severity), within=area.organ)
    return Note()


def infarction(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Draw geographic patches under the capsule that do not enhance."""
    centre = place(area, rng, mask=area.organ & (mm_within(area, area.organ) < 8))
    radius = sized(9, 34, severity, rng)
    depth = np.clip(1.4 - mm_within(area, area.organ) / sized(8, 24, severity, rng), 0, 1) * area.organ
    field = uneven(area, rng, 26.0, 0.5) * radius
    offset = area.grid.points - centre.astype(np.float32)[:, None, None, None]
    gap = field - np.sqrt(np.einsum("izyx,izyx->zyx", offset, offset))
    share = np.clip(gap / np.float32(area.grid.step_mm) + 0.5, 0, 1) * (depth > 0.3)
    cover(area, np.asarray(share, np.float32), _DEAD[area.phase], gain(severity))
    return Note()


def splenic_hemangioma(area: Area, severity: float, rng: np.random.Generator) -> Note:
    """Strew a few small vascular masses, each with a low centre."""
    largest = sized(5, 17, severity, rng)
    for index in range(int(rng.integers(2, 6))):
        radius = largest * (1.0 if index == 0 else float(rng.uniform(0.5, 0.9)))
        centre = place(area, rng, depth_mm=5)
        stamp(area, blob(rng, centre, radius), pool_hu(area) + 15, gain(severity), within=area.organ)
        stamp(area, blob(rng, centre, 0.6 * radius), _DEAD[area.phase] + 8, gain(severity), within=area.organ)
    return Note(size_mm=2 * largest)


_LIVER, _SPLEEN = ("liver",), ("spleen",)
RECIPES = {
    "liver.fatty_liver": Recipe(_LIVER, fatty_liver, margin_mm=4, whole=True),
    "liver.cirrhosis": Recipe(_LIVER, cirrhosis, margin_mm=14, whole=True),
    "liver.metastasis": Recipe(_LIVER, metastasis, margin_mm=4),
    "liver.cancer": Recipe(_LIVER, cancer, margin_mm=4),
    "liver.hemangioma": Recipe(_LIVER, hemangioma, margin_mm=4),
    "liver.cyst": Recipe(_LIVER, cyst, margin_mm=4),
    "liver.abscess": Recipe(_LIVER, abscess, margin_mm=4),
    "liver.bile_duct_dilatation": Recipe(_LIVER, bile_duct_dilatation, margin_mm=12),
    "liver.glisson_capsule_effusion": Recipe(_LIVER, periportal_edema, margin_mm=12),
    "spleen.splenomegaly": Recipe(_SPLEEN, whole_organ, margin_mm=2, whole=True),
    "spleen.infarction": Recipe(_SPLEEN, infarction, margin_mm=4),
    "spleen.hemangioma": Recipe(_SPLEEN, splenic_hemangioma, margin_mm=4),
}
