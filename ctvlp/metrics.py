"""How well scores tell studies apart: AUROC and average precision with patient-level intervals, and calibration.

Every statistic is computed for many sets of study weights at once: the plain figure has weight 1 everywhere, and a
bootstrap resample gives each study the number of times its patient was drawn. So studies of one patient stay together,
and all findings share the same resamples: the interval of a mean over findings accounts for what they have in common.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CALIBRATION_BINS = 10


@dataclass(frozen=True)
class Estimate:
    """A figure with its percentile interval.

    Args:
        value: The figure on the data as they are; NaN where it is undefined.
        low: Lower end of the interval; NaN where no resample defines the figure.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def weighted_auroc(positive: Bools, score: Floats, weights: Floats) -> Floats:
    """Area under the ROC curve for each set of weights; tied scores count half.

    Args:
        positive: (n,) truth.
        score: (n,) higher means more likely positive.
        weights: (r, n) non-negative study weights.

    Returns:
        (r,) AUROC; NaN where the positives or the negatives weigh nothing.
    """
    up, down = _tie_sums(positive, score, weights)  # (r, k) by rising score
    below = np.cumsum(down, axis=1) - down
    wins = np.sum(up * (below + 0.5 * down), axis=1)
    pairs = up.sum(axis=1) * down.sum(axis=1)
    return _divide(wins, pairs)


def weighted_average_precision(positive: Bools, score: Floats, weights: Floats) -> Floats:
    """Average precision for each set of weights: precision summed over the steps of recall, ties taken as one step.

    Args:
        positive: (n,) truth.
        score: (n,) higher means more likely positive.
        weights: (r, n) non-negative study weights.

    Returns:
        (r,) average precision; NaN where the positives weigh nothing.
    """
    up, down = _tie_sums(positive, score, weights)
    up, down = up[:, ::-1], down[:, ::-1]  # by falling score
    found = np.cumsum(up, axis=1)
    precision = _divide(found, found + np.cumsum(down, axis=1), empty=0.0)
    return _divide(np.sum(up * precision, axis=1), up.sum(axis=1))


def auroc(positive: Bools, score: Floats) -> float:
    """Area under the ROC curve; NaN where a class is empty."""
    return float(weighted_auroc(positive, score, np.ones((1, len(score))))[0])


def average_precision(positive: Bools, score: Floats) -> float:
    """Average precision; NaN without positives."""
    return float(weighted_average_precision(positive, score, np.ones((1, len(score))))[0])


def patient_weights(patients: NDArray[np.object_], *, resamples: int, seed: int) -> Floats:
    """Draw bootstrap weights of studies by drawing patients with replacement.

    Args:
        patients: (n,) patient of each study.
        resamples: Number of resamples.
        seed: Seed of the draw.

    Returns:
        (resamples, n) how often each study's patient was drawn.
    """
    distinct, of_study = np.unique(patients.astype(str), return_inverse=True)
    count = len(distinct)
    generator = np.random.default_rng(seed)
    counts = (
        generator.multinomial(count, np.full(count, 1.0 / count), size=resamples) if count else np.ones((resamples, 0))
    )
    return np.asarray(counts[:, of_study], dtype=np.float64)


def interval(value: float, resampled: Floats, *, level: float = 0.95) -> Estimate:
    """Percentile interval of `resampled`; resamples in which the figure is undefined are left out."""
    defined = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or defined.size == 0:
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))


def mean_interval(values: Floats, resampled: Floats, *, level: float = 0.95) -> Estimate:
    """Mean over findings with its interval by the same resamples.

    Args:
        values: (k,) figure of each finding.
        resampled: (k, r) figure of each finding in each resample; undefined ones are left out of that resample's mean.
        level: Coverage.

    Returns:
        The mean, NaN where no finding is defined.
    """
    defined = np.isfinite(values)
    if not defined.any():
        return Estimate(float("nan"), float("nan"), float("nan"))
    return interval(float(values[defined].mean()), defined_mean(resampled[defined]), level=level)


def defined_mean(values: Floats) -> Floats:
    """Mean over the first axis of what is defined, (k, r) -> (r,); NaN where nothing is."""
    finite = np.isfinite(values)
    return _divide(np.where(finite, values, 0.0).sum(axis=0), finite.sum(axis=0).astype(np.float64))


def brier_score(positive: Bools, probability: Floats) -> float:
    """Mean squared difference between probability and truth; NaN without studies."""
    return float(np.mean((probability - positive) ** 2)) if len(probability) else float("nan")


def calibration_error(positive: Bools, probability: Floats, *, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: |mean probability - share of positives| of equal bins, weighted by their studies.

    Args:
        positive: (n,) truth.
        probability: (n,) in [0, 1].
        bins: Number of bins.

    Returns:
        Error in [0, 1]; NaN without studies.
    """
    if not len(probability):
        return float("nan")
    of_study = np.minimum((probability * bins).astype(np.int64), bins - 1)
    gap = np.bincount(of_study, weights=probability - positive, minlength=bins)
    return float(np.abs(gap).sum() / len(probability))


def _tie_sums(positive: Bools, score: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weight of the positives and of the negatives at each distinct score, by rising score, each (r, k)."""
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if len(ranked) else np.zeros(0, dtype=np.int64)
    if not len(starts):
        empty = np.zeros((len(weights), 0))
        return empty, empty
    sorted_weights = weights[:, order]
    truth = positive[order].astype(np.float64)
    up = np.add.reduceat(sorted_weights * truth, starts, axis=1)
    down = np.add.reduceat(sorted_weights * (1.0 - truth), starts, axis=1)
    return up, down


def _divide(numerator: Floats, denominator: Floats, *, empty: float = float("nan")) -> Floats:
    """`numerator / denominator`, and `empty` where the denominator is 0."""
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), empty)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result
