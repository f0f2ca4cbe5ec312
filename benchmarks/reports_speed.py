"""Measure how fast reports are read on several processes, and that memory does not grow with their number.

    python -m benchmarks.reports_speed [--data FOLDER] [--reports 5000] [--workers 2] [--stream 0] [--seed 1]

First, each report once, by a reader that has seen none, in this process, without tables. Where FOLDER (by default,
CTVLP_SHARED_DATA) holds `reports/ct_rate_labelled.csv`, these are its `work` reports, else the invented ones. Then the
whole chain, `reports_to_tables`: from a CSV of reports to the tables of `text/`, on one and on several processes, with
the processor's time for a report, which other programs on the machine disturb less. Its reports are made of sentences
drawn from two of those reports, their numbers drawn anew; sentences without numbers come again and again, and are
remembered. With --stream N, so many such reports go through `read_many`, and the memory of all processes is printed ten
times on the way.
"""

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from benchmarks.reports import INVENTED, in_split
from preprocess.many_reports import read_many
from preprocess.reading import ReportPart
from preprocess.report_reader import Reader, build_reader
from preprocess.reports import read_report_table
from preprocess.sentences import split_sentences
from preprocess.text_tables import reports_to_tables
from preprocess.vocabulary_files import load_vocabulary

DIGITS = re.compile(r"\d")
TENTHS = 10


def load_texts(folder: Path) -> list[str]:
    """Return real reports, or invented ones where there are none."""
    table = folder / "reports" / "ct_rate_labelled.csv"
    if not table.is_file():
        return [report["text"] for report in json.loads(INVENTED["en"].read_text(encoding="utf-8")).values()]
    reports = read_report_table(table, id_column="AccessionNo", text_column="report_text")
    return [
        text for name, text in zip(reports["report_id"], reports["text"], strict=True) if in_split(str(name), "work")
    ]


def varied_reports(texts: Sequence[str], seed: int) -> Iterator[str]:
    """Yield reports for ever: of two of the texts, either sentence of each place, with other digits."""
    rng = np.random.default_rng(seed)
    rules = build_reader(load_vocabulary("ct54"), "en").lexicon.sentences
    pieces = [[text[s.start : s.end] for s in split_sentences(text, rules)] for text in texts]
    while True:
        one, other = (pieces[int(index)] for index in rng.integers(len(pieces), size=2))
        either = rng.random(len(one)) < 0.5
        drawn = [other[i] if i < len(other) and either[i] else piece for i, piece in enumerate(one)]
        digits = iter(rng.integers(1, 10, size=sum(map(len, drawn))).tolist())
        yield DIGITS.sub(lambda _, digits=digits: str(next(digits)), "".join(drawn))  # type: ignore[misc]


def memory_mb() -> float:
    """Memory of this process and its children, pages that they share counted once, in MB."""
    process = psutil.Process()
    return sum(float(p.memory_full_info().pss) for p in (process, *process.children(recursive=True))) / 1e6


def measure_first(texts: Sequence[str]) -> float:
    """Return reports a CPU second of a reader that has seen none."""
    reader = Reader(load_vocabulary("ct54"))
    start = time.process_time()
    for text in texts:
        reader.read(text)
    return len(texts) / (time.process_time() - start)


def measure_chain(texts: Sequence[str], count: int, workers: int, seed: int) -> tuple[float, float]:
    """Return reports a second from a CSV to tables, the start of processes included, and CPU milliseconds a report."""
    with tempfile.TemporaryDirectory() as name:
        table = pd.DataFrame({"report_text": list(islice(varied_reports(texts, seed), count))})
        table.insert(0, "study_id", [f"study{number:07d}" for number in range(count)])
        table.to_csv(Path(name) / "reports.csv", index=False)
        start, cpu = time.perf_counter(), sum(os.times()[:4])
        reports_to_tables(Path(name) / "reports.csv", Path(name) / "text", workers=workers)
        return count / (time.perf_counter() - start), 1000 * (sum(os.times()[:4]) - cpu) / count


def measure_memory(texts: Sequence[str], count: int, workers: int, seed: int) -> Iterator[tuple[int, float, float]]:
    """Yield ten times how many reports have been read, reports a second so far, and the memory in MB."""
    parts = ((f"study{i}", [ReportPart(text)]) for i, text in enumerate(islice(varied_reports(texts, seed), count)))
    start = time.perf_counter()
    for done, _ in enumerate(read_many(parts, load_vocabulary("ct54"), workers=workers), start=1):
        if done % max(count // TENTHS, 1) == 0:
            yield done, done / (time.perf_counter() - start), memory_mb()


def main() -> None:
    """Print the measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("CTVLP_SHARED_DATA", "../shared/data"))
    parser.add_argument("--reports", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--stream", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    texts = load_texts(Path(arguments.data))
    print(f"{len(texts)} reports of {sum(map(len, texts)) / len(texts):.0f} characters, each read once by one process:")
    print(f"  {measure_first(texts):.0f} a CPU second")
    for workers in dict.fromkeys((1, arguments.workers)):
        speed, cpu = measure_chain(texts, arguments.reports, workers, arguments.seed)
        print(f"{arguments.reports} reports, processes: {workers}, {speed:.0f} a second, {cpu:.2f} ms of CPU a report")
    if arguments.stream:
        for done, speed, memory in measure_memory(texts, arguments.stream, arguments.workers, arguments.seed):
            print(f"{done:9d} reports, {speed:6.0f} a second, {memory:6.0f} MB")


if __name__ == "__main__":
    main()
