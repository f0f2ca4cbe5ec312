"""Why a report was read as it was: each sentence with the words that were recognised in it and what they led to."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from preprocess.canonical import canonical_text
from preprocess.language import AUTO, resolve_languages
from preprocess.lexicon import COLLECTIVE, FOREIGN, MASK, Lexicon
from preprocess.phrases import Match, fold, longest
from preprocess.reading import Evidence, ReadSentence
from preprocess.report_reader import AbnormalRule, build_reader
from preprocess.vocabulary import Vocabulary

SIGNS = ("normal", "abnormal", "removed", "limited")
STATES = {1: "positive", 0: "negative", -1: "uncertain"}


@dataclass(frozen=True, slots=True)
class Mark:
    """A recognised stretch of a sentence.

    Attributes:
        start: First character.
        end: One past the last character.
        kind: anatomy, elsewhere (a place outside all anatomies), finding, cue, sign or side.
        label: What it was taken for: an anatomy's name, a finding's id and assertion, a cue's assertion, ...
    """

    start: int
    end: int
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a sentence that lies wholly inside or wholly outside of every mark; `marks` are those over it."""

    text: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class ExplainedSentence:
    """A sentence, its segments in order (their texts joined are the sentence), and the evidence that it gave."""

    sentence: ReadSentence
    segments: tuple[Segment, ...]
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class ExplainedAnatomy:
    """What the report says of one anatomy: status, the sentence rendered from it, and the report's own clauses."""

    title: str
    status: str
    canonical: str
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A report explained.

    Attributes:
        vocabulary: Name of the vocabulary.
        language: Name or folder of the language.
        sentences: In order.
        anatomies: Those that the report mentions, in the vocabulary's order.
        unmentioned: Titles of the others.
        elsewhere: Labels outside all anatomies to their state, where they have one.
    """

    vocabulary: str
    language: str
    sentences: tuple[ExplainedSentence, ...]
    anatomies: tuple[ExplainedAnatomy, ...]
    unmentioned: tuple[str, ...]
    elsewhere: dict[str, str]

    @property
    def matched(self) -> int:
        """Sentences that name an anatomy, a finding, or a known place outside all anatomies."""
        return sum(explained.sentence.matched for explained in self.sentences)


def explain_report(
    text: str, vocabulary: Vocabulary, *, language: str | Path = AUTO, abnormal_rule: AbnormalRule = "any"
) -> Explanation:
    """Read a report and keep what each step recognised.

    Args:
        text: The report.
        vocabulary: Anatomies and findings to look for.
        language: `auto` (the text's own), name of a shipped language, or a folder of its files.
        abnormal_rule: See `preprocess.report_reader.read_report`.

    Raises:
        InputError: The language's files are missing or wrong.
    """
    language = resolve_languages([text], language)[0]
    reader = build_reader(vocabulary, language)
    reading = reader.read(text, abnormal_rule=abnormal_rule)
    sentences = []
    for sentence in reading.sentences:
        evidence = tuple(entry for entry in reading.evidence if entry.index == sentence.index)
        marks = find_marks(sentence.text, evidence, reader.lexicon)
        sentences.append(ExplainedSentence(sentence, tuple(cut_segments(sentence.text, marks)), evidence))
    mentioned, unmentioned = [], []
    for name, anatomy in reading.anatomies.items():
        title = vocabulary.anatomies[name].title
        if anatomy.status == "unmentioned":
            unmentioned.append(title)
        else:
            canonical = canonical_text(name, reading, vocabulary)
            mentioned.append(ExplainedAnatomy(title, anatomy.status, canonical, anatomy.text))
    elsewhere = {
        finding.name: STATES[label]
        for finding in vocabulary.findings
        if finding.anatomy is None and (label := reading.labels[finding.id]) is not None
    }
    return Explanation(
        vocabulary.name, str(language), tuple(sentences), tuple(mentioned), tuple(unmentioned), elsewhere
    )


def find_marks(text: str, evidence: Iterable[Evidence], lexicon: Lexicon) -> list[Mark]:
    """Return what is recognised in a sentence, in order of place; marks may overlap.

    Args:
        text: The sentence.
        evidence: What the reader took from it; of the findings' phrases only those that led to evidence are marked.
        lexicon: The language.
    """
    found = lexicon.phrases.find_all(fold(text))
    marks = [*_place_marks(longest(found["anatomies"]), lexicon), *_finding_marks(found["findings"], evidence)]
    for cue in longest(found["cues"]):
        if cue.key in lexicon.cue_groups:
            marks.append(Mark(cue.start, cue.end, "cue", f"makes it {lexicon.cue_groups[cue.key].assertion}"))
    marks += [Mark(m.start, m.end, "sign", f"sign: {m.key}") for m in longest(found["status"]) if m.key in SIGNS]
    marks += [Mark(m.start, m.end, "side", f"side: {m.key}") for m in longest(found["sides"])]
    return sorted(set(marks), key=lambda mark: (mark.start, -mark.end, mark.kind, mark.label))


def _place_marks(words: Iterable[Match], lexicon: Lexicon) -> Iterator[Mark]:
    for word in words:
        if word.key.startswith(FOREIGN):
            yield Mark(word.start, word.end, "elsewhere", f"elsewhere: {word.key.removeprefix(FOREIGN)}")
        elif word.key.startswith(COLLECTIVE):
            together = ", ".join(lexicon.collective[word.key])
            yield Mark(word.start, word.end, "anatomy", f"together: {together}")
        elif not word.key.startswith(MASK):
            yield Mark(word.start, word.end, "anatomy", word.key)


def _finding_marks(found: Sequence[Match], evidence: Iterable[Evidence]) -> Iterator[Mark]:
    """Mark each piece of evidence at the first place of its phrase that no earlier piece has taken."""
    taken: set[Match] = set()
    for entry in evidence:
        phrase = entry.rule.split(" <- ", 1)[0]
        for match in found:
            kind, _, finding = match.key.partition(" ")
            if kind != "not" and finding == entry.finding and match.phrase == phrase and match not in taken:
                taken.add(match)
                yield Mark(match.start, match.end, "finding", describe_evidence(entry))
                break


def describe_evidence(evidence: Evidence) -> str:
    """Return a mention in words: finding, assertion, side, size."""
    size = "" if evidence.size_mm is None else f"{evidence.size_mm:g} mm"
    overridden = "overridden by an addendum" if evidence.overridden else ""
    details = (evidence.assertion, evidence.side, size, overridden)
    return f"{evidence.finding}: {', '.join(detail for detail in details if detail)}"


def cut_segments(text: str, marks: Sequence[Mark]) -> Iterator[Segment]:
    """Cut a sentence at every border of a mark, so that marks that overlap can be shown."""
    borders = sorted({0, len(text), *(mark.start for mark in marks), *(mark.end for mark in marks)})
    for start, end in pairwise(borders):
        over = tuple(mark for mark in marks if mark.start <= start and end <= mark.end)
        yield Segment(text[start:end], over)
