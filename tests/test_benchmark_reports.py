"""The report benchmark: its measures, and that the reader keeps its level on the real working reports."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.reports import INVENTED, JUDGING, bootstrap, confusion, f1, in_split, score_gold, score_labels
from preprocess.report_reader import read_report
from preprocess.reports import read_report_table
from preprocess.vocabulary_files import load_vocabulary


def test_f1() -> None:
    assert f1(1, 1, 1) == 0.5
    assert f1(0, 0, 2) == 0.0
    assert f1(0, 0, 0) != f1(0, 0, 0)


def test_splits_are_a_partition() -> None:
    ids = [f"train_{number}" for number in range(400)]
    work = {i for i in ids if in_split(i, "work")}
    assert work == {i for i in ids if not in_split(i, "sealed")}
    assert 0.55 < len(work) / len(ids) < 0.7
    assert all(in_split(i, "all") for i in ids)


def test_gold_measures() -> None:
    vocabulary = load_vocabulary("ct54")
    reading = read_report("There is a cyst in the liver. The spleen is normal.", vocabulary)
    gold = {
        "r": {
            "liver": {"status": "abnormal", "positive": ["cyst"], "uncertain": [], "evidence": ["cyst in the liver"]},
            "spleen": {"status": "abnormal", "positive": ["infarction"], "uncertain": [], "evidence": ["not there"]},
        }
    }
    scores = score_gold({"r": reading}, gold)
    assert scores["status accuracy"] == 0.5
    assert scores["false mentions"] == 0.0
    assert (scores["findings precision"], scores["findings recall"]) == (1.0, 0.5)
    assert (scores["evidence recall"], scores["leak"]) == (0.5, 0.0)


def test_confusion_of_statuses() -> None:
    reading = read_report("There is a cyst in the liver. Gallbladder removed.", load_vocabulary("ct54"))
    pairs = confusion({"r": reading}, {"r": {"liver": {"status": "normal"}, "gallbladder": {"status": "abnormal"}}})
    assert pairs == {("normal", "abnormal"): 1, ("abnormal", "abnormal"): 1, ("unmentioned", "unmentioned"): 13}


def test_bootstrap_intervals_hold_the_estimate_and_repeat() -> None:
    truth = np.arange(60) % 3 == 0
    labels = {"sure": (truth, truth), "often": (truth & (np.arange(60) % 2 == 0), truth)}
    intervals = bootstrap(labels, ("recall",))
    assert intervals == bootstrap(labels, ("recall",))
    assert intervals["sure", "recall"] == (1.0, 1.0)
    low, high = intervals["often", "recall"]
    assert 0.2 < low < 0.5 < high < 0.8
    assert intervals["macro", "f1"][0] < intervals["macro", "f1"][1]


@pytest.mark.real
def test_level_on_working_reports(shared_data: Path) -> None:
    folder = shared_data / "reports"
    table = read_report_table(folder / "ct_rate_labelled.csv", id_column="AccessionNo", text_column="report_text")
    table = table[[in_split(str(report_id), "work") for report_id in table["report_id"]]]
    labels = score_labels(table, [finding.id for finding in load_vocabulary("ct_rate18").findings])
    assert sum(row["f1"] for row in labels.values()) / len(labels) >= 0.95
    gold = json.loads((folder / "anatomy_gold.json").read_text())
    texts = dict(zip(table["report_id"], table["text"], strict=True))
    vocabulary = load_vocabulary("ct54")
    readings = {key: read_report(texts[key], vocabulary) for key in gold if key in texts}
    scores = score_gold(readings, gold)
    assert scores["status accuracy"] >= 0.97
    assert scores["findings f1"] >= 0.95
    assert scores["false mentions"] <= 0.02


@pytest.mark.parametrize("language", INVENTED)
def test_invented_reports_in_view_are_read_as_by_hand(language: str) -> None:
    vocabulary = load_vocabulary("ct54")
    gold = json.loads(INVENTED[language].read_text(encoding="utf-8"))
    readings = {name: read_report(report["text"], vocabulary, language=language) for name, report in gold.items()}
    scores = score_gold(readings, {name: report["labels"] for name, report in gold.items()})
    assert len(gold) >= 100
    assert scores["status accuracy"] >= 0.975
    assert scores["false mentions"] <= 0.01
    assert scores["findings f1"] >= 0.98
    assert scores["evidence recall"] >= 0.97
    assert scores["leak"] <= 0.02


@pytest.mark.parametrize("path", [*INVENTED.values(), *JUDGING.values()], ids=lambda path: path.stem)
def test_labels_of_invented_reports_fit_their_texts_and_the_vocabulary(path: Path) -> None:
    vocabulary = load_vocabulary("ct54")
    for name, report in json.loads(path.read_text(encoding="utf-8")).items():
        for anatomy, entry in report["labels"].items():
            known = {finding.id.split(".", 1)[1] for finding in vocabulary.of(anatomy)}
            assert known >= {*entry["positive"], *entry["uncertain"], *entry["negative"]}, name
            assert all(phrase in report["text"] for phrase in [*entry["evidence"], *entry["shared_evidence"]]), name
