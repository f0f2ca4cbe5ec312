"""Reading many reports on several processes."""

import os
from collections.abc import Iterator
from itertools import count, islice

import psutil
import pytest

from preprocess.errors import InputError
from preprocess.many_reports import CHUNK, CHUNKS_AHEAD, read_many
from preprocess.reading import ReportPart
from preprocess.report_reader import build_reader
from preprocess.vocabulary_files import load_vocabulary

TEXTS = ["The liver is normal.", "Cyst of 12 mm in the left kidney.", "", "Keine Auffälligkeit der Leber.", "Spleen?"]
VOCABULARY = load_vocabulary("ct54")


def endless() -> Iterator[tuple[str, list[ReportPart]]]:
    """Yield studies for ever, some with an addendum."""
    for number in count():
        parts = [ReportPart(f"{TEXTS[number % len(TEXTS)]} Nodule of {number % 40} mm in the right lung.")]
        if number % 7 == 0:
            parts.append(ReportPart("The nodule in the lung is not seen.", "addendum"))
        yield f"s{number}", parts


def children() -> set[int]:
    return {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}


def test_processes_change_neither_readings_nor_order() -> None:
    reader = build_reader(VOCABULARY, "en")
    studies = list(islice(endless(), 3 * CHUNK + 5))
    alone = list(read_many(studies, VOCABULARY, language="en", abnormal_rule="impression", workers=1))
    assert alone == [(name, reader.read_parts(parts, abnormal_rule="impression")) for name, parts in studies]
    assert list(read_many(studies, VOCABULARY, language="en", abnormal_rule="impression", workers=2)) == alone


def test_reports_are_taken_as_readings_are_taken() -> None:
    taken = 0

    def counted() -> Iterator[tuple[str, list[ReportPart]]]:
        nonlocal taken
        for study in endless():
            taken += 1
            yield study

    before = children()
    readings = read_many(counted(), VOCABULARY, language="en", workers=2)
    for number in range(10 * CHUNK):
        assert next(readings)[0] == f"s{number}"
        assert taken - number <= (2 * CHUNKS_AHEAD + 1) * CHUNK
    readings.close()
    assert children() == before


def test_a_killed_process_ends_the_reading_with_an_error() -> None:
    before = children()
    readings = read_many(endless(), VOCABULARY, language="en", workers=2)
    next(readings)
    for pid in children() - before:
        if "spawn_main" in " ".join(psutil.Process(pid).cmdline()):
            psutil.Process(pid).kill()
            break
    with pytest.raises(InputError, match=r"a process that reads reports was killed, \d+ studies read"):
        for _ in readings:
            pass


@pytest.mark.parametrize("workers", [1, 2])
def test_a_missing_language_is_refused(workers: int) -> None:
    with pytest.raises(InputError, match="klingon"):
        next(read_many(endless(), VOCABULARY, language="klingon", workers=workers))


def test_few_reports_start_no_process() -> None:
    before = children()
    readings = read_many(islice(endless(), 3), VOCABULARY, language="en")
    assert next(readings)[0] == "s0"
    assert children() == before
    assert [name for name, _ in readings] == ["s1", "s2"]


def test_no_reports_give_no_readings() -> None:
    assert list(read_many([], VOCABULARY, language="en", workers=2)) == []
