"""Augmentation: parameters from the generator, applied alike to patches and measures."""

import numpy as np
import pytest
import torch
from small_store import ball_crop, small_vocabulary

from ctvlp.augmentation import AugmentationSettings, augment
from ctvlp.batches import build_image_batch
from ctvlp.transforms import HU_MEASURES, tokenize_crop

NONE = AugmentationSettings(offset_hu=0, contrast=0, noise_hu=0, size=0, drop_tokens=0)
LIVER = small_vocabulary().anatomies["liver"]


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    crops = [ball_crop(rng, set(), anatomy="liver") for _ in range(3)]
    return build_image_batch("liver", [tokenize_crop(crop, LIVER, patch_voxels=8) for crop in crops])


def test_without_strength_nothing_changes(batch):
    same = augment(batch, NONE, np.random.default_rng(0))
    assert torch.equal(same.patches, batch.patches.float())
    assert torch.equal(same.positions_mm, batch.positions_mm)
    torch.testing.assert_close(same.measures, batch.measures)


def test_one_generator_gives_one_result_and_leaves_the_batch_alone(batch):
    before = batch.patches.clone()
    first, second, other = (augment(batch, AugmentationSettings(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.patches, second.patches)
    assert torch.equal(first.measures, second.measures)
    assert not torch.equal(first.patches, other.patches)
    assert torch.equal(batch.patches, before)


def test_attenuation_of_patches_and_measures_moves_by_the_same_line(batch):
    settings = AugmentationSettings(offset_hu=20, contrast=0.1, noise_hu=0, size=0)
    moved = augment(batch, settings, np.random.default_rng(3))
    ends = batch.lengths.cumsum(0).tolist()
    for crop, (end, length) in enumerate(zip(ends, batch.lengths.tolist(), strict=True)):
        before, after = (b.patches[end - length : end].flatten().double().numpy() for b in (batch, moved))
        slope, offset = np.polyfit(before, after, 1)
        np.testing.assert_allclose(after, slope * before + offset, atol=1e-2)
        levels = [0, *range(2, 12)]  # all but the standard deviation
        expected = batch.measures[crop, HU_MEASURES].numpy() * slope
        expected[levels] += offset / 100
        np.testing.assert_allclose(moved.measures[crop, HU_MEASURES], expected, atol=1e-3)
    slopes = {round(float(moved.patches[end - 1].mean() - batch.patches[end - 1].float().mean()), 3) for end in ends}
    assert len(slopes) == 3


def test_size_scales_places_lengths_and_volumes_together(batch):
    moved = augment(
        batch, AugmentationSettings(offset_hu=0, contrast=0, noise_hu=0, size=0.2), np.random.default_rng(4)
    )
    growth = (moved.measures - batch.measures)[:, 3]
    torch.testing.assert_close((moved.measures - batch.measures)[:, 0], 3 * growth, atol=1e-5, rtol=1e-5)
    scale = growth.exp().repeat_interleave(batch.lengths)[:, None]
    torch.testing.assert_close(moved.positions_mm, batch.positions_mm * scale, atol=1e-3, rtol=1e-4)
    assert growth.abs().min() > 1e-3


def test_dropping_leaves_out_a_share_of_each_crop_and_keeps_rows_together(batch):
    settings = AugmentationSettings(offset_hu=0, contrast=0, noise_hu=0, size=0, drop_tokens=0.5)
    kept = augment(batch, settings, np.random.default_rng(5))
    assert kept.lengths.tolist() == [length - length // 2 for length in batch.lengths.tolist()]
    first = batch.lengths[0]
    rows = {
        tuple(p): patch for p, patch in zip(batch.positions_mm[:first].tolist(), batch.patches[:first], strict=True)
    }
    first = kept.lengths[0]
    for place, patch in zip(kept.positions_mm[:first].tolist(), kept.patches[:first], strict=True):
        assert torch.equal(rows.pop(tuple(place)).float(), patch)
