"""Prompts come from the vocabulary, are encoded once each and averaged per side."""

import numpy as np
import pytest

from ctvlp.prompts import (
    PromptPair,
    encode_prompts,
    finding_prompts,
    normality_prompts,
    prompts_digest,
    screening_prompts,
)
from preprocess.vocabulary_files import load_vocabulary


def test_every_finding_and_anatomy_has_prompts_on_both_sides() -> None:
    vocabulary = load_vocabulary("ct54")
    pairs = screening_prompts(vocabulary)
    assert set(pairs) == {f.id for f in vocabulary.findings} | set(vocabulary.anatomies)
    for key, pair in pairs.items():
        assert pair.positive
        assert pair.negative
        assert not set(pair.positive) & set(pair.negative), key
        assert not any("{" in text for text in (*pair.positive, *pair.negative)), key


def test_a_label_without_anatomy_has_no_screening_prompts() -> None:
    vocabulary = load_vocabulary("ct_rate18")
    without = {f.id for f in vocabulary.findings if f.anatomy is None}
    assert without
    assert not without & set(screening_prompts(vocabulary))


def test_a_name_slot_that_is_left_is_filled() -> None:
    finding = load_vocabulary("ct54").finding("liver.cyst")
    slotted = finding.model_copy(update={"positive": ("there is {name}",), "negative": ("no {name}",)})
    assert finding_prompts(slotted) == PromptPair((f"there is {finding.name}",), (f"no {finding.name}",))


def test_normality_prompts_name_the_anatomy() -> None:
    pair = normality_prompts(load_vocabulary("ct54").anatomies["portal_vein"])
    assert all("portal vein" in text for text in (*pair.positive, *pair.negative))


def test_features_are_unit_means_and_each_text_is_encoded_once() -> None:
    asked: list[str] = []

    def encode(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        angles = np.array([len(text) for text in texts], dtype=float)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    pairs = {"x": PromptPair(("a", "bb"), ("ccc",)), "y": PromptPair(("a",), ("ccc", "bb"))}
    features = encode_prompts(pairs, encode)
    assert sorted(asked) == ["a", "bb", "ccc"]
    mean = np.array([np.cos(1) + np.cos(2), np.sin(1) + np.sin(2)])
    np.testing.assert_allclose(features["x"].positive, mean / np.linalg.norm(mean), rtol=1e-6)
    np.testing.assert_allclose(features["x"].negative, [np.cos(3), np.sin(3)], rtol=1e-6)


@pytest.mark.parametrize(
    "changed",
    [{"x": PromptPair(("a",), ("c",))}, {"y": PromptPair(("a",), ("b",))}, {"x": PromptPair(("a", "b"), ())}],
    ids=["text", "key", "side"],
)
def test_digest_changes_with_any_prompt(changed: dict[str, PromptPair]) -> None:
    same = {"x": PromptPair(("a",), ("b",))}
    assert prompts_digest(same) == prompts_digest(dict(same))
    assert prompts_digest(same) != prompts_digest(changed)
