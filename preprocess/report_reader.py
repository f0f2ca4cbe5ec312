"""Read one report: its sentences, each anatomy's status and own text, and the findings with their evidence.

Pure and deterministic; rules only, all of them in data files. No report leaves the process, and no text makes it fail.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from preprocess.anatomy_matcher import Place, find_place
from preprocess.clauses import split_clauses, split_items
from preprocess.findings import Mention, Signs, find_mentions, find_signs, judge, select_findings
from preprocess.lexicon import COLLECTIVE, FOREIGN, MASK, Lexicon, load_lexicon
from preprocess.phrases import Match, fold, longest
from preprocess.qualifiers import side, size_mm
from preprocess.reading import AnatomyReading, Evidence, ReadSentence, ReportReading
from preprocess.sentences import Sentence, split_sentences
from preprocess.vocabulary import Vocabulary

AbnormalRule = Literal["any", "impression"]
READ_SECTIONS = ("findings", "impression", "other")
CACHED_SENTENCES = 20_000


@dataclass(frozen=True, slots=True)
class _Clause:
    """A clause as far as it can be understood alone; `qualified` holds each mention's side and size in mm."""

    span: tuple[int, int]
    place: Place
    mentions: tuple[Mention, ...]
    qualified: tuple[tuple[str | None, float | None], ...]
    signs: Signs


@dataclass
class _Notes:
    """What gathers while a report is read."""

    texts: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)
    verdicts: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    collective: set[str] = field(default_factory=set)
    evidence: list[Evidence] = field(default_factory=list)


