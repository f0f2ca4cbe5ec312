"""Score the report reader on labelled real reports: CT-RATE's 18 labels, and anatomy-level gold labels.

    python -m benchmarks.reports --data FOLDER [--split work|sealed|all]
    python -m benchmarks.reports --invented [en|de]

FOLDER holds `reports/ct_rate_labelled.csv` and `reports/anatomy_gold.json` (by default, CTVLP_SHARED_DATA). The rules
were written from the `work` reports alone (sha256(id) modulo 8 below 5); `sealed` is the rest. An uncertain finding
counts as not positive; intervals hold 95 % of 1,000 bootstrap samples of the reports. `--invented` reads invented
reports instead, written and labelled by the same conventions without knowledge of the rules: those of
`invented_reports_*.json` were in view while rules were mended, those of `judging_reports_*.json` were not; these were
scored when the rules stood.
"""

import argparse
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.reading import ReportReading
from preprocess.report_reader import read_report
from preprocess.reports import read_report_table
from preprocess.vocabulary_files import load_vocabulary

WORK_EIGHTHS = 5
SAMPLES = 1000
STATUSES = ("normal", "abnormal", "uncertain", "collective", "unmentioned")
INVENTED = {name: Path(__file__).with_name(f"invented_reports_{name}.json") for name in ("en", "de")}
JUDGING = {name: Path(__file__).with_name(f"judging_reports_{name}.json") for name in INVENTED}


def in_split(report_id: str, split: str) -> bool:
    """Whether a report belongs to `work`, `sealed` or `all`, by the hash of its id."""
    working = int(hashlib.sha256(report_id.encode()).hexdigest(), 16) % 8 < WORK_EIGHTHS
    return split == "all" or working == (split == "work")


def f1(true_positive: int, false_positive: int, false_negative: int) -> float:
    """Return the F1 of counts, NaN without any."""
    total = 2 * true_positive + false_positive + false_negative
    return 2 * true_positive / total if total else float("nan")


def read_labels(table: Any, names: Iterable[str]) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return each label of `ct_rate18` as (predicted, truth), both (report,) booleans."""
    vocabulary = load_vocabulary("ct_rate18")
    readings = [read_report(text, vocabulary) for text in table["text"]]
    return {
        name: (
            np.array([reading.labels[name] == 1 for reading in readings]),
            np.array([int(value) == 1 for value in table[name]]),
        )
        for name in names
    }


def score_labels(table: Any, names: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return each label's counts, precision, recall and F1 of `table`'s reports read with `ct_rate18`."""
    return {name: _scores(*pair) for name, pair in read_labels(table, names).items()}


def _scores(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> dict[str, float]:
    tp, fp, fn = int((predicted & truth).sum()), int((predicted & ~truth).sum()), int((~predicted & truth).sum())
    precision, recall = tp / max(tp + fp, 1), tp / max(tp + fn, 1)
    return {"tp": tp, "fp": fp, "fn": fn, "precision": precision, "recall": recall, "f1": f1(tp, fp, fn)}


def bootstrap(
    labels: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]], measures: Iterable[str], seed: int = 0
) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the 95 % interval of each (label, measure) and of ("macro", "f1") over samples of the reports."""
    generator = np.random.default_rng(seed)
    measures = list(measures)
    count = len(next(iter(labels.values()))[0])
    drawn: dict[tuple[str, str], list[float]] = {}
    for _ in range(SAMPLES):
        chosen = generator.integers(count, size=count)
        scores = {name: _scores(predicted[chosen], truth[chosen]) for name, (predicted, truth) in labels.items()}
        for name, row in scores.items():
            for measure in measures:
                drawn.setdefault((name, measure), []).append(row[measure])
        drawn.setdefault(("macro", "f1"), []).append(float(np.nanmean([row["f1"] for row in scores.values()])))
    return {key: (float(low), float(high)) for key, row in drawn.items() for low, high in [_interval(row)]}


def _interval(values: list[float]) -> tuple[float, float]:
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


def score_gold(readings: Mapping[str, ReportReading], gold: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the measures of the gold labels' guide."""
    counts: Counter[str] = Counter()
    for report_id, reading in readings.items():
        labels = gold[report_id]
        for name, anatomy in reading.anatomies.items():
            entry = labels.get(name)
            if entry is None:
                counts["unmentioned"] += 1
                counts["false mentions"] += anatomy.status != "unmentioned"
            elif entry["status"] != "collective":
                counts["scored"] += 1
                counts["right"] += _counted(anatomy.status) == _counted(entry["status"])
            _count_findings(counts, name, reading, entry or {})
            _count_evidence(counts, name, reading, entry or {})
    tp, fp, fn = counts["tp"], counts["fp"], counts["fn"]
    return {
        "status accuracy": counts["right"] / counts["scored"],
        "false mentions": counts["false mentions"] / counts["unmentioned"],
        "findings precision": tp / max(tp + fp, 1),
        "findings recall": tp / max(tp + fn, 1),
        "findings f1": f1(tp, fp, fn),
        "evidence recall": counts["evidence found"] / counts["evidence"],
        "leak": counts["leaked"] / max(counts["own evidence"], 1),
    }


