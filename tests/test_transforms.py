"""Tokens of a crop: every voxel of the region in one patch, caps that drop the farthest, places in millimetres."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_store import ball_crop, small_vocabulary

from ctvlp.crop_kernels import PAD_HU
from ctvlp.transforms import MEASURES, count_tokens, measure_crop, tokenize_crop

LIVER = small_vocabulary().anatomies["liver"]


def crop_of(mask, image=None, affine=None, spacing=(5.0, 5.0, 5.0)):
    base = ball_crop(np.random.default_rng(0), set(), anatomy="liver")
    image = np.random.default_rng(1).integers(-1000, 1000, mask.shape).astype(np.int16) if image is None else image
    affine = base.affine if affine is None else affine
    return replace(base, image=image, mask=mask.astype(np.uint8), affine=affine, spacing_mm=spacing)


def random_mask(rng, shape):
    mask = np.zeros(shape, np.uint8)
    centre = [rng.integers(0, n) for n in shape]
    distance = np.sqrt(((np.indices(shape).T - centre) ** 2).sum(-1).T)
    mask[distance < 5] = 255
    mask[distance < 3] = 1
    return mask


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(*[st.integers(3, 21)] * 3),
    edge=st.sampled_from([4, 8]),
    shift=st.tuples(*[st.integers(0, 3)] * 3),
)
def test_every_voxel_of_the_region_lies_in_exactly_one_token_with_its_attenuation(seed, shape, edge, shift):
    mask = random_mask(np.random.default_rng(seed), shape)
    crop = crop_of(mask)
    tokens = tokenize_crop(crop, LIVER, patch_voxels=edge, block_voxels=1, shift=shift)
    seen = np.zeros(shape, int)
    for patch, inside, start in zip(tokens.patches, tokens.inside, tokens.index, strict=True):
        assert inside.any()
        for place in np.argwhere(inside.any(axis=0)):
            voxel = tuple(start + place)
            seen[voxel] += 1
            assert patch[0][tuple(place)] == crop.image[voxel]
            assert inside[0][tuple(place)] == 255 * (mask[voxel] == 1)
    np.testing.assert_array_equal(seen, mask > 0)


def test_blocks_keep_mean_lowest_and_highest_of_the_voxels_in_the_region():
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[:, :, :4], mask[:, :, 4:7] = 1, 255
    crop = crop_of(mask)
    tokens = tokenize_crop(crop, LIVER, patch_voxels=8, block_voxels=2)
    assert tokens.patches.shape == (1, 3, 4, 4, 4)
    block = crop.image[2:4, 4:6, 0:2]
    np.testing.assert_array_equal(tokens.patches[0, :, 1, 2, 0], [round(block.mean()), block.min(), block.max()])
    half = crop.image[2:4, 4:6, 6:7]  # x = 7 is outside the region
    np.testing.assert_array_equal(tokens.patches[0, :, 1, 2, 3], [round(half.mean()), half.min(), half.max()])
    np.testing.assert_array_equal(tokens.inside[0, :, 1, 2, 0], [255, 0])
    np.testing.assert_array_equal(tokens.inside[0, :, 1, 2, 2], [0, 255])
    np.testing.assert_array_equal(tokens.inside[0, :, 1, 2, 3], [0, 128])


def test_blocks_outside_the_region_are_padding():
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[0, 0, 0] = 1
    tokens = tokenize_crop(crop_of(mask), LIVER, patch_voxels=8, block_voxels=2)
    assert (tokens.patches[0, :, 1:] == PAD_HU).all()


def test_a_single_bright_voxel_survives_in_its_block():
    mask = np.ones((16, 16, 16), np.uint8)
    image = np.full(mask.shape, 40, np.int16)
    image[5, 6, 7] = 800
    tokens = tokenize_crop(crop_of(mask, image), LIVER, patch_voxels=16, block_voxels=2)
    assert tokens.patches[0, 2, 2, 3, 3] == 800
    assert (tokens.patches[0, 2] == 800).sum() == 1


def test_above_the_cap_the_farthest_from_the_organ_go_first():
    mask = np.full((4, 4, 40), 255, np.uint8)
    mask[:, :, 4:8] = 1
    full = tokenize_crop(crop_of(mask), LIVER, patch_voxels=4, block_voxels=2)
    capped = tokenize_crop(crop_of(mask), LIVER, patch_voxels=4, block_voxels=2, max_tokens=4)
    assert len(full) == 10
    assert capped.index[:, 2].tolist() == [0, 4, 8, 12]  # the organ's patch, its two neighbours, then the next one
    assert len(tokenize_crop(crop_of(mask), LIVER.model_copy(update={"max_tokens": 2}), patch_voxels=4)) == 2


def test_of_patches_that_hold_the_organ_those_with_least_of_it_go_first():
    mask = np.full((4, 4, 16), 255, np.uint8)
    for patch, voxels in enumerate((1, 3, 2, 4)):
        mask[0, 0, 4 * patch : 4 * patch + voxels] = 1
    for cap, starts in [(3, [4, 8, 12]), (2, [4, 12]), (1, [12])]:
        tokens = tokenize_crop(crop_of(mask), LIVER, patch_voxels=4, block_voxels=2, max_tokens=cap)
        assert tokens.index[:, 2].tolist() == starts


@pytest.mark.parametrize("axes", ["straight", "oblique"])
def test_positions_are_patient_millimetres_from_the_organs_centre(axes):
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[2:6, 2:6, 2:6] = 1
    matrix = np.array([[0, 0, 3.0], [0, 4.0, 0], [5.0, 0, 0]])  # z runs along S, y along P, x along L
    if axes == "oblique":
        turn = np.deg2rad(20)
        matrix = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]) @ matrix
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, [70.0, -30.0, 900.0]
    tokens = tokenize_crop(crop_of(mask, affine=affine, spacing=(5.0, 4.0, 3.0)), LIVER, patch_voxels=4)
    np.testing.assert_allclose(tokens.positions_mm, (tokens.index + 1.5 - 3.5) @ matrix.T, atol=1e-4)


def test_a_shift_moves_the_grid_and_not_the_content():
    mask = random_mask(np.random.default_rng(3), (12, 12, 12))
    tokens = tokenize_crop(crop_of(mask), LIVER, patch_voxels=4, shift=(1, 2, 3))
    assert ((tokens.index + [1, 2, 3]) % 4 == 0).all()
    assert tokens.index.min() < 0 or mask[0].sum() + mask[:, 0].sum() + mask[:, :, 0].sum() == 0


def test_measures_tell_size_parts_and_attenuation():
    mask = np.zeros((10, 10, 10), np.uint8)
    mask[1:5, 1:5, 1:9], mask[6:8, 1:5, 1:9], mask[9] = 1, 2, 255
    image = np.where(mask == 255, -100, 50).astype(np.int16)
    measures = measure_crop(crop_of(mask, image))
    assert measures.shape == (MEASURES,)
    voxel_ml = 0.125
    np.testing.assert_allclose(measures[:3], np.log([192 * voxel_ml, 64 * voxel_ml, 128 * voxel_ml]), rtol=1e-5)
    np.testing.assert_allclose(measures[3:6], np.log([3.5, 2.0, 4.0]), rtol=1e-5)
    np.testing.assert_allclose(measures[6:], [0.5, 0, *[0.5] * 5, *[-1.0] * 5], atol=1e-6)


def test_counting_agrees_with_cutting():
    mask = random_mask(np.random.default_rng(4), (20, 17, 23))
    for edge in (4, 8):
        assert count_tokens(crop_of(mask), edge) == len(tokenize_crop(crop_of(mask), LIVER, patch_voxels=edge))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"image": None, "mask": None, "affine": None}, {}, "liver: an absent anatomy has no tokens"),
        ({"mask": np.zeros((4, 4, 4), np.uint8)}, {}, "liver: the mask of the crop is empty"),
        ({}, {"patch_voxels": 9}, "patch_voxels=9 is no multiple of block_voxels=2"),
    ],
    ids=["absent", "empty", "blocks"],
)
def test_what_cannot_be_cut_is_refused(change, options, message):
    with pytest.raises(ValueError, match=message):
        tokenize_crop(replace(crop_of(np.ones((4, 4, 4), np.uint8)), **change), LIVER, **options)