class Reader:
    """Reads reports in one language for one vocabulary; compiled once.

    Args:
        vocabulary: Anatomies and findings to look for.
        language: Name of a shipped language, or a folder of its files.
    """

    def __init__(self, vocabulary: Vocabulary, language: str | Path = "en") -> None:
        self.vocabulary = vocabulary
        self.lexicon: Lexicon = load_lexicon(vocabulary, language)
        self._owner = {finding.id: finding.anatomy for finding in vocabulary.findings}
        self._parse = lru_cache(maxsize=CACHED_SENTENCES)(self._parse_sentence)

    def read(self, text: str, *, abnormal_rule: AbnormalRule = "any") -> ReportReading:
        """Read one report; see `read_report`."""
        sentences = split_sentences(text, self.lexicon.sentences)
        notes = _Notes()
        subject: tuple[str, ...] = ()
        scope: tuple[str, ...] = ()
        section = ""
        read: list[ReadSentence] = []
        for sentence in sentences:
            if sentence.section != section:
                section, subject, scope = sentence.section, (), ()
            elif sentence.listed:
                subject = scope
            clauses, subject_scope = self._parse(sentence.text)
            if subject_scope is not None:
                scope = subject_scope
            spoken: list[str] = []
            matched = False
            for clause in clauses:
                anatomies, subject = self._resolve(clause, subject)
                self._note(notes, sentence, clause, anatomies)
                spoken += anatomies or clause.place.collective
                matched = matched or clause.place.foreign or bool(clause.mentions)
            ordered = tuple(name for name in self.vocabulary.anatomies if name in spoken)
            read.append(ReadSentence(sentence.index, section, sentence.text, ordered, matched or bool(ordered)))
        return self._conclude(sentences, tuple(read), notes, abnormal_rule)

    def _parse_sentence(self, text: str) -> tuple[tuple[_Clause, ...], tuple[str, ...] | None]:
        """Understand a sentence alone: its clauses, and the anatomies that it opens as a heading, if it does."""
        lexicon, folded = self.lexicon, fold(text)
        found = lexicon.phrases.find_all(folded)
        words, signs, cues, context = (longest(found[name]) for name in ("anatomies", "status", "cues", "context"))
        spans: list[tuple[int, int]] = []
        for span in split_clauses(folded, found["clauses"]):
            spans += self._split_items(span, folded, found["clauses"], words, [*found["findings"], *signs], cues)
        clauses = []
        for span in spans:
            named = select_findings(m for m in found["findings"] if span[0] <= m.start and m.end <= span[1])
            mentions = tuple(find_mentions(folded, span, named, cues, lexicon))
            own = [owner for m in mentions if m.own and (owner := self._owner[m.finding]) is not None]
            place = find_place(folded, span, words, context, own, lexicon)
            qualified = tuple((side(span, m.span, found["sides"]), size_mm(folded, span, m.span)) for m in mentions)
            clauses.append(_Clause(span, place, mentions, qualified, find_signs(folded, span, signs, cues, lexicon)))
        return tuple(clauses), self._heading(folded, words)

    def _split_items(
        self,
        span: tuple[int, int],
        folded: str,
        marks: list[Match],
        words: list[Match],
        stated: list[Match],
        cues: list[Match],
    ) -> list[tuple[int, int]]:
        """Split a clause into items unless a denial holds it together."""
        groups = self.lexicon.cue_groups
        denied = any(
            cue.key in groups and groups[cue.key].assertion == "negative" and span[0] <= cue.start < span[1]
            for cue in cues
        )
        if denied:
            return [span]
        named = [word for word in words if not word.key.startswith((MASK, COLLECTIVE))]
        signs = [s for s in stated if s.key == "abnormal" or s.key.startswith(("own ", "terms "))]
        return split_items(span, folded, marks, named, signs)

    def _heading(self, folded: str, words: list[Match]) -> tuple[str, ...] | None:
        """Return the anatomies of a heading ("Liver: ..."), () for one of another place, None without one."""
        colon = folded.find(":")
        if colon < 0 or colon > MAX_HEADING or len(folded[:colon].split()) > MAX_HEADING_WORDS:
            return None
        inside = [word.key for word in words if word.end <= colon and not word.key.startswith(MASK)]
        return tuple(key for key in inside if not key.startswith((FOREIGN, COLLECTIVE))) if inside else None

    def _resolve(self, clause: _Clause, subject: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the clause's anatomies and what the next clause may carry on.

        A clause that names no place speaks of what was spoken of before, if it points back or states anything at all.
        """
        place = clause.place
        if place.anatomies:
            return place.anatomies, place.anatomies
        if place.foreign or place.collective:
            return (), ()
        signs = clause.signs
        says = place.anaphoric or signs.asserted or signs.removed or signs.exists or clause.mentions
        return subject if says else (), subject

    def _note(self, notes: _Notes, sentence: Sentence, clause: _Clause, anatomies: tuple[str, ...]) -> None:
        """Write down what a clause says of its anatomies."""
        if sentence.section in READ_SECTIONS:
            for name in anatomies:
                notes.texts.setdefault(name, []).append((sentence.index, *clause.span))
                verdict = judge(clause.signs, (m.assertion for m in clause.mentions if self._owner[m.finding] == name))
                if verdict is not None:
                    notes.verdicts.setdefault(name, []).append((verdict, sentence.section))
            if not anatomies and not clause.place.foreign and judge(clause.signs, ()) == "normal":
                for name in clause.place.collective:
                    notes.texts.setdefault(name, []).append((sentence.index, *clause.span))
                    notes.collective.add(name)
        if sentence.section in ("technique", "comparison"):
            return
        for mention, (where, size) in zip(clause.mentions, clause.qualified, strict=True):
            owner = self._owner[mention.finding]
            if owner is not None and owner not in anatomies:
                continue
            assertion = mention.assertion
            if sentence.section == "history" and assertion == "positive":
                assertion = "historical"
            notes.evidence.append(
                Evidence(
                    owner,
                    mention.finding,
                    assertion,
                    where,
                    size,
                    sentence.index,
                    mention.rule,
                )
            )

    def _conclude(
        self, sentences: list[Sentence], read: tuple[ReadSentence, ...], notes: _Notes, abnormal_rule: AbnormalRule
    ) -> ReportReading:
        """Put the notes together."""
        summarised = abnormal_rule == "impression" and any(s.section == "impression" for s in sentences)
        anatomies = {}
        for name in self.vocabulary.anatomies:
            verdicts = notes.verdicts.get(name, [])
            status = _status(verdicts, name in notes.collective, name in self.lexicon.partial, summarised)
            anatomies[name] = AnatomyReading(status, _join(sentences, notes.texts.get(name, [])))
        labels: dict[str, int | None] = {}
        for finding in self.vocabulary.findings:
            asserted = {e.assertion for e in notes.evidence if e.finding == finding.id}
            labels[finding.id] = next((value for name, value in LABELS if name in asserted), None)
        return ReportReading(read, anatomies, tuple(notes.evidence), labels)


MAX_HEADING = 60
MAX_HEADING_WORDS = 6
LABELS = (("positive", 1), ("uncertain", -1), ("negative", 0))


def _status(verdicts: list[tuple[str, str]], collective: bool, partial: bool, summarised: bool) -> str:
    """Return an anatomy's status from its clauses' verdicts; what is removed on one side of a pair is abnormal."""
    counted = {
        verdict if not summarised or verdict == "normal" or section == "impression" else "normal"
        for verdict, section in verdicts
    }
    if "removed" in counted and not partial:
        return "removed"
    if counted & {"abnormal", "removed"}:
        return "abnormal"
    for status in ("uncertain", "normal"):
        if status in counted:
            return status
    return "normal" if collective else "unmentioned"


def _join(sentences: list[Sentence], pieces: list[tuple[int, int, int]]) -> str:
    """Join clauses by one space, those that follow each other in a sentence verbatim."""
    joined: list[tuple[int, int, int]] = []
    for index, start, end in pieces:
        if joined and joined[-1][0] == index and joined[-1][2] == start:
            joined[-1] = (index, joined[-1][1], end)
        else:
            joined.append((index, start, end))
    return " ".join(sentences[index].text[start:end].strip(" ,;:\n\t") for index, start, end in joined)


_READERS: dict[tuple[str, str], Reader] = {}


def build_reader(vocabulary: Vocabulary, language: str | Path = "en") -> Reader:
    """Return the reader of a vocabulary, compiled once for each content and language.

    Raises:
        InputError: The language's files are missing or wrong.
    """
    key = (vocabulary.digest, str(language))
    if key not in _READERS:
        _READERS[key] = Reader(vocabulary, language)
    return _READERS[key]


def read_report(
    text: str, vocabulary: Vocabulary, *, abnormal_rule: AbnormalRule = "any", language: str | Path = "en"
) -> ReportReading:
    """Read one report.

    Args:
        text: Any text; an empty one mentions nothing.
        vocabulary: Anatomies and findings to look for.
        abnormal_rule: Which statement makes an anatomy abnormal: `any`, or, where the report has an impression, one
            there.
        language: Name of a shipped language, or a folder of its files.

    Returns:
        Sentences, every anatomy's status and text, evidence and labels. The same text gives the same reading.

    Raises:
        InputError: The language's files are missing or wrong.
    """
    return build_reader(vocabulary, language).read(text, abnormal_rule=abnormal_rule)
