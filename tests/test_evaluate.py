"""An evaluation says what it judged, what it left out and why, and refuses training patients."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ctvlp.evaluate import difference, evaluate
from ctvlp.evaluation_files import format_evaluation
from ctvlp.scores import SCORE_COLUMNS, read_scores, write_scores
from preprocess.errors import InputError

FINDINGS = {"liver.cyst": "liver", "liver.cancer": "liver", "spleen.infarction": "spleen"}


def score_table(studies: int = 60, *, seed: int = 0, signal: float = 1.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores with a known signal, and their labels; two studies a patient, all of split test."""
    rng = np.random.default_rng(seed)
    ids = [f"s{i:03d}" for i in range(studies)]
    labels = pd.DataFrame({"study_id": ids, "patient_id": [f"p{i // 2:03d}" for i in range(studies)]})
    truth = {finding: rng.random(studies) < 0.3 for finding in FINDINGS}
    labels = labels.assign(**{finding: pd.array(values.astype(int), dtype="Int8") for finding, values in truth.items()})
    rows = []
    for finding, anatomy in FINDINGS.items():
        probability = 1 / (1 + np.exp(-rng.normal(size=studies) - signal * truth[finding]))
        for study, value in zip(ids, probability, strict=True):
            rows.append([study, f"p{int(study[1:]) // 2:03d}", "test", anatomy, finding, value, True, False, "", 0.5])
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS)), labels


def test_figures_equal_scikit_learn() -> None:
    scores, labels = score_table()
    result = evaluate(scores, labels, resamples=50)
    for row in result.findings.itertuples():
        judged = scores[scores["finding"] == row.finding]
        truth = labels[row.finding].to_numpy(int)
        assert row.auroc == pytest.approx(roc_auc_score(truth, judged["probability"]))
        inside = (labels[[f for f in FINDINGS if FINDINGS[f] == row.anatomy]] == 1).any(axis=1).to_numpy()
        if row.anatomy == "liver":
            assert row.within == pytest.approx(roc_auc_score(truth[inside], judged["probability"].to_numpy()[inside]))
        else:
            assert np.isnan(row.within)  # the only finding of its anatomy: no abnormal study without it
        assert row.auroc_low <= row.auroc <= row.auroc_high
        assert row.normality == pytest.approx(0.5)
    assert result.means["auroc"].value == pytest.approx(result.findings["auroc"].mean())
    assert result.counts["counted_within"] == 2


def test_every_exclusion_is_counted_under_its_first_reason() -> None:
    scores, labels = score_table()
    cyst = scores["finding"] == "liver.cyst"
    cut = cyst & scores["study_id"].isin(["s000", "s001"])
    scores.loc[cut, ["assessable", "reason", "probability"]] = [False, "cut", np.nan]
    labels.loc[labels["study_id"] == "s001", "liver.cyst"] = -1
    labels.loc[labels["study_id"] == "s002", "liver.cyst"] = -1
    labels.loc[labels["study_id"].isin(["s003", "s004", "s005"]), "liver.cyst"] = pd.NA
    labels = labels[labels["study_id"] != "s006"]
    row = evaluate(scores, labels, resamples=10).findings.set_index("finding").loc["liver.cyst"]
    counted = {name.removeprefix("excluded_"): row[name] for name in row.index if name.startswith("excluded_")}
    assert {k: v for k, v in counted.items() if v} == {"cut": 2, "uncertain": 1, "not_mentioned": 3, "no_labels": 1}
    assert row["n"] + sum(counted.values()) == 60
    negative = evaluate(scores, labels, null="negative", resamples=10)
    assert negative.findings.set_index("finding").at["liver.cyst", "n"] == 56
    assert negative.counts["excluded"] == {"no_labels": 3, "cut": 2, "uncertain": 1}


def test_few_positives_count_in_no_mean_and_inverted_scores_are_flagged() -> None:
    scores, labels = score_table(signal=3.0)
    inverted = scores["finding"] == "spleen.infarction"
    scores.loc[inverted, "probability"] = 1 - scores.loc[inverted, "probability"]
    positives = labels.index[labels["liver.cyst"] == 1]
    labels.loc[positives[3:], "liver.cyst"] = 0
    result = evaluate(scores, labels, resamples=20)
    findings = result.findings.set_index("finding")
    assert findings["counted"].to_dict() == {"liver.cyst": False, "liver.cancer": True, "spleen.infarction": True}
    assert result.counts["below_half"] == ["spleen.infarction"]
    assert result.means["auroc"].value == pytest.approx(
        findings.loc[["liver.cancer", "spleen.infarction"], "auroc"].mean()
    )
    assert re.search(r"spleen\.infarction.*below 0\.5", format_evaluation(result))


