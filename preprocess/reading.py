"""What is read from a report, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadSentence:
    """A sentence with what it speaks of.

    Attributes:
        index: Position in the report, from 0.
        section: findings, impression, history, technique, comparison or other.
        text: The sentence, verbatim.
        anatomies: Anatomies that it speaks of, by name, carried over or collectively.
        matched: It names an anatomy, a finding, or a known place outside all anatomies.
    """

    index: int
    section: str
    text: str
    anatomies: tuple[str, ...]
    matched: bool


@dataclass(frozen=True, slots=True)
class AnatomyReading:
    """What a report says of one anatomy.

    Attributes:
        status: normal, abnormal, uncertain, unmentioned or removed.
        text: Its verbatim clauses, joined by one space.
    """

    status: str
    text: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """One mention of a finding.

    Attributes:
        anatomy: The finding's anatomy, None for a label outside all anatomies.
        finding: The finding's id.
        assertion: positive, negative, uncertain, historical or hypothetical.
        side: left, right, both or None.
        size_mm: Largest diameter in mm, or None.
        index: Index of the sentence.
        rule: The phrase that matched and the cue that decided.
    """

    anatomy: str | None
    finding: str
    assertion: str
    side: str | None
    size_mm: float | None
    index: int
    rule: str


@dataclass(frozen=True, slots=True)
class ReportReading:
    """All that was read from one report.

    Attributes:
        sentences: In order.
        anatomies: Every anatomy of the vocabulary to what the report says of it.
        evidence: Mentions of findings in order of the text.
        labels: Every finding's id to 1 (positive), 0 (negative), -1 (uncertain) or None (not mentioned).
    """

    sentences: tuple[ReadSentence, ...]
    anatomies: Mapping[str, AnatomyReading]
    evidence: tuple[Evidence, ...]
    labels: Mapping[str, int | None]
