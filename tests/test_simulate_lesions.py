"""Every drawn finding changes the image as its disease does, more with severity, near its organ, alike on every grid."""

import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from preprocess.errors import InputError
from preprocess.simulate.body import sample_plan
from preprocess.simulate.lesions import painters, shapers
from preprocess.simulate.raster import Grid, rasterise
from preprocess.simulate.scene import BodyPlan, Lesion, Phase, Scene
from preprocess.vocabulary_files import load_anatomies, load_vocabulary

SITES = ("A", "B")
COARSE = (6.0, 4.6, 4.4)
OTHER = (5.0, 4.9, 4.1)
SHAPED = sorted(shapers("A"))


@dataclass(frozen=True)
class Mark:
    """What a finding at severity 1 must do: in a share of what it changes, attenuation goes up or down by so much."""

    up_hu: float = 0.0
    down_hu: float = 0.0
    least_ml: float = 0.3


MARKS = {
    "adrenal_gland.thickening": Mark(up_hu=60),
    "adrenal_gland.nodule": Mark(up_hu=60),
    "adrenal_gland.metastasis": Mark(up_hu=60, least_ml=3),
    "bladder.diverticulum": Mark(up_hu=60),
    "bladder.stone": Mark(up_hu=150),
    "colon.appendicitis": Mark(up_hu=50, least_ml=3),
    "colon.appendicolith": Mark(up_hu=100),
    "colon.colorectal_cancer": Mark(up_hu=80, least_ml=5),
    "colon.diverticulum": Mark(down_hu=300),
    "colon.obstruction": Mark(up_hu=80, down_hu=300, least_ml=300),
    "colon.rectal_cancer": Mark(up_hu=80, least_ml=5),
    "esophagus.cancer": Mark(up_hu=40, least_ml=5),
    "esophagus.hiatal_hernia": Mark(down_hu=150, least_ml=10),
    "esophagus.varices": Mark(up_hu=60),
    "gallbladder.adenomyomatosis": Mark(up_hu=50, least_ml=1),
    "gallbladder.cholecystitis": Mark(up_hu=50, least_ml=5),
    "gallbladder.gallstone": Mark(up_hu=100),
    "heart.cardiomegaly": Mark(least_ml=300),
    "heart.pericardial_effusion": Mark(up_hu=90, least_ml=80),
    "kidney.atrophy": Mark(down_hu=15, least_ml=20),
    "kidney.calculus": Mark(up_hu=100),
    "kidney.cyst": Mark(down_hu=80, least_ml=1),
    "kidney.hydronephrosis": Mark(down_hu=70, least_ml=3),
    "liver.abscess": Mark(down_hu=60, least_ml=10),
    "liver.bile_duct_dilatation": Mark(down_hu=60, least_ml=10),
    "liver.cancer": Mark(down_hu=30, least_ml=30),
    "liver.cirrhosis": Mark(down_hu=20, least_ml=300),
    "liver.cyst": Mark(down_hu=70, least_ml=5),
    "liver.fatty_liver": Mark(down_hu=35, least_ml=500),
    "liver.glisson_capsule_effusion": Mark(down_hu=50, least_ml=10),
    "liver.hemangioma": Mark(up_hu=15, down_hu=15, least_ml=5),
    "liver.metastasis": Mark(down_hu=35, least_ml=10),
    "lung.atelectasis": Mark(up_hu=500, least_ml=30),
    "lung.bronchiectasis": Mark(up_hu=300, least_ml=20),
    "lung.emphysema": Mark(down_hu=80, least_ml=500),
    "lung.pleural_effusion": Mark(up_hu=600, least_ml=200),
    "lung.pneumonia": Mark(up_hu=500, least_ml=50),
    "pancreas.atrophy": Mark(least_ml=2),
    "pancreas.cancer": Mark(down_hu=20, least_ml=3),
    "pancreas.duct_dilatation": Mark(down_hu=40, least_ml=2),
    "pancreas.pancreatitis": Mark(up_hu=50, down_hu=10, least_ml=30),
    "pancreas.steatosis": Mark(down_hu=90, least_ml=20),
    "portal_vein.hypertension": Mark(up_hu=50, least_ml=3),
    "portal_vein.thrombosis": Mark(down_hu=80, least_ml=1),
    "sacrum.osteitis": Mark(up_hu=200, least_ml=2),
    "small_intestine.diverticulum": Mark(down_hu=300, least_ml=1),
    "small_intestine.intussusception": Mark(up_hu=30, down_hu=40, least_ml=5),
    "small_intestine.obstruction": Mark(up_hu=60, down_hu=150, least_ml=300),
    "spleen.hemangioma": Mark(up_hu=15, down_hu=15, least_ml=2),
    "spleen.infarction": Mark(down_hu=50, least_ml=5),
    "spleen.splenomegaly": Mark(least_ml=100),
    "stomach.cancer": Mark(up_hu=50, least_ml=5),
    "stomach.varices": Mark(up_hu=60),
    "stomach.wall_thickening": Mark(up_hu=30, least_ml=10),
}
WHERE_CLEAR = ("colon.colorectal_cancer", "colon.rectal_cancer", "small_intestine.intussusception")
"""Put at the first of several drawn places that no other organ covers, which may differ between grids."""
CASES = [pytest.param(site, finding, id=f"{site}-{finding}") for site in SITES for finding in sorted(MARKS)]