def test_training_patient_among_the_judged_is_refused(tmp_path: Path) -> None:
    scores, labels = score_table()
    mixed = scores.copy()
    mixed.loc[mixed["study_id"] == "s000", "split"] = "train"  # s001 is the same patient's, and of split test
    with pytest.raises(InputError, match="1 of the patients judged are training patients, the first p000"):
        evaluate(mixed, labels)
    pd.DataFrame({"study_id": ["x"], "patient_id": ["p007"], "split": ["train"]}).to_parquet(tmp_path / "split.parquet")
    with pytest.raises(InputError, match="the first p007"):
        evaluate(scores, labels, run=tmp_path)
    with pytest.raises(InputError, match="training patients"):
        evaluate(mixed, labels, split=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, _: (s.drop(columns="reason"), None), "no column reason"),
        (lambda s, _: (pd.concat([s, s.head(1)]), None), "study s000 has two scores of liver.cyst"),
        (lambda s, _: (s.assign(probability=1.5), None), "1.5 is no probability"),
        (lambda s, _: (s.assign(split="val"), None), "no scores of split 'test'"),
        (lambda _, t: (None, t.assign(**{"liver.cyst": 2})), "study s000, liver.cyst: expected 1, 0, -1 or empty, got"),
        (lambda _, t: (None, pd.concat([t, t.head(1)])), "study s000 stands in two rows"),
        (lambda _, t: (None, t.assign(study_id="other" + t["study_id"])), "no score can be judged"),
        (lambda _, t: (None, t.drop(columns="study_id")), "no column study_id"),
    ],
    ids=["column", "twice", "probability", "split", "label", "label twice", "no overlap", "no id"],
)
def test_wrong_tables_are_refused_by_name(change, message: str) -> None:
    scores, labels = score_table()
    new_scores, new_labels = change(scores, labels)
    with pytest.raises(InputError, match=message):
        evaluate(scores if new_scores is None else new_scores, labels if new_labels is None else new_labels)


def test_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.csv: no such file$"):
        evaluate(tmp_path / "nothing.csv", tmp_path / "labels.csv")


def test_files_csv_and_parquet_give_one_result_and_the_stored_command_repeats_it(tmp_path: Path) -> None:
    scores, labels = score_table()
    write_scores(scores, tmp_path / "my scores", {"prompts_digest": "abc", "vocabulary": "ct54"})
    labels.to_csv(tmp_path / "labels.csv", index=False)
    parquet = tmp_path / "my scores" / "scores.parquet"
    first = evaluate(parquet, tmp_path / "labels.csv", tmp_path / "out", resamples=30, seed=4)
    second = evaluate(parquet.with_suffix(".csv"), labels, resamples=30, seed=4)
    assert first.provenance["scores_digest"] == second.provenance["scores_digest"]
    assert first.provenance["labels_digest"] == second.provenance["labels_digest"]
    assert first.provenance["prompts_digest"] == "abc"
    pd.testing.assert_frame_equal(first.findings, second.findings)
    stored = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert stored["means"]["auroc"]["value"] == pytest.approx(first.means["auroc"].value)
    words = dict(word.split("=", 1) for word in shlex.split(stored["provenance"]["command"])[2:])
    assert words["scores"] == str(parquet)
    assert (words["resamples"], words["seed"], words["split"]) == ("30", "4", "test")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "metrics.parquet"), first.findings)


def test_scores_survive_a_round_trip(tmp_path: Path) -> None:
    scores, _ = score_table(studies=4)
    scores.loc[0, ["probability", "assessable", "reason"]] = [np.nan, False, "cut"]
    write_scores(scores, tmp_path, {})
    for name in ("scores.parquet", "scores.csv"):
        pd.testing.assert_frame_equal(read_scores(tmp_path / name), read_scores(scores), check_dtype=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scores.csv", "scores.parquet"]


def test_paired_difference_is_tighter_than_the_figures_and_needs_the_same_studies() -> None:
    scores, labels = score_table(signal=1.0)
    better = scores.assign(probability=scores["probability"].pow(1.01))
    other = evaluate(better, labels, resamples=100)
    result = evaluate(scores, labels, resamples=100)
    gap = difference(result, other)
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.0, 0.0, 0.0))
    fewer = evaluate(scores[scores["study_id"] != "s000"], labels, resamples=100)
    with pytest.raises(InputError, match="same studies"):
        difference(result, fewer)


def test_result_does_not_depend_on_row_order() -> None:
    scores, labels = score_table()
    shuffled = evaluate(scores.sample(frac=1, random_state=1), labels.sample(frac=1, random_state=2), resamples=20)
    plain = evaluate(scores, labels, resamples=20)
    assert shuffled.provenance["scores_digest"] == plain.provenance["scores_digest"]
    pd.testing.assert_frame_equal(
        shuffled.findings.sort_values("finding", ignore_index=True),
        plain.findings.sort_values("finding", ignore_index=True),
    )


def test_ids_of_labels_are_translated(tmp_path: Path) -> None:
    scores, labels = score_table()
    keyed = labels.assign(study_id="1.2." + labels["study_id"].str[1:])
    ids = pd.DataFrame({"key": keyed["study_id"], "study_id": labels["study_id"]}).iloc[:50]
    ids.to_csv(tmp_path / "ids.csv", index=False)
    keyed.to_csv(tmp_path / "labels.csv", index=False)
    result = evaluate(scores, tmp_path / "labels.csv", ids=tmp_path / "ids.csv", resamples=10)
    plain = evaluate(scores, labels.iloc[:50], resamples=10)
    pd.testing.assert_frame_equal(result.findings, plain.findings)
    assert f"ids={tmp_path / 'ids.csv'}" in result.provenance["command"]
    with pytest.raises(InputError, match="ids: no column key"):
        evaluate(scores, keyed, ids=ids.rename(columns={"key": "id"}))
