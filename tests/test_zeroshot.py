"""A score is a softmax over two similarities, and what cannot be assessed says why."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from ctvlp.prompts import PromptFeatures
from ctvlp.zeroshot import NotAssessable, assess, zero_shot_probability
from preprocess.vocabulary_files import load_vocabulary

VOCABULARY = load_vocabulary("ct54")
EVERYWHERE = dict.fromkeys(VOCABULARY.anatomies, "complete")
unit = st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda v: np.linalg.norm(v) > 0.1)


def normalised(values: list[float]) -> np.ndarray:
    return (np.array(values) / np.linalg.norm(values)).astype(np.float32)


@given(unit, unit, unit, st.floats(1, 1000))
def test_probability_is_the_softmax_of_scaled_similarities(image, positive, negative, scale) -> None:
    vector, pair = normalised(image), PromptFeatures(normalised(positive), normalised(negative))
    logits = scale * np.array([vector @ pair.positive, vector @ pair.negative], dtype=np.float64)
    probability = zero_shot_probability(vector[None], pair, scale)[0]
    assert probability == pytest.approx(softmax(logits)[0], abs=2e-3 if scale > 100 else 1e-4)
    swapped = PromptFeatures(pair.negative, pair.positive)
    assert zero_shot_probability(vector[None], swapped, scale)[0] == pytest.approx(1 - probability, abs=1e-9)


@pytest.mark.parametrize(
    ("finding", "extents", "status", "quality", "expected"),
    [
        ("liver.cyst", {}, None, True, (None, False)),
        ("liver.cyst", {"liver": "truncated"}, None, True, (None, True)),
        ("liver.cirrhosis", {"liver": "truncated"}, None, True, (NotAssessable.CUT, False)),
        ("heart.cardiomegaly", {"heart": "truncated"}, "abnormal", True, (NotAssessable.CUT, False)),
        ("gallbladder.gallstone", {"gallbladder": "absent"}, None, True, (NotAssessable.SEGMENTATION_FAILED, False)),
        ("gallbladder.gallstone", {"gallbladder": "absent"}, "removed", True, (NotAssessable.REMOVED, False)),
        (
            "gallbladder.gallstone",
            {"gallbladder": "absent", "liver": "truncated"},
            None,
            True,
            (NotAssessable.NOT_COVERED, False),
        ),
        (
            "heart.cardiomegaly",
            {"heart": "absent", "lung": "truncated", "esophagus": "absent"},
            None,
            True,
            (NotAssessable.NOT_COVERED, False),
        ),
        ("liver.cyst", {}, None, False, (NotAssessable.QUALITY, False)),
    ],
    ids=["whole", "part", "cut", "cut heart", "missed", "removed", "unclear", "not covered", "quality"],
)
def test_assessable_or_why_not(finding, extents, status, quality, expected) -> None:
    beside = VOCABULARY.anatomies[finding.split(".")[0]].beside
    judged = assess(VOCABULARY.finding(finding), beside, EVERYWHERE | extents, status=status, quality=quality)
    assert judged == expected


def test_a_label_without_anatomy_is_not_covered() -> None:
    finding = next(f for f in load_vocabulary("ct_rate18").findings if f.anatomy is None)
    assert assess(finding, (), EVERYWHERE) == (NotAssessable.NOT_COVERED, False)