def grid_of(spacing_mm: tuple[float, float, float], shift_mm: float = 0.0) -> Grid:
    """Return a grid over the whole trunk, its axes slightly tilted."""
    low, size = np.array([-200.0, -150.0, -340.0]) + shift_mm, (670.0, 290.0, 400.0)
    tilt = np.deg2rad(2.0)
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = (turn[:, ::-1]) * np.array(spacing_mm)
    affine[:3, 3] = low
    z, y, x = (int(extent / step) for extent, step in zip(size, spacing_mm, strict=True))
    return Grid((z, y, x), affine)


@cache
def body(site: str) -> BodyPlan:
    return sample_plan(np.random.default_rng(20), site)


@cache
def clean(site: str, spacing_mm: tuple[float, float, float] = COARSE, phase: Phase = "portal") -> Scene:
    shift = 0.0 if spacing_mm == COARSE else 1.7
    return rasterise(body(site), grid_of(spacing_mm, shift), phase, np.random.default_rng(1))


def copy_of(scene: Scene) -> Scene:
    lumens = dict(scene.hollow)
    return Scene(scene.hu.copy(), scene.labels.copy(), scene.names, scene.affine, scene.phase, scene.plan, lumens)


def source(finding: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(finding.encode()))


def paint(scene: Scene, site: str, finding: str, severity: float) -> tuple[Scene, Lesion]:
    canvas = copy_of(scene)
    lesion = painters(site)[finding](canvas, severity, source(finding))
    assert lesion is not None
    return canvas, lesion


def shaped(site: str, finding: str, severity: float) -> Scene:
    plan = shapers(site)[finding](body(site), severity, source(finding)).plan
    return rasterise(plan, grid_of(COARSE), "portal", np.random.default_rng(1))


def voxel_ml(scene: Scene) -> float:
    return float(np.prod(scene.spacing_mm)) / 1000


def energy(before: Scene, after: Scene) -> float:
    """Sum of the absolute change, HU times ml."""
    return float(np.abs(after.hu - before.hu).sum(dtype=float)) * voxel_ml(before)


def centre(before: Scene, after: Scene) -> NDArray[np.float64]:
    """Centre of the absolute change in LPS mm."""
    change = np.abs(after.hu - before.hu)
    index = np.argwhere(change > 0)
    return np.average(after.lps(index), axis=0, weights=change[change > 0])


def test_every_finding_has_a_painter_at_both_sites() -> None:
    findings = {finding.id for finding in load_vocabulary("ct54").findings}
    assert set(MARKS) == findings
    assert {site: set(painters(site)) for site in SITES} == dict.fromkeys(SITES, findings)


def test_unknown_site_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="site='C'"):
        painters("C")


@pytest.mark.parametrize(("site", "finding"), CASES)
def test_plain_finding_is_visible_and_has_the_right_sign(site: str, finding: str) -> None:
    mark = MARKS[finding]
    after, lesion = paint(clean(site), site, finding, 1.0)
    change = (after.hu - clean(site).hu).ravel()[lesion.voxels]
    assert len(lesion.voxels) * voxel_ml(after) >= mark.least_ml
    if mark.up_hu:
        assert np.quantile(change, 0.95) >= mark.up_hu
    if mark.down_hu:
        assert np.quantile(change, 0.05) <= -mark.down_hu
    assert lesion.finding == finding
    assert lesion.contrast_hu == pytest.approx(float(change.mean()), abs=0.05)


@pytest.mark.parametrize(("site", "finding"), CASES)
def test_change_vanishes_with_severity_and_grows_with_it(site: str, finding: str) -> None:
    before = clean(site)
    drawn = {severity: paint(before, site, finding, severity) for severity in (0.02, 0.35, 0.65, 1.0)}
    faint, weak, middle, plain = (energy(before, after) for after, _ in drawn.values())
    if finding in SHAPED and plain == 0:
        return
    assert faint < 0.06 * plain
    assert faint < weak < middle < plain
    assert np.abs(drawn[0.02][0].hu - before.hu).ravel()[drawn[0.02][1].voxels].mean() < 45


@pytest.mark.parametrize(("site", "finding"), CASES)
def test_same_draw_gives_the_same_lesion_and_the_same_place_on_another_grid(site: str, finding: str) -> None:
    first, lesion = paint(clean(site), site, finding, 0.8)
    again, same = paint(clean(site), site, finding, 0.8)
    assert np.array_equal(first.hu, again.hu)
    assert np.array_equal(lesion.voxels, same.voxels)
    other, there = paint(clean(site, OTHER), site, finding, 0.8)
    assert there.side == lesion.side
    if energy(clean(site), first) == 0 or finding in WHERE_CLEAR:
        return
    assert np.linalg.norm(centre(clean(site), first) - centre(clean(site, OTHER), other)) < 12.0
    assert energy(clean(site, OTHER), other) == pytest.approx(energy(clean(site), first), rel=0.35)


