"""Reports read with a local language model's help: it is asked about the clauses that the rules left unmatched.

The rules read first; the model answers clauses as it sees them, alone; then the reports that hold answered clauses are
read again with the answers at hand. A clause that the model fails on stays unmatched: it reaches no text, status or
label, is counted, and is asked again by the next run.
"""

import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

from preprocess.answer_book import AnswerBook
from preprocess.errors import InputError
from preprocess.language import AUTO
from preprocess.local_model import BATCH, LocalModel, check_model_folder
from preprocess.many_reports import Item, read_many
from preprocess.model_answers import Answer, Choice, Failure
from preprocess.model_controls import LEAST_RIGHT, build_controls
from preprocess.reading import ReportReading
from preprocess.report_reader import AbnormalRule, read_study
from preprocess.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

REPORTS_AT_ONCE = 256
"""Reports whose clauses are asked together."""

CONFIDENCE = 0.5


class Model(Protocol):
    """What answers clauses: `LocalModel`, or a script in tests."""

    name: str

    @property
    def digest(self) -> str:
        """What its answers depend on, as a digest."""

    def ask(self, clauses: Sequence[str]) -> Mapping[str, Answer | Failure]:
        """Answer distinct clauses."""


@dataclass(frozen=True)
class ModelOptions:
    """Which language model is asked, and how.

    Attributes:
        folder: The model.
        device: `cpu`, `cuda` or `cuda:<number>`.
        batch_size: Clauses asked at once.
        confidence: An answer of less is not used, from 0 to 1; its clause stays unmatched.
        answers: File that keeps the answers, None for none.
    """

    folder: Path | str
    device: str = "cpu"
    batch_size: int = BATCH
    confidence: float = CONFIDENCE
    answers: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise InputError(f"the confidence asked of a language model lies between 0 and 1, not {self.confidence}")
        check_model_folder(self.folder)


def model_options(
    folder: Path | str | None, answers: Path, *, device: str, batch_size: int, confidence: float
) -> ModelOptions | None:
    """What the user asked, or None without a model.

    Args:
        folder: The model's, None for none.
        answers: See `ModelOptions`, as for the others.
        device: See there.
        batch_size: See there.
        confidence: See there.

    Raises:
        InputError: The folder holds no model, or a value is none of those allowed.
    """
    if folder is None:
        return None
    return ModelOptions(folder, device, batch_size, confidence, answers)


@dataclass
class Asker:
    """Answers clauses from what was answered before, and by the model.

    Attributes:
        model: Who answers.
        book: What was answered before.
        confidence: See `ModelOptions`.
        controls: Clauses that the model must know before it is asked about reports, see `model_controls`.
        asked: Distinct clauses put to the model in this run.
        failed: Those that it failed on.
    """

    model: Model
    book: AnswerBook
    confidence: float = CONFIDENCE
    controls: Mapping[str, Choice] = field(default_factory=dict)
    asked: int = 0
    failed: int = 0

    def answers(self, clauses: Iterable[str]) -> dict[str, Answer]:
        """Return the answers to use, by clause; failed and unsure ones are missing.

        Raises:
            InputError: The model cannot be loaded or fails on the controls, or the file of answers on its disk.
        """
        wanted = sorted(set(clauses))
        known = self.book.find(wanted)
        new = [clause for clause in wanted if clause not in known]
        if new:
            if not self.asked:
                self._check()
            outcomes = self.model.ask(new)
            self.book.record(outcomes, self.model.name)
            answered = {clause: outcome for clause, outcome in outcomes.items() if isinstance(outcome, Answer)}
            self.asked += len(new)
            self.failed += len(new) - len(answered)
            known |= answered
        return {clause: answer for clause, answer in known.items() if answer.confidence >= self.confidence}

    def _check(self) -> None:
        """Refuse a model that does not know what the controls state."""
        if not self.controls:
            return
        outcomes = self.model.ask(list(self.controls))
        answers = {clause: outcome.choice for clause, outcome in outcomes.items() if isinstance(outcome, Answer)}
        right = sum(choice == self.controls[clause] for clause, choice in answers.items())
        if right < LEAST_RIGHT * len(self.controls):
            why = next((o.reason for o in outcomes.values() if isinstance(o, Failure)), "take a larger, tuned one")
            raise InputError(
                f"language model {self.model.name}: it answered {right} of {len(self.controls)} plain clauses rightly, "
                f"where {LEAST_RIGHT:.0%} are needed to let it read reports: {why}"
            )


@contextmanager
def asking(options: ModelOptions | None, vocabulary: Vocabulary) -> Iterator[Asker | None]:
    """Give the asker of a run, or None without a model; tells at the end how many clauses were asked and failed.

    Raises:
        InputError: The model's folder or the file of answers cannot be used.
    """
    if options is None:
        yield None
        return
    model = LocalModel(options.folder, vocabulary, device=options.device, batch_size=options.batch_size)
    book = AnswerBook(options.answers, model.digest)
    asker = Asker(model, book, options.confidence, build_controls(vocabulary))
    try:
        yield asker
    finally:
        book.close()
        logger.info("language model %s: %d clauses asked, %d failed", model.name, asker.asked, asker.failed)


def read_many_asking(
    items: Iterable[Item],
    vocabulary: Vocabulary,
    asker: Asker | None,
    *,
    language: str | Path = AUTO,
    abnormal_rule: AbnormalRule = "any",
    workers: int | None = None,
) -> Generator[tuple[str, ReportReading], None, None]:
    """Read the reports of many studies as `read_many` does, a few hundred at a time where a model is asked.

    Args:
        items: See `read_many`, as for the other arguments.
        vocabulary: See there.
        asker: Who answers what the rules leave unmatched, None for nobody.
        language: See there.
        abnormal_rule: See there.
        workers: See there; the model itself works in this process.

    Yields:
        Each study's name and reading, in order.

    Raises:
        InputError: As there, and where the model or its answers cannot be used.
    """
    drawn: deque[Item] = deque()

    def remembered() -> Iterator[Item]:
        for item in items:
            if asker is not None:
                drawn.append(item)
            yield item

    def answered(readings: Sequence[ReportReading], asker: Asker) -> Iterator[tuple[str, ReportReading]]:
        answers = asker.answers(clause for reading in readings for clause in _unread(reading))
        for reading in readings:
            study_id, parts = drawn.popleft()
            if any(clause in answers for clause in _unread(reading)):
                reading = read_study(parts, vocabulary, language=language, abnormal_rule=abnormal_rule, answers=answers)
            yield study_id, reading

    rules = read_many(remembered(), vocabulary, language=language, abnormal_rule=abnormal_rule, workers=workers)
    with closing(rules):
        if asker is None:
            yield from rules
            return
        while readings := [reading for _, reading in islice(rules, REPORTS_AT_ONCE)]:
            yield from answered(readings, asker)


def _unread(reading: ReportReading) -> Iterator[str]:
    return (clause for sentence in reading.sentences for clause in sentence.unread)
