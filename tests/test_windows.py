"""Windows of whole volumes, against voxel-by-voxel loops: what lies in them, and which tokens belong to an anatomy."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctvlp.augmentation import STILL, AugmentationSettings
from ctvlp.crop_kernels import PAD_HU
from ctvlp.windows import (
    OrganPlace,
    WholeVolume,
    WindowGrid,
    cut_window,
    draw_study_windows,
    draw_window,
    plan_windows,
    read_volume,
)
from preprocess.errors import StoreError
from preprocess.store import Store
from tests.whole_volumes import AFFINE, BOXES, SHAPE, box_crop, box_volume, voxels_of, write_volume_store

GRID = WindowGrid((12, 16, 24), (4, 8, 8))


class OneStudy:
    """Stands in for a study's file."""

    def __init__(self, volumes, crops):
        self.volumes, self.crops = volumes, crops

    def array(self, volume, name):
        assert name == "volume"
        return self.volumes[volume]

    def crop(self, volume, anatomy):
        return self.crops[volume, anatomy]


def one_study(volume, affine=AFFINE):
    crops = {("v0", name): box_crop(volume, name, affine) for name in volume.organs}
    return OneStudy({"v0": (volume.hu, affine)}, crops)


def searched_tokens(volume, grid, start, anatomy):
    """Which patches hold a voxel of an organ, found voxel by voxel; None where the window cuts it."""
    tokens = np.zeros(grid.counts, dtype=bool)
    for voxel in voxels_of(volume.organs[anatomy]):
        place = [int(v) - s for v, s in zip(voxel, start, strict=True)]
        if any(p < 0 or p >= size for p, size in zip(place, grid.shape, strict=True)):
            return None
        tokens[tuple(p // edge for p, edge in zip(place, grid.patch, strict=True))] = True
    return tokens.ravel()


@settings(max_examples=40, deadline=None)
@given(start=st.tuples(st.integers(-6, 12), st.integers(-6, 12), st.integers(-6, 20)))
def test_a_window_holds_what_lies_there_and_the_tokens_of_whole_anatomies(start):
    volume = box_volume()
    window = cut_window(volume, GRID, start)
    for place in product(*(range(0, size, 3) for size in GRID.shape)):
        voxel = tuple(p + s for p, s in zip(place, start, strict=True))
        within = all(0 <= v < n for v, n in zip(voxel, SHAPE, strict=True))
        assert window.hu[place] == (volume.hu[voxel] if within else PAD_HU)
    for name in BOXES:
        expected = searched_tokens(volume, GRID, start, name)
        assert (name in window.tokens) == (expected is not None)
        if expected is not None:
            np.testing.assert_array_equal(window.tokens[name], expected)


@pytest.mark.parametrize("tilt", [0.0, 0.2], ids=["straight", "oblique"])
def test_organs_lie_in_the_volume_where_their_crops_masks_say(tilt):
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    affine = AFFINE.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    volume = box_volume()
    found = read_volume(one_study(volume, affine), "v0", list(BOXES))
    np.testing.assert_array_equal(found.hu, volume.hu)
    for name, organ in volume.organs.items():
        crop, voxels = box_crop(volume, name, affine), voxels_of(organ)
        places = [crop.affine @ [*index, 1] for index in np.argwhere(crop.mask == 1)]
        nearest = {tuple(np.rint(np.linalg.solve(affine, place))[:3].astype(int)) for place in places}
        assert set(map(tuple, voxels_of(found.organs[name]))) == nearest
        assert nearest <= set(map(tuple, voxels))
        assert len(nearest) * 5 > len(voxels)  # the crop has every fourth voxel


def test_an_organ_that_its_mask_misses_lies_in_its_region():
    volume = box_volume()
    study = one_study(volume)
    crop = study.crops["v0", "liver"]
    crop.mask[:] = 255
    found = read_volume(study, "v0", ["liver"]).organs["liver"]
    rim = np.array([[2, 2, 2], [2, 3, 3]])  # of the crop; every second voxel along y and x
    assert (np.abs(found.box - volume.organs["liver"].box) <= rim).all()
    assert found.mask.all()
    crop.mask[:] = 0
    with pytest.raises(ValueError, match="empty mask"):
        read_volume(study, "v0", ["liver"])


def test_a_drawn_window_lies_in_the_volume_and_holds_an_anatomy_drawn_at_random():
    volume, held = box_volume(), []
    volume.hu[:] = np.arange(volume.hu.size).reshape(volume.hu.shape) % 7  # nothing is air
    for seed in range(30):
        window = draw_window(volume, GRID, np.random.default_rng(seed))
        assert window.hu.shape == GRID.shape
        assert window.hu.min() >= 0
        assert window.tokens
        held.append(frozenset(window.tokens))
    assert {name for names in held for name in names} == set(BOXES)
    again = draw_window(volume, GRID, np.random.default_rng(3))
    np.testing.assert_array_equal(again.hu, draw_window(volume, GRID, np.random.default_rng(3)).hu)


def test_places_of_one_anatomy_vary_over_all_that_hold_it():
    volume = box_volume({"liver": BOXES["liver"]})
    drawn = [draw_window(volume, GRID, np.random.default_rng(seed)) for seed in range(200)]
    assert all("liver" in window.tokens for window in drawn)
    assert len({window.hu.tobytes() for window in drawn}) == 3 * 4 * 3  # starts along z, y and x


@pytest.mark.parametrize("shape", [(8, 12, 20), (14, 12, 40)], ids=["smaller", "smaller along one axis"])
def test_a_volume_smaller_than_the_window_lies_in_its_middle(shape):
    volume = box_volume({"liver": ((1, 7), (2, 9), (3, 15))}, shape)
    window = draw_window(volume, GRID, np.random.default_rng(0))
    spare = [max(0, (size - n) // 2) for size, n in zip(GRID.shape, shape, strict=True)]
    inner = tuple(slice(a, a + min(n, size)) for a, n, size in zip(spare, shape, GRID.shape, strict=True))
    assert (window.hu == PAD_HU).sum() == window.hu.size - window.hu[inner].size
    assert "liver" in window.tokens


def test_without_an_anatomy_that_fits_a_window_is_drawn_all_the_same():
    volume = box_volume({"liver": ((0, 20), (0, 24), (0, 40))})
    window = draw_window(volume, GRID, np.random.default_rng(0))
    assert window.tokens == {}
    assert draw_window(box_volume({}), GRID, np.random.default_rng(0)).hu.shape == GRID.shape


@pytest.mark.parametrize(
    ("boxes", "shapes"),
    [
        (BOXES, [GRID.shape, GRID.shape]),
        ({"liver": BOXES["liver"], "kidney": ((4, 10), (5, 12), (8, 22))}, [GRID.shape]),
        ({"liver": ((1, 19), (2, 9), (3, 30))}, [(20, 16, 32)]),
        ({}, []),
    ],
    ids=["apart", "neighbours", "larger than a window", "none"],
)
def test_planned_windows_hold_every_anatomy_whole(boxes, shapes):
    windows = plan_windows(box_volume(boxes), GRID)
    assert [window.hu.shape for window in windows] == shapes
    assert {name for window in windows for name in window.tokens} == set(boxes)


def test_a_planned_window_lies_round_the_middle_of_what_it_was_cut_for():
    (window,) = plan_windows(box_volume({"liver": ((8, 12), (8, 16), (16, 24))}), GRID)
    tokens = window.tokens["liver"].reshape(GRID.counts)
    np.testing.assert_array_equal(tokens, tokens[::-1, ::-1, ::-1])


def test_a_study_gives_a_window_for_each_volume_its_samples_come_from():
    first, second = box_volume({"liver": BOXES["liver"]}), box_volume({"kidney": BOXES["kidney"]}, seed=5)
    crops = {("v0", "liver"): box_crop(first, "liver"), ("v1", "kidney"): box_crop(second, "kidney")}
    study = OneStudy({"v0": (first.hu, AFFINE), "v1": (second.hu, AFFINE)}, crops)
    rng = np.random.default_rng(0)
    windows, number_of = draw_study_windows(study, {"kidney": "v1", "liver": "v0"}, GRID, STILL, rng)
    assert number_of == {"liver": 0, "kidney": 1}
    assert [list(window.tokens) for window in windows] == [["liver"], ["kidney"]]
    plain = draw_window(read_volume(study, "v0", ["liver"]), GRID, np.random.default_rng(0))
    np.testing.assert_array_equal(windows[0].hu, plain.hu)


def test_a_volume_of_which_no_anatomy_fits_into_a_window_is_left_out():
    large = box_volume({"liver": ((0, 20), (0, 24), (0, 40))})
    study = OneStudy({"v0": (large.hu, AFFINE)}, {("v0", "liver"): box_crop(large, "liver")})
    assert draw_study_windows(study, {"liver": "v0"}, GRID, STILL, np.random.default_rng(0)) == ([], {})


def test_attenuation_changes_as_asked_and_alike_for_one_seed():
    study = one_study(box_volume())
    loud = AugmentationSettings(offset_hu=20.0, contrast=0.1, noise_hu=0.0, size=0.0)
    still, changed, again, noisy = (
        draw_study_windows(study, dict.fromkeys(BOXES, "v0"), GRID, asked, np.random.default_rng(2))[0][0].hu.astype(
            float
        )
        for asked in (STILL, loud, loud, AugmentationSettings(offset_hu=0.0, contrast=0.0, noise_hu=6.0))
    )
    np.testing.assert_array_equal(changed, again)
    slope, offset = np.polyfit(still.ravel(), changed.ravel(), 1)
    np.testing.assert_allclose(changed, slope * still + offset, atol=0.6)
    assert abs(slope - 1) > 0.01 or abs(offset) > 1
    assert 5 < (noisy - still).std() < 7


@pytest.mark.parametrize(
    ("shape", "patch"), [((12, 16, 20), (4, 8, 8)), ((0, 16, 24), (4, 8, 8)), ((4, 8, 8), (0, 8, 8))]
)
def test_a_window_that_patches_do_not_fill_is_refused(shape, patch):
    with pytest.raises(ValueError, match="cannot be cut into patches"):
        WindowGrid(shape, patch)


def test_a_store_without_whole_volumes_is_named_with_what_to_do(tmp_path):
    write_volume_store(tmp_path, studies=1, keep=False)
    with (
        Store(tmp_path).open_study("000") as study,
        pytest.raises(StoreError, match=r"study 000, v0/volume.*recrop with keep=\[volume\]"),
    ):
        read_volume(study, "v0", ["liver"])


def test_a_crop_whose_axes_are_not_the_volumes_is_refused():
    study = one_study(box_volume())
    crop = study.crops["v0", "liver"]
    crop.affine[:3, :3] = crop.affine[:3, [1, 0, 2]]
    with pytest.raises(ValueError, match="axes of a crop and of its volume"):
        read_volume(study, "v0", ["liver"])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_tokens_of_an_organ_of_any_form_are_those_that_hold_its_voxels(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    step, low = rng.integers(1, 5, 3), rng.integers(0, 4, 3)
    counts = [int((size - a) // s) for size, a, s in zip(GRID.shape, low, step, strict=True)]
    mask = rng.random(counts) < 0.1
    lines = tuple(np.arange(n) * s + a for n, a, s in zip(counts, low, step, strict=True))
    volume = WholeVolume(np.zeros((30, 30, 30), np.int16), {"liver": OrganPlace(mask, lines)})
    expected = searched_tokens(volume, GRID, (0, 0, 0), "liver")
    np.testing.assert_array_equal(cut_window(volume, GRID, (0, 0, 0)).tokens["liver"], expected)
