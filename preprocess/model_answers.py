"""What a language model can answer about a clause that the rules left unmatched: one of a closed list of statements.

The list follows from the vocabulary: every anatomy with a status, every finding with an assertion, or nothing. A model
chooses among the lines of this list and can write no other (`preprocess.local_model`).
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from preprocess.reading import Evidence
from preprocess.statements import Notes, Statement
from preprocess.vocabulary import Vocabulary

MODEL = "model"
NOTHING = "nothing"
VERDICTS = ("normal", "abnormal", "uncertain", "removed")
ASSERTIONS = ("positive", "negative", "uncertain", "historical", "hypothetical")
VERDICT_OF = {"positive": "abnormal", "uncertain": "uncertain", "negative": "normal"}
EDGES = " ,;:\n\t"
"""What is taken off a clause's ends before it is asked."""

MARK = "{clause}"
"""Stands in the question where the clause comes."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A statement of the closed list.

    Attributes:
        anatomy: Name of the anatomy, None for a finding outside all anatomies or where the clause says nothing.
        finding: The finding's id, None where none of the vocabulary fits.
        says: Of a finding its assertion (positive, negative, uncertain, historical, hypothetical), of an anatomy alone
            its status (normal, abnormal, uncertain, removed); empty where the clause says nothing.
    """

    anatomy: str | None
    finding: str | None
    says: str

    @property
    def verdict(self) -> str | None:
        """What it says of its anatomy: removed, abnormal, uncertain, normal, or None (nothing of these)."""
        return self.says or None if self.finding is None else VERDICT_OF.get(self.says)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model chose for one clause.

    Attributes:
        choice: What it says.
        confidence: Probability of that line among all lines of the list, as the model's scores have it.
        model: Name of the model's folder.
    """

    choice: Choice
    confidence: float
    model: str

    @property
    def rule(self) -> str:
        """How tables name the origin of what the answer states."""
        return f"{self.model}, confidence {self.confidence:.2f}"


@dataclass(frozen=True, slots=True)
class Failure:
    """A clause that the model could not answer; the next run asks again.

    Attributes:
        reason: What went wrong, in one line.
    """

    reason: str


Answers = Mapping[str, Answer]
"""Clause, stripped, to its answer; a clause that failed or was never asked is missing."""

NO_ANSWERS: Answers = MappingProxyType({})


def possible_answers(vocabulary: Vocabulary) -> dict[str, Choice]:
    """Return every line that a model can answer, and what it means; each line stands for one statement."""
    lines = {NOTHING: Choice(None, None, "")}
    names = Counter((f.anatomy, f.name) for f in vocabulary.findings)
    for anatomy in vocabulary.anatomies.values():
        lines |= {f"{anatomy.name} | {says}": Choice(anatomy.name, None, says) for says in VERDICTS}
    for finding in vocabulary.findings:
        name = finding.name if names[finding.anatomy, finding.name] == 1 else finding.id
        place = finding.anatomy or "other"
        lines |= {f"{place} | {name} | {says}": Choice(finding.anatomy, finding.id, says) for says in ASSERTIONS}
    return lines


def question(vocabulary: Vocabulary) -> str:
    """Return the question put to a model, with `MARK` where the clause comes; the clause stands behind all else."""
    return (
        "You read one clause of a radiology report of a CT scan, in English or German. Decide what the clause itself "
        "states, and answer with one line.\n\n"
        "If it states a finding of this list, the line is: anatomy | finding | assertion\n"
        f"{_catalogue(vocabulary)}\n"
        f"assertion: {', '.join(ASSERTIONS)}. Negative: the clause denies it. Historical: it was there earlier. "
        "Hypothetical: it is only asked for or feared.\n\n"
        "If it speaks of one of these anatomies without any finding of the list, the line is: anatomy | status\n"
        f"anatomy: {', '.join(vocabulary.anatomies)}\n"
        f"status: {', '.join(VERDICTS)}\n\n"
        f"If it speaks of none of them, or states nothing about the patient, the line is: {NOTHING}\n\n"
        f"{_examples(vocabulary)}"
        f"Clause: {MARK}\nLine:"
    )


def _catalogue(vocabulary: Vocabulary) -> str:
    listed: dict[str, list[str]] = {}
    for line, choice in possible_answers(vocabulary).items():
        if choice.finding is not None and choice.says == ASSERTIONS[0]:
            place, name, _ = line.split(" | ")
            listed.setdefault(place, []).append(name)
    return "\n".join(f"{place}: {', '.join(names)}" for place, names in listed.items())


def _examples(vocabulary: Vocabulary) -> str:
    """Return answered clauses about different places of the vocabulary, for a model leans towards what it has seen."""
    anatomies = list(vocabulary.anatomies.values())
    shown = [("Thank you for the referral", NOTHING)]
    for anatomy, (words, says) in zip(anatomies[:: max(len(anatomies) // 2, 1)], _STATES, strict=False):
        shown.append((words.format(anatomy.title), f"{anatomy.name} | {says}"))
    stated = [
        line for line, choice in possible_answers(vocabulary).items() if choice.finding and choice.says == "positive"
    ]
    for line, (words, says) in zip(stated[1 :: max(len(stated) // 4, 1)], _MENTIONS, strict=False):
        place, name, _ = line.split(" | ")
        shown.append((words.format(name), f"{place} | {name} | {says}"))
    shown.append(("Follow-up is advised", NOTHING))
    return "".join(f"Clause: {clause}\nLine: {line}\n\n" for clause, line in shown)


_STATES = (("nothing striking about the {}", "normal"), ("the {} looks strange", "abnormal"))
_MENTIONS = (
    ("there is {}", "positive"),
    ("nothing that would suggest {}", "negative"),
    ("{} cannot be excluded", "uncertain"),
    ("{} in earlier years", "historical"),
)


def schema_digest(vocabulary: Vocabulary) -> str:
    """SHA-256 over the question and all possible answers, 16 hex digits: with it an earlier answer holds or not."""
    text = "\n".join([question(vocabulary), *possible_answers(vocabulary)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def note_answer(
    notes: Notes, place: tuple[int, tuple[int, int], str], answer: Answer, *, side: str | None, size_mm: float | None
) -> tuple[str, ...]:
    """Write down what a model answered about a clause, as the rules do with what they recognise.

    Args:
        notes: What gathers while a study's reports are read.
        place: Index of the sentence, (start, end) of the clause in it, and its section.
        answer: The answer.
        side: Of what the clause states, see `preprocess.qualifiers`.
        size_mm: See there.

    Returns:
        The anatomy that the clause speaks of, if one.
    """
    index, span, section = place
    choice = answer.choice
    mentions: tuple[Evidence, ...] = ()
    if choice.finding is not None:
        mentions = (
            Evidence(choice.anatomy, choice.finding, choice.says, side, size_mm, index, answer.rule, source=MODEL),
        )
        notes.evidence += mentions
    if choice.anatomy is None:
        return ()
    notes.statements.append(Statement(choice.anatomy, index, span, section, choice.verdict, mentions, source=MODEL))
    return (choice.anatomy,)
