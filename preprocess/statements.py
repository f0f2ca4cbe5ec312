"""What the clauses of a study's reports state, put together: each anatomy's status and text, each finding's label."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from preprocess.reading import AnatomyReading, Evidence, ReadSentence, ReportReading
from preprocess.vocabulary import Vocabulary

LABELS = (("positive", 1), ("uncertain", -1), ("negative", 0))
DECISIVE = frozenset(name for name, _ in LABELS)
SUMMARIES = ("impression", "addendum")


@dataclass(frozen=True, slots=True)
class Statement:
    """What one clause says of one anatomy.

    Attributes:
        anatomy: Its name.
        index: The sentence.
        span: (start, end) of the clause in the sentence.
        section: Section of the sentence.
        verdict: As `preprocess.findings.judge` gives it.
        mentions: The clause's mentions of the anatomy's findings.
        source: Who read it: rule or model.
    """

    anatomy: str
    index: int
    span: tuple[int, int]
    section: str
    verdict: str | None
    mentions: tuple[Evidence, ...]
    source: str = "rule"


@dataclass
class Notes:
    """What gathers while reports are read.

    Attributes:
        statements: What clauses say of anatomies.
        collective: Anatomies that only collective statements call normal.
        evidence: Mentions of findings.
        addendum: For each sentence, how many addenda have begun up to it.
    """

    statements: list[Statement] = field(default_factory=list)
    collective: set[str] = field(default_factory=set)
    evidence: list[Evidence] = field(default_factory=list)
    addendum: list[int] = field(default_factory=list)


def conclude(
    notes: Notes,
    sentences: Sequence[ReadSentence],
    vocabulary: Vocabulary,
    *,
    partial: Collection[str],
    summarised: bool,
) -> ReportReading:
    """Put the notes together.

    Args:
        notes: What was noted, in order of the text.
        sentences: All sentences.
        vocabulary: Its anatomies and findings are answered.
        partial: Anatomies of which a part can be taken out.
        summarised: Only a statement in the impression (or an addendum) makes an anatomy abnormal.
    """
    evidence = tuple(replace(e, overridden=True) if _overridden(e, notes) else e for e in notes.evidence)
    by_anatomy: dict[str, list[Statement]] = {}
    for statement in notes.statements:
        if not _corrected(statement, notes):
            by_anatomy.setdefault(statement.anatomy, []).append(statement)
    anatomies = {}
    for name in vocabulary.anatomies:
        statements = by_anatomy.get(name, [])
        common = (name in notes.collective, name in partial, summarised)
        status = _status(statements, *common)
        ruled = [s for s in statements if s.source == "rule"]
        source = "rule" if len(ruled) == len(statements) or _status(ruled, *common) == status else "model"
        anatomies[name] = AnatomyReading(status, _join(sentences, [(s.index, *s.span) for s in statements]), source)
    asserted: dict[str, set[str]] = {}
    for mention in evidence:
        if not mention.overridden:
            asserted.setdefault(mention.finding, set()).add(mention.assertion)
    labels: dict[str, int | None] = {}
    for finding in vocabulary.findings:
        said = asserted.get(finding.id, ())
        labels[finding.id] = next((value for name, value in LABELS if name in said), None)
    return ReportReading(tuple(sentences), anatomies, evidence, labels)


def _later(mention: Evidence, notes: Notes) -> list[Evidence]:
    """Return what later addenda state of the same finding on the same side."""
    return [
        other
        for other in notes.evidence
        if other.finding == mention.finding
        and other.assertion in DECISIVE
        and notes.addendum[other.index] > notes.addendum[mention.index]
        and {other.side, mention.side} != {"left", "right"}
    ]


def _overridden(mention: Evidence, notes: Notes) -> bool:
    return any(notes.addendum) and bool(_later(mention, notes))


def _corrected(statement: Statement, notes: Notes) -> bool:
    """Whether addenda contradict all that the statement mentions."""
    if not statement.mentions or not any(notes.addendum):
        return False
    later = [(mention, _later(mention, notes)) for mention in statement.mentions]
    return all(others and all(o.assertion != mention.assertion for o in others) for mention, others in later)


def _status(statements: Iterable[Statement], collective: bool, partial: bool, summarised: bool) -> str:
    """Return an anatomy's status from its clauses' verdicts; what is removed on one side of a pair is abnormal.

    What could not be judged, and of which nothing else is said, is uncertain; what is only described, normal.
    """
    counted = {
        s.verdict if not summarised or s.verdict == "normal" or s.section in SUMMARIES else "normal"
        for s in statements
        if s.verdict is not None
    }
    if "removed" in counted and not partial:
        return "removed"
    if counted & {"abnormal", "removed"}:
        return "abnormal"
    for status in ("uncertain", "normal"):
        if status in counted:
            return status
    if collective:
        return "normal"
    if "limited" in counted:
        return "uncertain"
    return "normal" if "described" in counted else "unmentioned"


def _join(sentences: Sequence[ReadSentence], pieces: Iterable[tuple[int, int, int]]) -> str:
    """Join clauses by one space, those that follow each other in a sentence verbatim."""
    joined: list[tuple[int, int, int]] = []
    for index, start, end in pieces:
        if joined and joined[-1][0] == index and joined[-1][2] == start:
            joined[-1] = (index, joined[-1][1], end)
        else:
            joined.append((index, start, end))
    return " ".join(sentences[index].text[start:end].strip(" ,;:\n\t") for index, start, end in joined)