def _counted(status: str) -> str:
    """What a status counts as: one removed is abnormal."""
    return "abnormal" if status == "removed" else status


def _count_findings(counts: Counter[str], name: str, reading: ReportReading, entry: Mapping[str, Any]) -> None:
    found = {k.split(".", 1)[1] for k, v in reading.labels.items() if v == 1 and k.startswith(f"{name}.")}
    positive, uncertain = set(entry.get("positive", [])), set(entry.get("uncertain", []))
    counts["tp"] += len(found & positive)
    counts["fp"] += len(found - positive - uncertain)
    counts["fn"] += len(positive - found)


def _count_evidence(counts: Counter[str], name: str, reading: ReportReading, entry: Mapping[str, Any]) -> None:
    text = reading.anatomies[name].text
    for phrase in [*entry.get("evidence", []), *entry.get("shared_evidence", [])]:
        counts["evidence"] += 1
        counts["evidence found"] += phrase in text
    for phrase in entry.get("evidence", []):
        counts["own evidence"] += 1
        counts["leaked"] += any(phrase in other.text for key, other in reading.anatomies.items() if key != name)


def confusion(readings: Mapping[str, ReportReading], gold: Mapping[str, Mapping[str, Any]]) -> Counter[tuple[str, str]]:
    """Return how often each (gold status, status) stands; `removed` counts as abnormal."""
    pairs: Counter[tuple[str, str]] = Counter()
    for report_id, reading in readings.items():
        for name, anatomy in reading.anatomies.items():
            entry = gold[report_id].get(name)
            pairs["unmentioned" if entry is None else _counted(entry["status"]), _counted(anatomy.status)] += 1
    return pairs


def print_gold(readings: Mapping[str, ReportReading], gold: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the measures of the gold labels' guide and the confusion table."""
    for measure, value in score_gold(readings, gold).items():
        print(f"{measure:36s} {value:.4f}" + (f"  ({len(gold)} reports)" if measure == "status accuracy" else ""))
    pairs = confusion(readings, gold)
    answers = [status for status in STATUSES if status != "collective"]
    print(f"{'gold status, answered as':36s}" + "".join(f"{answer:>13s}" for answer in answers))
    for status in STATUSES:
        print(f"{status:36s}" + "".join(f"{pairs[status, answer]:13d}" for answer in answers))


def print_labels(table: Any) -> None:
    """Print each label's precision, recall and F1 with intervals, and the macro F1."""
    start = time.process_time()
    labels = read_labels(table, [finding.id for finding in load_vocabulary("ct_rate18").findings])
    seconds = time.process_time() - start
    measures = ("precision", "recall", "f1")
    intervals = bootstrap(labels, measures)
    rows = {name: _scores(*pair) for name, pair in labels.items()}
    for name, row in rows.items():
        shown = "  ".join(
            f"{measure} {row[measure]:.3f} ({low:.3f}-{high:.3f})"
            for measure in measures
            for low, high in [intervals[name, measure]]
        )
        print(f"{name:36s} tp {row['tp']:3.0f} fp {row['fp']:3.0f} fn {row['fn']:3.0f}  {shown}")
    low, high = intervals["macro", "f1"]
    macro = sum(row["f1"] for row in rows.values()) / len(rows)
    speed = len(table) / seconds
    print(f"{'macro F1':36s} {macro:.4f} ({low:.4f}-{high:.4f})  ({len(table)} reports, {speed:.0f} a second)")


def main() -> None:
    """Print the measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("CTVLP_SHARED_DATA", "../shared/data"))
    parser.add_argument("--split", choices=["work", "sealed", "all"], default="work")
    parser.add_argument("--invented", nargs="?", const="en", choices=list(INVENTED))
    arguments = parser.parse_args()
    vocabulary = load_vocabulary("ct54")
    if arguments.invented:
        for title, paths in (("in view", INVENTED), ("not in view", JUDGING)):
            reports = json.loads(paths[arguments.invented].read_text(encoding="utf-8"))
            how: Any = {"vocabulary": vocabulary, "language": arguments.invented}
            readings = {name: read_report(report["text"], **how) for name, report in reports.items()}
            print(f"{title}:")
            print_gold(readings, {name: report["labels"] for name, report in reports.items()})
        return
    folder = Path(arguments.data) / "reports"
    table = read_report_table(folder / "ct_rate_labelled.csv", id_column="AccessionNo", text_column="report_text")
    table = table[[in_split(str(i), arguments.split) for i in table["report_id"]]]
    print_labels(table)
    gold = {
        k: v for k, v in json.loads((folder / "anatomy_gold.json").read_text()).items() if in_split(k, arguments.split)
    }
    texts = dict(zip(table["report_id"], table["text"], strict=True))
    print_gold({k: read_report(texts[k], vocabulary) for k in gold}, gold)


if __name__ == "__main__":
    main()
