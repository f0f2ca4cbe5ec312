"""The regression sees volumes and mean HU alone, learns from training studies alone, and is judged on the same rows."""

import numpy as np
import pandas as pd
import pytest

from ctvlp.baselines import organ_features, regression_scores
from ctvlp.metrics import auroc
from ctvlp.scoring import score_store
from preprocess.errors import InputError
from preprocess.store import Store
from tests.screened_store import VOCABULARY, DensityModel, write_screened_store


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    labels = write_screened_store(path, studies=60, train=30)
    store = Store(path)
    scores, _ = score_store(store, DensityModel(), VOCABULARY, splits=["test"])
    return store, labels, scores


def train_ids(labels: pd.DataFrame) -> list[str]:
    return list(labels.index[:30])


def test_features_are_log_volume_and_mean_hu_of_the_organ(case) -> None:
    store, _, _ = case
    features = organ_features(store)
    assert list(features.columns) == ["kidney.log_volume", "kidney.mean_hu", "liver.log_volume", "liver.mean_hu"]
    with store.open_study("003abc") as study:
        crop = study.crop("v0", "liver")
    assert features.at["003abc", "liver.log_volume"] == pytest.approx(np.log(crop.volume_ml))
    assert features.at["003abc", "liver.mean_hu"] == pytest.approx(crop.image[crop.mask == 1].mean())
    assert features.loc["000abc", ["kidney.log_volume", "kidney.mean_hu"]].isna().all()


def test_it_finds_what_shows_in_mean_hu(case) -> None:
    store, labels, scores = case
    result = regression_scores(organ_features(store), labels, scores, train_ids(labels))
    assert result[["study_id", "finding", "assessable"]].equals(scores[["study_id", "finding", "assessable"]])
    assert (result["probability"].notna() == scores["assessable"]).all()
    fatty = result[(result["finding"] == "liver.fatty_liver") & result["assessable"]]
    truth = labels["liver.fatty_liver"].loc[fatty["study_id"]].to_numpy() == 1
    assert auroc(truth, fatty["probability"].to_numpy()) > 0.95


def test_labels_of_judged_studies_change_nothing(case) -> None:
    store, labels, scores = case
    features = organ_features(store)
    known = labels.drop(columns="patient_id")
    other = known.copy()
    other.iloc[30:] = 1 - known.iloc[30:]
    plain = regression_scores(features, known, scores, train_ids(labels))
    changed = regression_scores(features, other, scores, train_ids(labels))
    pd.testing.assert_frame_equal(plain, changed)


def test_uncertain_is_left_out_not_mentioned_is_negative_and_one_class_is_constant(case) -> None:
    store, labels, scores = case
    features = organ_features(store)
    changed = labels.drop(columns="patient_id").astype("Int8")
    changed["liver.cyst"] = -1
    changed["kidney.calculus"] = pd.NA
    result = regression_scores(features, changed, scores, train_ids(labels)).set_index("finding")["probability"]
    assert set(result["liver.cyst"].dropna()) == {0.5}
    assert set(result["kidney.calculus"].dropna()) == {0.0}


def test_without_training_studies_it_refuses(case) -> None:
    store, labels, scores = case
    with pytest.raises(InputError, match="nothing to learn from"):
        regression_scores(organ_features(store), labels, scores, ["elsewhere"])