@pytest.mark.parametrize(("site", "finding"), CASES)
def test_lesion_stays_near_its_organ_and_only_its_voxels_change(site: str, finding: str) -> None:
    after, lesion = paint(clean(site), site, finding, 0.6)
    changed = np.abs(after.hu - clean(site).hu) > 0.02
    assert set(np.flatnonzero(changed)) <= set(lesion.voxels.tolist())
    anatomy = load_anatomies("ct15")[finding.split(".")[0]]
    organ = after.mask(anatomy.structures) | clean(site).mask(anatomy.structures)
    reach = ndimage.distance_transform_edt(~organ, sampling=after.spacing_mm).ravel()[lesion.voxels]
    allowed = anatomy.region.dilate_mm + 0.5 * max(after.spacing_mm)
    assert np.mean(reach <= allowed) >= 0.9


@pytest.mark.parametrize("phase", ["native", "arterial"])
@pytest.mark.parametrize("site", SITES)
def test_findings_are_drawn_in_every_phase(site: str, phase: Phase) -> None:
    before = clean(site, COARSE, phase)
    for finding in MARKS:
        after, lesion = paint(before, site, finding, 1.0)
        change = (after.hu - before.hu).ravel()[lesion.voxels]
        if finding not in SHAPED:
            assert np.abs(change).max() > 10, finding


GROWING = ("heart.cardiomegaly", "spleen.splenomegaly", "portal_vein.hypertension", "pancreas.pancreatitis")
ORGANS = {
    "heart.cardiomegaly": ("heart",),
    "spleen.splenomegaly": ("spleen",),
    "kidney.atrophy": ("kidney_left", "kidney_right"),
    "pancreas.atrophy": ("pancreas",),
    "pancreas.pancreatitis": ("pancreas",),
    "portal_vein.hypertension": ("portal_vein_and_splenic_vein",),
    "liver.cirrhosis": ("liver",),
}


@pytest.mark.parametrize(("site", "finding"), [pytest.param(s, f, id=f"{s}-{f}") for s in SITES for f in SHAPED])
def test_change_of_size_follows_severity(site: str, finding: str) -> None:
    usual = int(clean(site).mask(ORGANS[finding]).sum())
    faint, plain = (int(shaped(site, finding, severity).mask(ORGANS[finding]).sum()) for severity in (0.02, 1.0))
    assert faint == pytest.approx(usual, rel=0.08)
    ratio = plain / usual
    assert ratio > 1.2 if finding in GROWING else ratio < 0.95


@pytest.mark.parametrize("site", SITES)
def test_shaper_and_painter_agree_on_the_side(site: str) -> None:
    for seed in range(12):
        change = shapers(site)["kidney.atrophy"](body(site), 0.7, np.random.default_rng(seed))
        lesion = painters(site)["kidney.atrophy"](copy_of(clean(site)), 0.7, np.random.default_rng(seed))
        assert lesion is not None
        assert lesion.side == change.side


@pytest.mark.parametrize("site", SITES)
def test_organ_outside_the_scan_gives_nothing(site: str) -> None:
    scene = copy_of(clean(site))
    scene.labels[:] = 0
    assert [painter(scene, 1.0, source(finding)) for finding, painter in painters(site).items()] == [None] * 54


LABELS_LOST = {
    "lung.pleural_effusion": "lung_lower_lobe",
    "heart.pericardial_effusion": "lung_",
}


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("finding", sorted(LABELS_LOST))
def test_fluid_takes_the_label_of_the_lung_away(site: str, finding: str) -> None:
    after, lesion = paint(clean(site), site, finding, 1.0)
    names = np.array([after.names.get(number, "") for number in range(256)])
    was = names[clean(site).labels.ravel()[lesion.voxels]]
    now = names[after.labels.ravel()[lesion.voxels]]
    lung = np.char.startswith(was, LABELS_LOST[finding])
    assert (lung & (now == "")).sum() * voxel_ml(after) > 3


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize(
    ("finding", "label"),
    [
        ("kidney.cyst", "kidney_cyst"),
        ("esophagus.hiatal_hernia", "stomach"),
        ("adrenal_gland.metastasis", "adrenal_gland"),
    ],
)
def test_true_labels_follow_the_lesion(site: str, finding: str, label: str) -> None:
    after, lesion = paint(clean(site), site, finding, 1.0)
    names = {number for number, name in after.names.items() if name.startswith(label)}
    added = np.isin(after.labels, list(names)) & ~np.isin(clean(site).labels, list(names))
    assert added.sum() * voxel_ml(after) > 0.5
    assert set(np.flatnonzero(added)) <= set(lesion.voxels.tolist())


def test_the_two_sites_draw_differently_from_the_same_numbers() -> None:
    before = clean("A")
    for finding in MARKS:
        if finding in SHAPED:
            continue
        one, other = (paint(before, site, finding, 1.0)[0].hu - before.hu for site in SITES)
        overlap = float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))
        assert overlap < 0.97, finding
