"""A store goes through a model study by study: every finding gets a score, or the reason why it has none."""

from pathlib import Path

import numpy as np
import pytest

from ctvlp.metrics import auroc
from ctvlp.scores import SCORE_COLUMNS, read_scores
from ctvlp.scoring import score_store
from preprocess.errors import InputError
from preprocess.store import Store, study_path
from tests.screened_store import VOCABULARY, DensityModel, write_screened_store
from tests.small_store import FINDINGS


@pytest.fixture(scope="module")
def screened(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    labels = write_screened_store(path, studies=24, train=4)
    return Store(path), labels


def test_every_study_and_finding_has_one_row(screened) -> None:
    store, _ = screened
    seen: list[tuple[int, int]] = []
    scores, failures = score_store(store, DensityModel(), VOCABULARY, progress=lambda *n: seen.append(n))
    assert failures == {}
    assert list(scores.columns) == list(SCORE_COLUMNS)
    assert len(scores) == 24 * len(FINDINGS)
    assert seen == [(n, 24) for n in range(1, 25)]
    assert set(scores["split"]) == {"train", "test"}
    assert read_scores(scores)["probability"].dropna().between(0, 1).all()
    assert (scores["assessable"] == scores["probability"].notna()).all()


def test_the_score_tells_the_finding(screened) -> None:
    store, labels = screened
    scores, _ = score_store(store, DensityModel(), VOCABULARY)
    stones = scores[(scores["finding"] == "kidney.calculus") & scores["assessable"]]
    truth = labels["kidney.calculus"].loc[stones["study_id"]].to_numpy() == 1
    assert auroc(truth, stones["probability"].to_numpy()) == 1.0


def test_reasons_and_partial_views(screened) -> None:
    store, _ = screened
    scores, _ = score_store(store, DensityModel(), VOCABULARY)
    of = scores.set_index(["study_id", "finding"])
    assert of.loc[("000abc", "kidney.calculus"), "reason"] == "not_covered"
    assert of.loc[("000abc", "liver.cyst"), ["assessable", "partial"]].tolist() == [True, True]
    assert set(of.loc["001abc", "reason"]) == {"quality"}
    assert of.loc["001abc", "abnormal_probability"].isna().all()
    assert set(of.loc["002abc", "reason"]) == {""}


def test_patients_of_training_are_of_split_train_whatever_the_store_says(screened) -> None:
    store, _ = screened
    scores, _ = score_store(store, DensityModel(), VOCABULARY, trained_patients={"p05"})
    assert set(scores.loc[scores["patient_id"] == "p05", "split"]) == {"train"}
    only, _ = score_store(store, DensityModel(), VOCABULARY, splits=["test"], trained_patients={"p05"})
    assert "p05" not in set(only["patient_id"])


def test_scores_do_not_depend_on_what_else_is_in_the_batch(screened) -> None:
    store, _ = screened
    whole, _ = score_store(store, DensityModel(), VOCABULARY)
    part, _ = score_store(store, DensityModel(), VOCABULARY, splits=["train"])
    same = whole[whole["split"] == "train"].reset_index(drop=True)
    np.testing.assert_allclose(part["probability"], same["probability"], rtol=1e-6)


def test_a_damaged_study_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    write_screened_store(tmp_path, studies=4)
    path = study_path(tmp_path, "002abc")
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 400] = bytes(400)
    path.write_bytes(data)
    scores, failures = score_store(Store(tmp_path), DensityModel(), VOCABULARY)
    assert list(failures) == ["002abc"]
    assert "002abc" in failures["002abc"]
    assert sorted(set(scores["study_id"])) == ["000abc", "001abc", "003abc"]


def test_no_study_of_the_split_is_one_clear_line(screened) -> None:
    store, _ = screened
    with pytest.raises(InputError, match=r"no study of split val to screen; splits in the store: test, train$"):
        score_store(store, DensityModel(), VOCABULARY, splits=["val"])
