"""What is read from a report, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ReportPart:
    """One of the texts that speak of a study.

    Attributes:
        text: Verbatim; an empty one says nothing.
        kind: A report, or an addendum to what stands before it: what an addendum states of a finding overrides what
            was said of the same finding earlier.
    """

    text: str
    kind: Literal["report", "addendum"] = "report"


@dataclass(frozen=True, slots=True)
class ReadSentence:
    """A sentence with what it speaks of.

    Attributes:
        index: Position in the report, from 0.
        section: findings, impression, history, technique, comparison, addendum or other.
        text: The sentence, verbatim.
        anatomies: Anatomies that it speaks of, by name, carried over or collectively.
        matched: By the rules it names an anatomy, a finding, or a known place outside all anatomies.
        unread: Its clauses about which neither the rules nor a language model know anything.
    """

    index: int
    section: str
    text: str
    anatomies: tuple[str, ...]
    matched: bool
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnatomyReading:
    """What a report says of one anatomy.

    Attributes:
        status: normal, abnormal, uncertain, unmentioned or removed.
        text: Its verbatim clauses, joined by one space.
        source: Who read the status: rule, or model where the rules alone would have another.
    """

    status: str
    text: str
    source: str = "rule"


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
        overridden: An addendum states the finding anew, so that this mention no longer counts.
        source: Who read it: rule or model (then `rule` names the model).
    """

    anatomy: str | None
    finding: str
    assertion: str
    side: str | None
    size_mm: float | None
    index: int
    rule: str
    overridden: bool = False
    source: str = "rule"


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
