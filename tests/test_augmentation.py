"""Augmentation: parameters from the generator, applied alike to patches and measures."""

from dataclasses import replace

import numpy as np
import pytest
from small_store import ball_crop, small_vocabulary

from ctvlp.augmentation import STILL, AugmentationSettings, augment
from ctvlp.transforms import HU_MEASURES, tokenize_crop

LIVER = small_vocabulary().anatomies["liver"]


@pytest.fixture
def tokens():
    crop = ball_crop(np.random.default_rng(0), set(), anatomy="liver")
    return tokenize_crop(crop, LIVER, patch_voxels=6)


def changed(tokens, seed=0, **values):
    return augment(tokens, replace(STILL, **values), np.random.default_rng(seed))


def test_without_strength_nothing_changes(tokens):
    same = changed(tokens)
    for name in ("patches", "inside", "positions_mm", "index", "measures"):
        np.testing.assert_array_equal(getattr(same, name), getattr(tokens, name))
        assert getattr(same, name).dtype == getattr(tokens, name).dtype


def test_one_generator_gives_one_result_and_leaves_the_tokens_alone(tokens):
    before = tokens.patches.copy(), tokens.measures.copy()
    first, second, other = (augment(tokens, AugmentationSettings(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.patches, second.patches)
    np.testing.assert_array_equal(first.measures, second.measures)
    assert not np.array_equal(first.patches, other.patches)
    np.testing.assert_array_equal(tokens.patches, before[0])
    np.testing.assert_array_equal(tokens.measures, before[1])


@pytest.mark.parametrize("seed", range(3))
def test_attenuation_of_patches_and_measures_moves_by_the_same_line(tokens, seed):
    moved = changed(tokens, seed, offset_hu=20, contrast=0.1)
    before, after = tokens.patches.ravel().astype(float), moved.patches.ravel().astype(float)
    slope, offset = np.polyfit(before, after, 1)
    np.testing.assert_allclose(after, slope * before + offset, atol=0.75)  # whole HU, and a line that is fitted
    levels = [0, *range(2, 12)]  # all but the standard deviation
    expected = tokens.measures[HU_MEASURES] * slope
    expected[levels] += offset / 100
    np.testing.assert_allclose(moved.measures[HU_MEASURES], expected, atol=2e-3)
    assert abs(slope - 1) > 1e-3
    assert abs(offset) > 0.1


def test_noise_has_the_asked_spread_and_no_bias(tokens):
    noise = (changed(tokens, noise_hu=10).patches - tokens.patches).ravel()
    assert noise.std() == pytest.approx(10, rel=0.1)
    assert abs(noise.mean()) < 4 * 10 / np.sqrt(noise.size)


def test_mean_lowest_and_highest_of_a_block_keep_their_order():
    crop = ball_crop(np.random.default_rng(0), set(), anatomy="liver")
    blocks = tokenize_crop(crop, LIVER, patch_voxels=6, block_voxels=2)
    for seed in range(5):
        mean, lowest, highest = np.moveaxis(
            augment(blocks, AugmentationSettings(), np.random.default_rng(seed)).patches, 1, 0
        )
        assert (lowest <= mean).all()
        assert (mean <= highest).all()
        assert len(np.unique(mean - blocks.patches[:, 0])) > 10


def test_noise_differs_from_place_to_place_and_from_crop_to_crop(tokens):
    first, second = ((changed(tokens, seed, noise_hu=50).patches - tokens.patches).ravel() for seed in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    for lag in (1, 6, 36, 216):
        assert abs(np.corrcoef(first[:-lag], first[lag:])[0, 1]) < 0.1


def test_measures_of_an_empty_rim_stay_zero(tokens):
    measures = tokens.measures.copy()
    measures[13:] = 0
    moved = changed(replace(tokens, measures=measures), offset_hu=20, contrast=0.1)
    assert not moved.measures[13:].any()
    assert moved.measures[6] != measures[6]


def test_attenuations_stay_within_what_they_are_kept_as(tokens):
    bright = replace(tokens, patches=np.full_like(tokens.patches, 32000))
    assert changed(bright, noise_hu=2000).patches.max() == 32767


def test_size_scales_places_lengths_and_volumes_together(tokens):
    moved = changed(tokens, size=0.2)
    growth = (moved.measures - tokens.measures)[3]
    assert abs(growth) > 1e-3
    np.testing.assert_allclose((moved.measures - tokens.measures)[:6], growth * np.repeat([3, 1], 3), atol=1e-5)
    np.testing.assert_allclose(moved.positions_mm, tokens.positions_mm * np.exp(growth), rtol=1e-5)


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_dropping_leaves_out_a_share_and_keeps_rows_together(tokens, share):
    kept = changed(tokens, drop_tokens=share)
    assert len(kept) == len(tokens) - int(share * len(tokens)) > 0
    rows = {tuple(index): row for row, index in enumerate(tokens.index.tolist())}
    chosen = [rows[tuple(index)] for index in kept.index.tolist()]
    assert chosen == sorted(chosen)
    for name in ("patches", "inside", "positions_mm"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(tokens, name)[chosen])
