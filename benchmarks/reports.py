"""Score the report reader on labelled real reports: CT-RATE's 18 labels, and anatomy-level gold labels.

    python -m benchmarks.reports --data FOLDER [--split work|sealed|all]
    python -m benchmarks.reports --invented

FOLDER holds `reports/ct_rate_labelled.csv` and `reports/anatomy_gold.json` (by default, CTVLP_SHARED_DATA). The rules
were written from the `work` reports alone (sha256(id) modulo 8 below 5); `sealed` is the rest. An uncertain finding
counts as not positive. `--invented` reads 80 invented reports instead (`invented_reports_en.json`: 50 of abdomen and
pelvis, 20 of the chest, 10 of both), written and labelled by the same conventions without knowledge of the rules.
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

from preprocess.reading import ReportReading
from preprocess.report_reader import read_report
from preprocess.reports import read_report_table
from preprocess.vocabulary_files import load_vocabulary

WORK_EIGHTHS = 5
INVENTED = Path(__file__).with_name("invented_reports_en.json")


def in_split(report_id: str, split: str) -> bool:
    """Whether a report belongs to `work`, `sealed` or `all`, by the hash of its id."""
    working = int(hashlib.sha256(report_id.encode()).hexdigest(), 16) % 8 < WORK_EIGHTHS
    return split == "all" or working == (split == "work")


def f1(true_positive: int, false_positive: int, false_negative: int) -> float:
    """Return the F1 of counts, NaN without any."""
    total = 2 * true_positive + false_positive + false_negative
    return 2 * true_positive / total if total else float("nan")


def score_labels(table: Any, names: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return each label's counts and F1 of `table`'s reports read with `ct_rate18`."""
    vocabulary = load_vocabulary("ct_rate18")
    readings = [read_report(text, vocabulary) for text in table["text"]]
    scores = {}
    for name in names:
        predicted = [reading.labels[name] == 1 for reading in readings]
        truth = [int(value) == 1 for value in table[name]]
        counts = Counter(zip(predicted, truth, strict=True))
        tp, fp, fn = counts[True, True], counts[True, False], counts[False, True]
        scores[name] = {"tp": tp, "fp": fp, "fn": fn, "f1": f1(tp, fp, fn)}
    return scores


def score_gold(readings: Mapping[str, ReportReading], gold: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the measures of the gold labels' guide."""
    counts: Counter[str] = Counter()
    for report_id, reading in readings.items():
        labels = gold[report_id]
        for name, anatomy in reading.anatomies.items():
            entry = labels.get(name)
            status = "abnormal" if anatomy.status == "removed" else anatomy.status
            if entry is None:
                counts["unmentioned"] += 1
                counts["false mentions"] += status != "unmentioned"
            elif entry["status"] != "collective":
                counts["scored"] += 1
                counts["right"] += status == entry["status"]
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


def print_gold(readings: Mapping[str, ReportReading], gold: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the measures of the gold labels' guide."""
    for measure, value in score_gold(readings, gold).items():
        print(f"{measure:36s} {value:.4f}" + (f"  ({len(gold)} reports)" if measure == "status accuracy" else ""))


def main() -> None:
    """Print the measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("CTVLP_SHARED_DATA", "../shared/data"))
    parser.add_argument("--split", choices=["work", "sealed", "all"], default="work")
    parser.add_argument("--invented", action="store_true")
    arguments = parser.parse_args()
    vocabulary = load_vocabulary("ct54")
    if arguments.invented:
        reports = json.loads(INVENTED.read_text(encoding="utf-8"))
        readings = {name: read_report(report["text"], vocabulary) for name, report in reports.items()}
        print_gold(readings, {name: report["labels"] for name, report in reports.items()})
        return
    folder = Path(arguments.data) / "reports"
    table = read_report_table(folder / "ct_rate_labelled.csv", id_column="AccessionNo", text_column="report_text")
    table = table[[in_split(str(i), arguments.split) for i in table["report_id"]]]
    names = [finding.id for finding in load_vocabulary("ct_rate18").findings]
    start = time.process_time()
    labels = score_labels(table, names)
    seconds = time.process_time() - start
    for name, row in labels.items():
        print(f"{name:36s} tp {row['tp']:4.0f}  fp {row['fp']:4.0f}  fn {row['fn']:4.0f}  F1 {row['f1']:.3f}")
    print(
        f"{'macro F1':36s} {sum(row['f1'] for row in labels.values()) / len(labels):.4f}  "
        f"({len(table)} reports, {len(table) / seconds:.0f} a second)"
    )
    gold = {
        k: v for k, v in json.loads((folder / "anatomy_gold.json").read_text()).items() if in_split(k, arguments.split)
    }
    texts = dict(zip(table["report_id"], table["text"], strict=True))
    print_gold({k: read_report(texts[k], vocabulary) for k in gold}, gold)


if __name__ == "__main__":
    main()
