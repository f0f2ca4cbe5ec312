"""How well the report reader's labels agree with what is known to be true."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Agreement:
    """Positive labels against positive truth.

    Attributes:
        precision: Share of positive labels that are true; NaN without a positive label.
        recall: Share of true findings that are labelled; NaN without a true finding.
        f1: Harmonic mean; NaN where neither exists.
        pairs: (study, finding) pairs compared.
        uncertain: Pairs left out because the report hedges.
    """

    precision: float
    recall: float
    f1: float
    pairs: int
    uncertain: int


def label_agreement(labels: pd.DataFrame, truth: pd.DataFrame) -> tuple[Agreement, Mapping[str, Agreement]]:
    """Compare labels with truth, over all pairs and by finding.

    A finding that is not mentioned counts as labelled negative; an uncertain label (-1) and an unknown truth are left
    out. Reports themselves err, so even a perfect reader does not reach 1 against the truth of an image.

    Args:
        labels: Indexed by study, one nullable column a finding: 1, 0, -1 or empty.
        truth: Indexed by study, the same columns: 1, 0 or empty.

    Returns:
        The agreement over all pairs (micro), and finding to its own.
    """
    studies = labels.index.intersection(truth.index)
    columns = [column for column in truth.columns if column in labels.columns]
    said = labels.loc[studies, columns].astype("Float64").to_numpy(np.float64, na_value=0.0)
    known = truth.loc[studies, columns].astype("Float64").to_numpy(np.float64, na_value=np.nan)
    by_finding = {column: _agreement(said[:, k], known[:, k]) for k, column in enumerate(columns)}
    return _agreement(said.ravel(), known.ravel()), by_finding


def _agreement(said: np.ndarray, known: np.ndarray) -> Agreement:
    uncertain = ~np.isnan(known) & (said == -1)
    compared = ~np.isnan(known) & ~uncertain
    positive, true = said[compared] == 1, known[compared] == 1
    hits = int((positive & true).sum())
    precision = hits / positive.sum() if positive.any() else np.nan
    recall = hits / true.sum() if true.any() else np.nan
    either = int(positive.sum() + true.sum())
    return Agreement(
        precision=float(precision),
        recall=float(recall),
        f1=2 * hits / either if either else float("nan"),
        pairs=int(compared.sum()),
        uncertain=int(uncertain.sum()),
    )
