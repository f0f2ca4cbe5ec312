"""The figures agree with scikit-learn, ties included, and intervals are drawn over patients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from ctvlp import metrics


def both_classes(pairs: list[tuple[bool, int, int]]) -> bool:
    return len({positive for positive, _, weight in pairs if weight}) == 2


study = st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3))
studies = st.lists(study, min_size=2, max_size=40).filter(both_classes)


@given(studies)
@settings(max_examples=60, deadline=None)
def test_weighted_figures_equal_scikit_learn_with_ties(pairs: list[tuple[bool, int, int]]) -> None:
    positive, score, weight = (np.array(column) for column in zip(*pairs, strict=True))
    arguments = (positive, score.astype(float), weight[None].astype(float))
    assert metrics.weighted_auroc(*arguments)[0] == pytest.approx(roc_auc_score(positive, score, sample_weight=weight))
    expected = average_precision_score(positive, score, sample_weight=weight)
    assert metrics.weighted_average_precision(*arguments)[0] == pytest.approx(expected)


@given(studies, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_order_of_studies_does_not_matter(pairs: list[tuple[bool, int, int]], random) -> None:
    shuffled = random.sample(pairs, len(pairs))
    results = []
    for rows in (pairs, shuffled):
        positive, score, weight = (np.array(column) for column in zip(*rows, strict=True))
        results.append(metrics.weighted_auroc(positive, score.astype(float), weight[None].astype(float))[0])
    assert results[0] == pytest.approx(results[1])


@pytest.mark.parametrize("positive", [[True, True], [False, False], []], ids=["positives", "negatives", "none"])
def test_auroc_without_a_class_is_nan(positive: list[bool]) -> None:
    assert np.isnan(metrics.auroc(np.array(positive, dtype=bool), np.linspace(0, 1, len(positive))))


def test_a_patients_studies_are_drawn_together() -> None:
    patients = np.array(["a", "b", "a", "c"], dtype=object)
    weights = metrics.patient_weights(patients, resamples=200, seed=1)
    assert weights.shape == (200, 4)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(axis=1), 3)
    assert (weights[:, 0] != weights[:, 1]).any()


def test_interval_covers_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth = 0.7602  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    covered = 0
    for seed in range(100):
        positive = np.arange(120) < 40
        score = rng.normal(size=120) + positive
        weights = metrics.patient_weights(np.arange(120).astype(object), resamples=300, seed=seed)
        estimate = metrics.interval(metrics.auroc(positive, score), metrics.weighted_auroc(positive, score, weights))
        covered += estimate.low <= truth <= estimate.high
    assert 86 <= covered <= 100


def test_clustered_patients_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    positive = np.repeat(rng.random(30) < 0.5, 4)
    score = np.repeat(rng.normal(size=30), 4) + 0.5 * positive
    by_patient = metrics.patient_weights(np.repeat(np.arange(30), 4).astype(object), resamples=400, seed=0)
    by_study = metrics.patient_weights(np.arange(120).astype(object), resamples=400, seed=0)
    widths = []
    for weights in (by_patient, by_study):
        estimate = metrics.interval(metrics.auroc(positive, score), metrics.weighted_auroc(positive, score, weights))
        widths.append(estimate.high - estimate.low)
    assert widths[0] > 1.5 * widths[1]


def test_mean_interval_leaves_undefined_findings_out() -> None:
    values = np.array([0.8, np.nan, 0.6])
    resampled = np.array([[0.8, 0.9, np.nan], [np.nan, np.nan, np.nan], [0.6, 0.5, 0.7]])
    estimate = metrics.mean_interval(values, resampled, level=1.0)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.7, 0.7, 0.7))
    assert np.isnan(metrics.mean_interval(values[1:2], resampled[1:2]).value)


def test_brier_score_equals_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    positive, probability = rng.random(50) < 0.3, rng.random(50)
    assert metrics.brier_score(positive, probability) == pytest.approx(brier_score_loss(positive, probability))


@pytest.mark.parametrize(
    ("probability", "positive", "expected"),
    [
        ([0.25] * 4, [True, False, False, False], 0.0),
        ([1.0, 1.0], [False, False], 1.0),
        ([0.05, 0.95], [False, True], 0.05),
    ],
    ids=["calibrated", "always wrong", "two bins"],
)
def test_calibration_error(probability: list[float], positive: list[bool], expected: float) -> None:
    assert metrics.calibration_error(np.array(positive), np.array(probability)) == pytest.approx(expected)
