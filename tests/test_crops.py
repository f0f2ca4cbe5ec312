"""Crops against an independent interpolation at world coordinates, and what they keep of the organ."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import canonical_affine, oblique_affine
from scipy.ndimage import gaussian_filter1d, map_coordinates

from preprocess.crops import OUTSIDE_ORGAN, SourceGrid, build_crops, crop_grid, resample_volume
from preprocess.geometry import canonical, index_from_lps, lps_from_index, spacing_mm
from preprocess.vocabulary_files import load_anatomies
from preprocess.volume import LabelMap, Volume

NAMES = {1: "spleen", 2: "kidney_right", 3: "kidney_left", 5: "liver", 52: "aorta"}


def scan(shape=(26, 60, 52), affine=None, seed=3):
    """Smooth random HU, and ellipsoids of liver, spleen, both kidneys and aorta in it."""
    rng = np.random.default_rng(seed)
    hu = rng.normal(0, 200, shape)
    for axis in range(3):
        hu = gaussian_filter1d(hu, 1.0, axis=axis)
    labels = np.zeros(shape, dtype=np.uint8)
    index = np.indices(shape).astype(float)
    for number, centre, radii in (
        (5, (0.5, 0.4, 0.3), (0.3, 0.25, 0.2)),
        (1, (0.55, 0.5, 0.8), (0.2, 0.2, 0.12)),
        (2, (0.4, 0.75, 0.3), (0.2, 0.12, 0.1)),
        (3, (0.4, 0.75, 0.7), (0.2, 0.12, 0.1)),
        (52, (0.5, 0.8, 0.5), (0.6, 0.05, 0.05)),
    ):
        distance = sum(((index[a] / shape[a] - centre[a]) / radii[a]) ** 2 for a in range(3))
        labels[(distance <= 1) & (labels == 0)] = number
    affine = canonical_affine((4.0, 2.5, 3.1)) if affine is None else affine
    return Volume(np.rint(hu).astype(np.int16), affine), LabelMap(labels, affine, NAMES)


def independent(volume, label_map, crop):
    """Image and label at the world coordinates of the crop's voxels, by scipy's own interpolation."""
    smooth = volume.hu.astype(np.float64)
    for axis, (coarse, fine) in enumerate(zip(crop.spacing_mm, volume.spacing_mm, strict=True)):
        if coarse > fine:
            smooth = gaussian_filter1d(smooth, (coarse / fine - 1) / 2, axis=axis, truncate=4, mode="nearest")
    world = lps_from_index(crop.affine, np.moveaxis(np.indices(crop.image.shape), 0, -1))
    index = np.moveaxis(index_from_lps(volume.affine, world), -1, 0)
    image = map_coordinates(smooth, index, order=1, mode="nearest")
    label = map_coordinates(label_map.labels, index, order=0, mode="nearest")
    return image, label


@pytest.mark.parametrize(
    "affine",
    [
        pytest.param(canonical_affine((4.0, 2.5, 3.1)), id="non-square"),
        pytest.param(oblique_affine((4.0, 2.5, 3.1)), id="oblique"),
        pytest.param(canonical_affine((1.0, 1.0, 1.0)), id="finer than all crops"),
        pytest.param(canonical_affine((3.0, 3.0, 3.0)), id="centres on borders of voxels"),
        pytest.param(canonical_affine((7.0, 0.9, 6.5)), id="coarser in two axes"),
    ],
)
def test_image_and_mask_equal_an_independent_interpolation(affine):
    volume, label_map = scan(affine=affine)
    crops = build_crops(volume, label_map, load_anatomies())
    for name, numbers in (("liver", [5]), ("spleen", [1]), ("kidney", [2, 3])):
        crop = crops[name]
        image, label = independent(volume, label_map, crop)
        assert np.abs(crop.image - image).max() <= 1
        organ = (crop.mask > 0) & (crop.mask < OUTSIDE_ORGAN)
        assert np.array_equal(organ, np.isin(label, numbers)), name
        assert spacing_mm(crop.affine) == pytest.approx(crop.spacing_mm)


def test_parts_follow_the_order_of_the_data():
    volume, label_map = scan()
    kidney = build_crops(volume, label_map, load_anatomies())["kidney"]
    assert kidney.parts == ("right", "left")
    x = np.arange(kidney.mask.shape[2])
    centre = {part: (kidney.mask == part).sum(axis=(0, 1)) @ x / (kidney.mask == part).sum() for part in (1, 2)}
    assert centre[1] < centre[2]  # x grows towards the patient's left


def test_region_surrounds_the_organ_as_far_as_its_rule_says():
    volume, label_map = scan(shape=(40, 80, 80), affine=canonical_affine((3.0, 3.0, 3.0)))
    anatomies = load_anatomies()
    spleen = anatomies["spleen"]
    wide = spleen.model_copy(update={"region": spleen.region.model_copy(update={"dilate_mm": 20.0})})
    sizes = [
        (build_crops(volume, label_map, {"spleen": rule})["spleen"].mask == OUTSIDE_ORGAN).sum()
        for rule in (spleen, wide)
    ]
    assert 0 < sizes[0] < sizes[1]


def test_an_absent_anatomy_has_no_arrays():
    volume, label_map = scan()
    heart = build_crops(volume, label_map, load_anatomies())["heart"]
    assert (heart.extent, heart.image, heart.mask, heart.affine) == ("absent", None, None, None)
    assert (heart.volume_ml, heart.cut_fraction) == (0.0, 0.0)


@pytest.mark.parametrize(
    "affine", [canonical_affine((4.0, 2.5, 3.1)), oblique_affine((4.0, 2.5, 3.1))], ids=["straight", "oblique"]
)
def test_one_scan_in_any_of_48_axis_orders_gives_the_same_crops(affine):
    volume, label_map = scan(shape=(13, 30, 26), affine=affine)
    anatomies = {name: load_anatomies()[name] for name in ("liver", "kidney")}
    wanted = build_crops(volume, label_map, anatomies)
    for order, flips in product(permutations(range(3)), product((False, True), repeat=3)):
        stored_affine = affine[:, [*order, 3]].copy()
        hu, labels = volume.hu.transpose(order), label_map.labels.transpose(order)
        for axis in np.flatnonzero(flips):
            stored_affine[:, 3] += stored_affine[:, axis] * (hu.shape[axis] - 1)
            stored_affine[:, axis] *= -1
            hu, labels = np.flip(hu, axis), np.flip(labels, axis)
        hu, read_affine = canonical(hu, stored_affine)
        labels, _ = canonical(labels, stored_affine)
        crops = build_crops(Volume(hu, read_affine), LabelMap(labels, read_affine, NAMES), anatomies)
        for name, crop in crops.items():
            assert np.array_equal(crop.image, wanted[name].image)
            assert np.array_equal(crop.mask, wanted[name].mask)
            assert np.allclose(crop.affine, wanted[name].affine, atol=1e-9)


def test_an_anatomy_is_added_by_data_alone(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "schema: 1\nname: mine\nextends: ct15\nanatomies:\n  aorta:\n    parts: {aorta: [aorta]}\n"
        "    region: {dilate_mm: 6.0}\n    spacing_mm: [3.0, 2.0, 2.0]\n    words: [aorta, aortic]\n"
    )
    volume, label_map = scan()
    crop = build_crops(volume, label_map, load_anatomies(path))["aorta"]
    assert crop.spacing_mm[1:] == pytest.approx((2.0, 2.0))
    assert crop.extent == "truncated"
    assert crop.volume_ml == pytest.approx((label_map.labels == 52).sum() * 4.0 * 2.5 * 3.1 / 1000)


def test_anatomies_have_at_least_three_spacings():
    assert len({anatomy.spacing_mm for anatomy in load_anatomies().values()}) >= 3


@settings(max_examples=100, deadline=None)
@given(
    length=st.integers(1, 200),
    spacing=st.floats(0.5, 8),
    cell=st.floats(0.5, 8),
    low=st.floats(-20, 150),
    size=st.floats(0.5, 250),
)
def test_centres_are_even_inside_the_box_and_fill_it(length, spacing, cell, low, size):
    low, high = min(low, length - 0.5), low + size
    high = max(high, 0.5, low + 0.5)
    source = SourceGrid((length, 4, 4), canonical_affine((spacing, 1.0, 1.0)))
    box = np.array([(low, 1, 1), (high, 3, 3)])
    grid = crop_grid(source, (spacing, 1.0, 1.0), box, (cell, 1.0, 1.0))
    centres, step = grid.centres[0], grid.spacing_mm[0] / spacing
    inside_low, inside_high = max(low, 0), min(high, length)
    assert np.allclose(np.diff(centres), step)
    quarter = 0.25 * min(1.0, step) + 1e-9
    if inside_high - inside_low >= step / 2:
        assert centres[0] + 0.5 >= inside_low - quarter
        assert centres[-1] + 0.5 <= inside_high + quarter
    assert abs(len(centres) * step - (inside_high - inside_low)) <= step / 2 + 1e-9 or len(centres) == 1
    fits_exactly = low <= 0 and high >= length
    assert fits_exactly or grid.spacing_mm[0] == pytest.approx(cell)
    if fits_exactly:
        assert len(centres) * step == pytest.approx(length)


def test_overview_covers_the_whole_volume():
    volume, _ = scan()
    image, affine = resample_volume(volume, (6.0, 6.0, 6.0))
    assert np.array(image.shape) * spacing_mm(affine) == pytest.approx(volume.coverage_mm)
    low, high = (lps_from_index(affine, np.array(image.shape) * end - 0.5) for end in (0, 1))
    assert np.allclose(low, lps_from_index(volume.affine, (-0.5, -0.5, -0.5)), atol=2)
    assert np.allclose(high, lps_from_index(volume.affine, np.array(volume.shape) - 0.5), atol=2)


@pytest.mark.real
@pytest.mark.parametrize(
    ("image", "mask", "truncated", "absent"),
    [
        ("ct.nii.gz", "totalseg_v2.nii.gz", {"colon", "liver", "lung", "spleen", "stomach"}, {"heart", "esophagus"}),
    ],
)
def test_real_ct(shared_data, image, mask, truncated, absent):
    from preprocess.masks import place_labels, read_masks
    from preprocess.readers_nifti import read_nifti
    from preprocess.structures import structures_named

    volume = read_nifti(shared_data / "real_ct" / image)
    label_map = place_labels(read_masks(shared_data / "real_ct" / mask), volume)
    anatomies = load_anatomies()
    crops = build_crops(volume, label_map, anatomies)
    assert {name for name, crop in crops.items() if crop.extent == "truncated"} == truncated
    assert {name for name, crop in crops.items() if crop.extent == "absent"} == absent
    for name, crop in crops.items():
        if crop.image is None:
            continue
        expected, label = independent(volume, label_map, crop)
        organ = (crop.mask > 0) & (crop.mask < OUTSIDE_ORGAN)
        numbers = structures_named(label_map.names, anatomies[name].structures)
        source = np.isin(label_map.labels, numbers)
        assert np.abs(crop.image - expected).max() <= 1, name
        assert (organ == np.isin(label, numbers)).mean() >= 0.995, name
        measured = organ.sum() * np.prod(crop.spacing_mm) / 1000
        assert measured == pytest.approx(crop.volume_ml, rel=0.02 if crop.volume_ml > 20 else 0.06), name
        centres = [
            lps_from_index(affine, np.argwhere(where).mean(axis=0))
            for affine, where in ((crop.affine, organ), (volume.affine, source))
        ]
        assert np.abs(centres[0] - centres[1]).max() <= min(volume.spacing_mm) / 2, name
