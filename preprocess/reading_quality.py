"""How well a hospital's reports are understood: what matched, what did not, and what contradicts itself.

Fed one reading at a time with bounded memory, so that a million reports can be judged while they are read.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from preprocess.language import AUTO
from preprocess.phrases import fold
from preprocess.reading import Evidence, ReportReading
from preprocess.report_sex import SexWords

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
MAX_PATTERNS = 200_000
"""Different unmatched sentences that are counted; beyond twice as many, the rarer ones are forgotten."""
MAX_CONTRADICTIONS = 100_000
SUMMARIES = ("impression", "addendum")
SIDES = {"left": {"left"}, "right": {"right"}, "both": {"left", "right"}}


@dataclass(frozen=True, slots=True)
class Unmatched:
    """Sentences that name no anatomy, no finding and no known place, alike but for case, blanks and numbers.

    Attributes:
        count: How many there are.
        sentence: The first of them.
        study_id: Where it stands.
    """

    count: int
    sentence: str
    study_id: str


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A report that says two things which cannot both be true.

    Attributes:
        study_id: The study.
        kind: side (the impression names the other side of a finding) or sex (words of both sexes, or of
            another one than the study's header).
        what: The finding's id, or the words.
        detail: What is said where.
    """

    study_id: str
    kind: str
    what: str
    detail: str


@dataclass(frozen=True)
class ReadingQuality:
    """How well reports were understood.

    Attributes:
        studies: Studies read.
        silent: Studies without a single matched sentence.
        sections: Section to (sentences, matched sentences).
        unmatched: The other sentences, most frequent first.
        anatomies: Anatomy to status to how many studies have it.
        findings: Finding to assertion to how many mentions there are.
        contradictions: By study.
    """

    studies: int
    silent: int
    sections: Mapping[str, tuple[int, int]]
    unmatched: tuple[Unmatched, ...]
    anatomies: Mapping[str, Mapping[str, int]]
    findings: Mapping[str, Mapping[str, int]]
    contradictions: tuple[Contradiction, ...]

    @property
    def sentences(self) -> int:
        """Sentences read."""
        return sum(count for count, _ in self.sections.values())

    @property
    def matched(self) -> int:
        """Sentences that name an anatomy, a finding, or a known place outside all anatomies."""
        return sum(count for _, count in self.sections.values())


class QualityCounter:
    """Counts while readings come.

    Args:
        language: As the reports are read in; gives the words of the sexes.

    Raises:
        InputError: The language's file of these words cannot be read.
    """

    def __init__(self, language: str | Path = AUTO) -> None:
        self._sexes = SexWords(language)
        self._studies = self._silent = 0
        self._sections: dict[str, list[int]] = {}
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, tuple[str, str]] = {}
        self._statuses: dict[str, Counter[str]] = {}
        self._assertions: dict[str, Counter[str]] = {}
        self._contradictions: list[Contradiction] = []

    def add(self, study_id: str, reading: ReportReading, *, sex: str | None = None) -> None:
        """Count one study's reading.

        Args:
            study_id: The study.
            reading: What was read of it.
            sex: female or male, where the study's header says so.
        """
        self._studies += 1
        self._silent += not any(sentence.matched for sentence in reading.sentences)
        for sentence in reading.sentences:
            counts = self._sections.setdefault(sentence.section, [0, 0])
            counts[0] += 1
            counts[1] += sentence.matched
            if not sentence.matched:
                self._add_unmatched(study_id, sentence.text)
        for name, anatomy in reading.anatomies.items():
            self._statuses.setdefault(name, Counter())[anatomy.status] += 1
        for evidence in reading.evidence:
            self._assertions.setdefault(evidence.finding, Counter())[evidence.assertion] += 1
        if len(self._contradictions) < MAX_CONTRADICTIONS:
            self._contradictions += side_contradictions(study_id, reading)
            found = self._sexes.find(sentence.text for sentence in reading.sentences)
            self._contradictions += sex_contradictions(study_id, found, sex)

    def _add_unmatched(self, study_id: str, sentence: str) -> None:
        pattern = " ".join(NUMBER.sub("#", fold(sentence)).split())
        self._counts[pattern] += 1
        self._examples.setdefault(pattern, (sentence, study_id))
        if len(self._counts) > 2 * MAX_PATTERNS:
            self._counts = Counter(dict(self._counts.most_common(MAX_PATTERNS)))
            self._examples = {kept: self._examples[kept] for kept in self._counts}

    def result(self) -> ReadingQuality:
        """Return what was counted so far."""
        frequent = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return ReadingQuality(
            studies=self._studies,
            silent=self._silent,
            sections={name: (counts[0], counts[1]) for name, counts in sorted(self._sections.items())},
            unmatched=tuple(Unmatched(count, *self._examples[pattern]) for pattern, count in frequent),
            anatomies={name: dict(sorted(counts.items())) for name, counts in self._statuses.items()},
            findings={name: dict(sorted(counts.items())) for name, counts in sorted(self._assertions.items())},
            contradictions=tuple(self._contradictions),
        )


def side_contradictions(study_id: str, reading: ReportReading) -> Iterator[Contradiction]:
    """Yield findings of which the impression (or an addendum) names one side and the rest of the report the other."""
    stated: dict[str, list[Evidence]] = {}
    for evidence in reading.evidence:
        if evidence.assertion == "positive" and evidence.side in SIDES and not evidence.overridden:
            stated.setdefault(evidence.finding, []).append(evidence)
    for finding, mentions in stated.items():
        places: dict[bool, dict[str, int]] = {False: {}, True: {}}
        for mention in mentions:
            summary = reading.sentences[mention.index].section in SUMMARIES
            for side in SIDES[str(mention.side)]:
                places[summary].setdefault(side, mention.index)
        if places[False] and places[True] and not set(places[True]) & set(places[False]):
            said = [f"{side} in sentence {index + 1}" for side, index in sorted(places[False].items())]
            summed = [f"{side} in sentence {index + 1}" for side, index in sorted(places[True].items())]
            detail = f"{', '.join(said)}; summary: {', '.join(summed)}"
            yield Contradiction(study_id, "side", finding, detail)


def sex_contradictions(study_id: str, found: Mapping[str, str], sex: str | None) -> Iterator[Contradiction]:
    """Yield a contradiction where words of both sexes, or of another one than the header's, were found.

    Args:
        study_id: The study.
        found: Sex to words of the report, see `preprocess.report_sex.SexWords`.
        sex: The header's, or None.
    """
    other = {name: words for name, words in found.items() if name != sex} if sex is not None else {}
    if len(found) > 1 or other:
        words = {"header": sex, **found} if sex is not None else found
        detail = "; ".join(f"{name}: {word}" for name, word in sorted(words.items()))
        yield Contradiction(study_id, "sex", ", ".join(found[name] for name in sorted(found)), detail)
