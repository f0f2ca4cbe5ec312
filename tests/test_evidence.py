"""Leaving a token out finds the token that a score rests on, and the map puts it back where it was."""

import numpy as np
import pytest

from ctvlp.batches import build_image_batch
from ctvlp.evidence import evidence_map, token_evidence, without_token
from ctvlp.prompts import PromptFeatures
from ctvlp.transforms import tokenize_crop
from tests.screened_store import VOCABULARY, DensityModel
from tests.small_store import ball_crop

BRIGHT = PromptFeatures(np.array([0, 0, 1], dtype=np.float32), np.array([1, 0, 0], dtype=np.float32))


@pytest.fixture(scope="module")
def stone():
    crop = ball_crop(np.random.default_rng(0), {"kidney.calculus"}, anatomy="kidney")
    return crop, DensityModel().tokenize(crop, "kidney")


def test_the_token_with_the_stone_matters_most(stone) -> None:
    crop, tokens = stone
    values = token_evidence(DensityModel(), "kidney", tokens, [BRIGHT])[0]
    assert values.shape == (len(tokens),)
    holds = [patch.max() > 800 for patch in tokens.patches]
    assert int(np.argmax(values)) == int(np.argmax(holds))
    heat = evidence_map(tokens, values, crop.mask > 0)
    z, y, x = np.unravel_index(np.argmax(crop.image), crop.image.shape)
    assert heat[z, y, x] == 1.0
    assert heat[crop.mask == 0].max() == 0.0
    assert heat.min() >= 0.0


def test_evidence_equals_a_plain_loop(stone) -> None:
    _, tokens = stone
    model = DensityModel()
    opposite = PromptFeatures(BRIGHT.negative, BRIGHT.positive)
    values = token_evidence(model, "kidney", tokens, [BRIGHT, opposite], batch_size=3)

    def margin(these) -> float:
        vector = model.encode_image(build_image_batch("kidney", [these]))[0].numpy()
        return float(model.logit_scale) * float(vector @ (BRIGHT.positive - BRIGHT.negative))

    expected = [margin(tokens) - margin(without_token(tokens, i)) for i in range(len(tokens))]
    np.testing.assert_allclose(values[0], expected, atol=1e-5)
    np.testing.assert_allclose(values[1], -values[0], atol=1e-5)


def test_a_single_token_and_evidence_against_give_an_empty_map(stone) -> None:
    crop, tokens = stone
    single = tokens
    while len(single) > 1:
        single = without_token(single, 0)
    assert token_evidence(DensityModel(), "kidney", single, [BRIGHT]).tolist() == [[0.0]]
    assert not evidence_map(tokens, np.full(len(tokens), -1.0, dtype=np.float32), crop.mask > 0).any()


def test_a_patch_that_sticks_out_of_the_crop_is_clipped(stone) -> None:
    crop, _ = stone
    tokens = tokenize_crop(crop, VOCABULARY.anatomies["kidney"], patch_voxels=8, shift=(3, 5, 2))
    assert (tokens.index < 0).any()
    heat = evidence_map(tokens, np.ones(len(tokens), dtype=np.float32), crop.mask > 0)
    np.testing.assert_array_equal(heat > 0, crop.mask > 0)
