"""Many reports read on several processes, in order, with bounded memory.

Reports go to the processes in chunks, a few chunks ahead of what has been taken, and readings come back as plain
tuples: pickled as dataclasses they would cost a tenth of the time that reading takes.
"""

import gc
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from itertools import chain, islice
from multiprocessing import get_context
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from preprocess.errors import InputError
from preprocess.language import AUTO
from preprocess.limits import default_workers
from preprocess.reading import AnatomyReading, Evidence, ReadSentence, ReportPart, ReportReading
from preprocess.report_reader import AbnormalRule, read_study
from preprocess.vocabulary import Vocabulary

Item = tuple[str, Sequence[ReportPart]]

CHUNK = 32
"""Studies that a process reads at a time."""

CHUNKS_AHEAD = 3
"""Chunks a process that are under way or wait to be taken."""

FEW = 2000
"""Studies below which processes cost more than they save: each first compiles the rules."""


class _Task(NamedTuple):
    """What is the same for all reports; see `read_many`."""

    vocabulary: Vocabulary
    language: str | Path
    abnormal_rule: AbnormalRule

    def read(self, parts: Sequence[ReportPart]) -> ReportReading:
        """Read one study."""
        return read_study(parts, self.vocabulary, language=self.language, abnormal_rule=self.abnormal_rule)


def read_many(
    items: Iterable[Item],
    vocabulary: Vocabulary,
    *,
    language: str | Path = AUTO,
    abnormal_rule: AbnormalRule = "any",
    workers: int | None = None,
) -> Generator[tuple[str, ReportReading], None, None]:
    """Read the reports of many studies, in order.

    Args:
        items: Each study's name and its parts, as `Reader.read_parts` takes them; taken only as far ahead as keeps the
            processes busy, so that memory does not grow with their number.
        vocabulary: Anatomies and findings to look for.
        language: `auto` (each report's own), name of a shipped language, or a folder of its files.
        abnormal_rule: See `preprocess.report_reader.read_report`.
        workers: Processes that read; 1 reads in this one, and so does None where there are few studies, while for many
            it takes one a core.

    Yields:
        Each study's name and reading, the same for any number of processes.

    Raises:
        InputError: The language's files are missing or wrong, or a process was killed.
    """
    task = _Task(vocabulary, language, abnormal_rule)
    items = iter(items)
    if workers is None:
        first = list(islice(items, FEW))
        workers = 1 if len(first) < FEW else default_workers(network=False)
        items = chain(first, items)
    if workers > 1:
        yield from _read_apart(items, task, workers)
    else:
        for name, parts in items:
            yield name, task.read(parts)


def _read_apart(items: Iterator[Item], task: _Task, workers: int) -> Iterator[tuple[str, ReportReading]]:
    """Read on other processes."""
    decoder = _Decoder(task.vocabulary)
    under_way: deque[tuple[list[str], Future[list[Any]]]] = deque()
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(task,))
    done = 0
    try:
        while True:
            while len(under_way) < workers * CHUNKS_AHEAD and (chunk := list(islice(items, CHUNK))):
                texts = [[(part.text, part.kind) for part in parts] for _, parts in chunk]
                under_way.append(([name for name, _ in chunk], pool.submit(_read_chunk, texts)))
            if not under_way:
                return
            names, future = under_way.popleft()
            for name, coded in zip(names, future.result(), strict=True):
                yield name, decoder.decode(coded)
                done += 1
    except BrokenProcessPool as error:
        raise InputError(f"a process that reads reports was killed, {done} studies read: use fewer workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


_TASK: list[_Task] = []


def _begin(task: _Task) -> None:
    """Keep in a new process what all its chunks need."""
    _TASK[:] = [task]


def _read_chunk(texts: Sequence[Sequence[tuple[str, Any]]]) -> list[Any]:
    """Read a chunk in one of the processes."""
    [task] = _TASK
    coded = [_encode(task.read([ReportPart(*part) for part in parts])) for parts in texts]
    if not gc.get_freeze_count():
        gc.freeze()  # the compiled rules stay: collecting garbage need not look at them again and again
    return coded


def _fields_of(kind: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    return attrgetter(*(field.name for field in fields(kind)))


_SENTENCE, _ANATOMY, _EVIDENCE = (_fields_of(kind) for kind in (ReadSentence, AnatomyReading, Evidence))


def _encode(reading: ReportReading) -> tuple[list[Any], ...]:
    """Return a reading as plain values, anatomies and labels without their names."""
    return (
        [_SENTENCE(sentence) for sentence in reading.sentences],
        [_ANATOMY(anatomy) for anatomy in reading.anatomies.values()],
        [_EVIDENCE(evidence) for evidence in reading.evidence],
        list(reading.labels.values()),
    )


class _Decoder:
    """Makes readings from what `_encode` made of them."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._anatomies = tuple(vocabulary.anatomies)
        self._findings = tuple(finding.id for finding in vocabulary.findings)

    def decode(self, coded: tuple[list[Any], ...]) -> ReportReading:
        """Return the reading."""
        sentences, anatomies, evidence, labels = coded
        return ReportReading(
            tuple(ReadSentence(*values) for values in sentences),
            {name: AnatomyReading(*values) for name, values in zip(self._anatomies, anatomies, strict=True)},
            tuple(Evidence(*values) for values in evidence),
            dict(zip(self._findings, labels, strict=True)),
        )
