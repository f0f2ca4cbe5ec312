"""What the model has to beat: a regression on mask volumes and mean HU alone, and its own starting weights."""

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from ctvlp.crop_kernels import REGION_VALUE
from ctvlp.scores import SCORE_COLUMNS
from preprocess.errors import InputError

if TYPE_CHECKING:
    from ctvlp.checkpoint import Run
    from ctvlp.model import AnatomyCLIP
    from preprocess.store import Store

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Scaling:
    """Means and spreads of the training studies; a missing value becomes the mean, and a column says so."""

    mean: Floats
    spread: Floats

    def apply(self, features: Floats) -> Floats:
        missing = np.isnan(features)
        scaled = (np.where(missing, self.mean, features) - self.mean) / self.spread
        return np.concatenate([scaled, missing.astype(np.float64)], axis=1)


def organ_features(store: "Store") -> pd.DataFrame:
    """Logarithm of each anatomy's volume in ml and its mean HU, a row a study; empty where the anatomy is absent.

    Args:
        store: The store; the primary crop of each anatomy is taken.

    Returns:
        Indexed by study, with columns `<anatomy>.log_volume` and `<anatomy>.mean_hu` in order of name.
    """
    manifest = store.manifest()
    rows: dict[str, dict[str, float]] = {}
    for study, of_study in manifest.groupby("study_id", sort=True):
        values = rows.setdefault(str(study), {})
        with store.open_study(str(study)) as file:
            for row in of_study[of_study["primary"].astype(bool)].itertuples():
                crop = file.crop(str(row.volume), str(row.anatomy))
                if crop.image is None or crop.mask is None:
                    continue
                organ = (crop.mask > 0) & (crop.mask < REGION_VALUE)
                values[f"{row.anatomy}.log_volume"] = float(np.log(max(crop.volume_ml, 1e-3)))
                values[f"{row.anatomy}.mean_hu"] = float(crop.image[organ].mean()) if organ.any() else float("nan")
    table = pd.DataFrame.from_dict(rows, orient="index", dtype=np.float64)
    return table[sorted(table.columns)].rename_axis("study_id")


def regression_scores(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    scores: pd.DataFrame,
    trained_studies: Collection[str],
    *,
    strength: float = 1.0,
) -> pd.DataFrame:
    """Score findings by one L2-regularised logistic regression each, on the features of the whole study.

    It learns from the report labels of the training studies, as the model does: positive against all others, where
    "not mentioned" counts as negative and uncertain ones are left out. A finding without two classes in training scores
    its share of positives everywhere.

    Args:
        features: Of `organ_features`.
        labels: Report labels indexed by study, see `ctvlp.scores.read_labels`.
        scores: The model's own table: the same rows come back with other probabilities, so that both are judged alike.
        trained_studies: Studies to learn from.
        strength: scikit-learn's C, the inverse of the regularisation.

    Returns:
        A table like `scores`.

    Raises:
        InputError: No training study has both features and labels.
    """
    trained = sorted(set(trained_studies) & set(features.index) & set(labels.index))
    if not trained:
        raise InputError("the regression has nothing to learn from: no training study has both masks and labels")
    known = features.loc[trained].to_numpy(np.float64)
    scaling = _scaling(known)
    train, judged = scaling.apply(known), sorted(set(scores["study_id"]))
    judged_features = scaling.apply(features.reindex(judged).to_numpy(np.float64))
    result = scores.copy()
    probability: dict[tuple[str, str], float] = {}
    for finding in result["finding"].unique():
        values = labels[finding].reindex(trained).astype("Float64").to_numpy(np.float64, na_value=0.0)
        predicted = _fit_predict(train[values >= 0], values[values >= 0] == 1, judged_features, strength)
        probability |= {(study, str(finding)): float(p) for study, p in zip(judged, predicted, strict=True)}
    pairs = zip(result["study_id"], result["finding"], strict=True)
    result["probability"] = np.where(result["assessable"], [probability[pair] for pair in pairs], np.nan)
    result["abnormal_probability"] = np.nan
    return result[list(SCORE_COLUMNS)]


def untrained_model(run: "Run", *, seed: int = 1) -> "AnatomyCLIP":
    """The model of a run with starting weights instead of trained ones, in evaluation mode.

    What it knows of the training crops before its first step, the mean and spread of their measures, stays.

    Args:
        run: Gives configuration and anatomies.
        seed: Of the weights; another than training's, so that it is no earlier state of the same model.
    """
    from ctvlp.model import build_model

    device = next(run.model.parameters()).device
    model = build_model(run.config, run.vocabulary.anatomies, seed=seed).to(device)
    for name, measured in run.model.vision.named_buffers():
        model.vision.get_buffer(name).copy_(measured)
    return model.eval()


def _scaling(features: Floats) -> _Scaling:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an anatomy that no training study has
        mean, spread = np.nanmean(features, axis=0), np.nanstd(features, axis=0)
    return _Scaling(np.nan_to_num(mean), np.where(np.nan_to_num(spread) > 1e-9, spread, 1.0))


def _fit_predict(train: Floats, positive: NDArray[np.bool_], judged: Floats, strength: float) -> Floats:
    if positive.all() or not positive.any():
        return np.full(len(judged), float(positive.mean()) if len(positive) else 0.5)
    model = LogisticRegression(C=strength, max_iter=2000)
    model.fit(train, positive)
    return np.asarray(model.predict_proba(judged)[:, 1], dtype=np.float64)
