"""Organ masks by parts, and the regions where findings can be, on toy label maps."""

import numpy as np
import pytest
from phantoms import canonical_affine
from scipy.ndimage import distance_transform_edt

from preprocess.regions import anatomy_mask, anatomy_region
from preprocess.thorax import fill_hull, fill_thorax
from preprocess.vocabulary import Anatomy
from preprocess.volume import LabelMap

SHAPE = (20, 40, 44)
SPACING = (5.0, 4.0, 4.5)
NAMES = {
    1: "spleen",
    2: "kidney_right",
    3: "kidney_left",
    10: "lung_upper_lobe_left",
    12: "lung_upper_lobe_right",
    92: "rib_left_1",
}


def toy(**boxes):
    """A label map with one box a structure."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    numbers = {name: number for number, name in NAMES.items()}
    for name, box in boxes.items():
        labels[tuple(slice(*bounds) for bounds in box)] = numbers[name]
    return LabelMap(labels, canonical_affine(SPACING), NAMES)


def anatomy(parts, **region):
    return Anatomy(
        name="toy", index=0, parts=parts, region={"dilate_mm": 0.0, **region}, spacing_mm=(3.0, 3.0, 3.0),
        margin_mm=4.0, windows_hu=((-100, 100),), max_tokens=64, words=("toy",),
    )  # fmt: skip


def everywhere(region, shape=SHAPE):
    return region.at([np.arange(size) for size in shape])


KIDNEYS = {"right": ("kidney_right",), "left": ("kidney_left",)}
TWO = toy(kidney_right=((5, 12), (10, 20), (5, 12)), kidney_left=((6, 13), (10, 20), (30, 37)))


def test_parts_are_exact_and_in_order():
    organ = anatomy_mask(TWO, anatomy(KIDNEYS))
    full = everywhere(organ)
    assert np.array_equal(full == 1, TWO.labels == 2)
    assert np.array_equal(full == 2, TWO.labels == 3)


def test_an_organ_that_is_nowhere_is_none():
    assert anatomy_mask(TWO, anatomy({"spleen": ("spleen",)})) is None
    empty = LabelMap(np.zeros(SHAPE, dtype=np.uint8), TWO.affine, NAMES)
    assert anatomy_mask(empty, anatomy(KIDNEYS)) is None


def test_several_numbers_of_one_name_are_one_structure():
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[5:8, 5:9, 5:9], labels[5:8, 5:9, 9:12] = 44, 45
    label_map = LabelMap(labels, TWO.affine, {44: "heart", 45: "heart"})
    organ = anatomy_mask(label_map, anatomy({"heart": ("heart",)}))
    assert (everywhere(organ) == 1).sum() == (labels > 0).sum()


@pytest.mark.parametrize("distance", [0.0, 6.0, 13.0])
def test_dilation_is_measured_in_millimetres(distance):
    rule = anatomy(KIDNEYS, dilate_mm=distance)
    organ = anatomy_mask(TWO, rule)
    wanted = distance_transform_edt(TWO.labels == 0, sampling=SPACING) <= distance
    assert np.array_equal(everywhere(anatomy_region(TWO, rule, organ)), wanted)


def test_fine_grids_are_dilated_in_blocks_that_hold_the_exact_region():
    labels = np.zeros((60, 80, 80), dtype=np.uint8)
    labels[20:40, 30:50, 30:50] = 1
    spacing = (1.0, 1.3, 0.9)
    label_map = LabelMap(labels, canonical_affine(spacing), NAMES)
    rule = anatomy({"spleen": ("spleen",)}, dilate_mm=8.0)
    region = everywhere(anatomy_region(label_map, rule, anatomy_mask(label_map, rule)), labels.shape)
    distance = distance_transform_edt(labels == 0, sampling=spacing)
    assert region[distance <= 4.0].all()
    assert not region[distance > 8.0 + 8.0].any()
    assert region[labels > 0].all()


def test_box_holds_the_region_and_no_more():
    rule = anatomy(KIDNEYS, dilate_mm=10.0)
    region = anatomy_region(TWO, rule, anatomy_mask(TWO, rule))
    index = np.argwhere(everywhere(region))
    assert np.array_equal(region.box, [index.min(axis=0), index.max(axis=0) + 1])


def test_companions_belong_to_the_region_but_not_to_the_organ():
    label_map = toy(spleen=((5, 12), (10, 20), (5, 12)), kidney_left=((6, 13), (10, 20), (30, 37)))
    rule = anatomy({"spleen": ("spleen",)}, **{"with": ("kidney_left",)})
    organ = anatomy_mask(label_map, rule)
    region = everywhere(anatomy_region(label_map, rule, organ))
    assert np.array_equal(region, label_map.labels > 0)
    assert np.array_equal(everywhere(organ) > 0, label_map.labels == 1)


def test_hull_fills_each_part_for_itself():
    labels = TWO.labels.copy()
    labels[8:10, 13:17, 5:10] = 0  # a bay in the right kidney, as a dilated pelvis makes it
    label_map = LabelMap(labels, TWO.affine, NAMES)
    rule = anatomy(KIDNEYS, fill="hull")
    region = everywhere(anatomy_region(label_map, rule, anatomy_mask(label_map, rule)))
    assert np.array_equal(region, TWO.labels > 0)


@pytest.mark.parametrize("shape", [(9, 9), (7, 9, 8)], ids=["plane", "space"])
def test_hull_of_corners_is_the_box(shape):
    corners = np.zeros(shape, dtype=bool)
    corners[np.ix_(*[(1, size - 2) for size in shape])] = True
    box = np.zeros(shape, dtype=bool)
    box[tuple(slice(1, size - 1) for size in shape)] = True
    assert np.array_equal(fill_hull(corners), box)


@pytest.mark.parametrize("points", [[], [(2, 2, 2)], [(2, 2, 2), (4, 4, 4)], [(2, z, 2) for z in range(6)]])
def test_hull_of_flat_masks_is_the_mask(points):
    mask = np.zeros((8, 8, 8), dtype=bool)
    for point in points:
        mask[point] = True
    assert np.array_equal(fill_hull(mask), mask)


def chest():
    """Both lungs and a ring of ribs with a gap of effusion between the left lung and its ribs."""
    z, y, x = np.indices((30, 40, 50))
    cavity = (((y - 20) / 15) ** 2 + ((x - 25) / 20) ** 2 < 1) & (z >= 8)
    ring = (((y - 20) / 17) ** 2 + ((x - 25) / 22) ** 2 < 1) & ~cavity & (z % 4 == 0)
    lungs = cavity & (np.abs(x - 25) > 4) & (z >= 12)
    effusion = lungs & (x > 25) & (y > 26)
    return lungs, ring, effusion


SPACING_CHEST = (5.0, 6.0, 6.0)


@pytest.mark.parametrize("ribs", [True, False], ids=["with ribs", "without ribs"])
def test_thorax_holds_an_effusion_that_the_lobes_leave_out(ribs):
    lungs, ring, effusion = chest()
    nothing = np.zeros_like(lungs)
    region = fill_thorax(lungs & ~effusion, ring if ribs else nothing, nothing, SPACING_CHEST)
    assert region[effusion].mean() > 0.95
    assert region[lungs & ~effusion].all()


def test_thorax_holds_a_whole_missing_lung():
    lungs, ring, _ = chest()
    left = lungs & (np.arange(50) > 25)
    nothing = np.zeros_like(lungs)
    assert fill_thorax(lungs & ~left, ring, nothing, SPACING_CHEST)[left].mean() > 0.95


def test_thorax_leaves_other_organs_out():
    lungs, ring, _ = chest()
    heart = np.zeros_like(lungs)
    heart[14:20, 12:28, 22:29] = True
    region = fill_thorax(lungs, ring, heart, SPACING_CHEST)
    assert not region[heart & ~lungs].any()
    assert region[22:26, 12:28, 22:29].all()


def test_thorax_follows_the_pleura_below_the_lungs_but_not_to_the_pelvis():
    lungs, ring, _ = chest()
    nothing = np.zeros_like(lungs)
    region = fill_thorax(lungs, ring, nothing, SPACING_CHEST)
    depth = np.flatnonzero(region.any(axis=(1, 2)))[0]
    assert depth == 12 - 8  # 40 mm of 5 mm slices
