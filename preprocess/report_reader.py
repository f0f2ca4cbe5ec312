"""Read one report: its sentences, each anatomy's status and own text, and the findings with their evidence.

Pure and deterministic; rules only, all of them in data files. No report leaves the process, and no text makes it fail.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from preprocess.clause_reader import Clause, Subject, parse_sentence
from preprocess.findings import judge
from preprocess.language import AUTO, resolve_languages
from preprocess.lexicon import Lexicon, load_lexicon
from preprocess.model_answers import EDGES, NO_ANSWERS, Answers, note_answer
from preprocess.phrases import fold
from preprocess.qualifiers import side, size_mm
from preprocess.reading import Evidence, ReadSentence, ReportPart, ReportReading
from preprocess.sentences import split_sentences
from preprocess.statements import Notes, Statement, conclude
from preprocess.vocabulary import Vocabulary

AbnormalRule = Literal["any", "impression"]
READ_SECTIONS = ("findings", "impression", "addendum", "other")
CACHED_SENTENCES = 20_000


class Reader:
    """Reads reports in one language for one vocabulary; compiled once.

    Args:
        vocabulary: Anatomies and findings to look for.
        language: Name of a shipped language, or a folder of its files.
    """

    def __init__(self, vocabulary: Vocabulary, language: str | Path = "en") -> None:
        self.vocabulary = vocabulary
        self.lexicon: Lexicon = load_lexicon(vocabulary, language)
        self._paired = {
            name for name, anatomy in vocabulary.anatomies.items() if {"left", "right"} <= set(anatomy.parts)
        }
        self._owner = {finding.id: finding.anatomy for finding in vocabulary.findings}
        self._parse = lru_cache(maxsize=CACHED_SENTENCES)(lambda text: parse_sentence(text, self.lexicon, self._owner))

    def read(self, text: str, *, abnormal_rule: AbnormalRule = "any") -> ReportReading:
        """Read one report; see `read_report`."""
        return self.read_parts([ReportPart(text)], abnormal_rule=abnormal_rule)

    def read_parts(
        self, parts: Sequence[ReportPart], *, abnormal_rule: AbnormalRule = "any", answers: Answers = NO_ANSWERS
    ) -> ReportReading:
        """Read the reports of one study together.

        Args:
            parts: Reports and addenda, older ones first. What an addendum (a part, or a section of a report with that
                header) states of a finding overrides earlier statements of the same finding on the same side.
            abnormal_rule: See `read_report`.
            answers: What a language model says of clauses that the rules leave unmatched, if one was asked.
        """
        return _read_together([(part, self) for part in parts], self.vocabulary, abnormal_rule, answers)

    def note_part(self, text: str, begun: int, notes: Notes, read: list[ReadSentence], answers: Answers) -> int:
        """Note what one text says, add its sentences to `read`, and return how many addenda have begun by its end."""
        subject = scope = Subject()
        section = ""
        first = len(read)
        sentences = split_sentences(text, self.lexicon.sentences)
        added = begun == 0 and any(sentence.section == "addendum" for sentence in sentences)
        for sentence in sentences:
            clauses, heading = self._parse(sentence.text)
            if sentence.section != section:
                section, subject, scope = sentence.section, Subject(), Subject()
            if heading is not None and (heading.headed or sentence.listed):
                scope = heading
            if sentence.listed or (scope.headed and scope.covers(subject)):
                subject = scope
            index = first + sentence.index
            notes.addendum.append(begun + (section == "addendum" and added))
            spoken: list[str] = []
            unread: list[str] = []
            matched = False
            for clause in clauses:
                said, subject = self._resolve(clause, subject, scope)
                self._note(notes, index, section, clause, said)
                spoken += said.anatomies or said.collective
                known = bool(said.anatomies or said.collective or clause.place.foreign or clause.mentions)
                matched = matched or (known and clause.recognised)
                if not known and section in READ_SECTIONS:
                    told, left = self._note_answer(notes, (index, clause.span, section), sentence.text, answers)
                    spoken += told
                    unread += left
            ordered = tuple(name for name in self.vocabulary.anatomies if name in spoken)
            read.append(ReadSentence(index, section, sentence.text, ordered, matched, tuple(unread)))
        return begun + added

    def _resolve(self, clause: Clause, subject: Subject, scope: Subject) -> tuple[Subject, Subject]:
        """Return what the clause speaks of, and what the next clause may carry on.

        A clause that names no place speaks of what was spoken of before; so does one under a heading that only tells
        what something lies next to.
        """
        place = clause.place
        if clause.empty:
            return Subject(), subject
        if place.anatomies and not (place.beside and scope.anatomies and scope.headed):
            said = Subject(place.anatomies, place.collective)
            return said, scope if scope.headed and place.anatomies == scope.anatomies else Subject(place.anatomies)
        if place.foreign or place.collective:
            said = Subject((), place.collective)
            return said, scope if scope.headed and said.collective == scope.collective else Subject()
        return self._narrow(clause, subject), subject

    def _narrow(self, clause: Clause, subject: Subject) -> Subject:
        """Give an abnormality to one of several anatomies spoken of ("Kidneys, ureters and bladder: a left cyst").

        It is one that has the finding, that has sides if one is named, and that was named first.
        """
        verdict = judge(clause.signs, (mention.assertion for mention in clause.mentions))
        if len(subject.anatomies) < MANY or verdict not in ("abnormal", "uncertain"):
            return subject
        names = subject.anatomies
        for fitting in ({self._owner[m.finding] for m in clause.mentions}, self._paired if clause.sided else ()):
            names = tuple(name for name in names if name in fitting) or names
        return Subject(names[:1])

    def _note(self, notes: Notes, index: int, section: str, clause: Clause, said: Subject) -> None:
        """Write down what a clause says of its anatomies."""
        aside = section in ("technique", "comparison")
        mentions = () if aside else self._mentions(index, section, clause, said.anatomies)
        notes.evidence += mentions
        if section not in READ_SECTIONS:
            return
        if notes.addendum[index]:
            section = "addendum"
        for name in said.anatomies:
            own = tuple(m for m in mentions if m.anatomy == name)
            verdict = judge(clause.signs, (m.assertion for m in own), fills=name in self.lexicon.fills)
            notes.statements.append(Statement(name, index, clause.span, section, verdict, own))
        if judge(clause.signs, ()) == "normal":
            for name in said.collective:
                if name not in said.anatomies:
                    notes.statements.append(Statement(name, index, clause.span, section, None, ()))
                    notes.collective.add(name)

    def _note_answer(
        self, notes: Notes, place: tuple[int, tuple[int, int], str], text: str, answers: Answers
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Write down what a language model answered about a clause that the rules left unmatched.

        Returns:
            The anatomy that it speaks of, if one, and the clause itself where there is no answer.
        """
        span = place[1]
        words = text[slice(*span)].strip(EDGES)
        answer = answers.get(words)
        if answer is None:
            return (), (words,) if any(map(str.isalpha, words)) else ()
        folded = fold(text)
        where = side(span, span, self.lexicon.phrases.find_all(folded)["sides"])
        return note_answer(notes, place, answer, side=where, size_mm=size_mm(folded, span, span)), ()

    def _mentions(self, index: int, section: str, clause: Clause, anatomies: tuple[str, ...]) -> tuple[Evidence, ...]:
        """Return the clause's mentions of findings of its anatomies (or of none)."""
        mentions = []
        for mention, (where, size) in zip(clause.mentions, clause.qualified, strict=True):
            owner = self._owner[mention.finding]
            if owner is not None and owner not in anatomies:
                continue
            assertion = mention.assertion
            if section == "history" and assertion == "positive":
                assertion = "historical"
            mentions.append(Evidence(owner, mention.finding, assertion, where, size, index, mention.rule))
        return tuple(mentions)


MANY = 2


def _read_together(
    parts: Sequence[tuple[ReportPart, Reader]], vocabulary: Vocabulary, abnormal_rule: AbnormalRule, answers: Answers
) -> ReportReading:
    """Read the parts of one study, each with its reader."""
    notes = Notes()
    read: list[ReadSentence] = []
    begun = 0
    for part, reader in parts:
        begun += part.kind == "addendum"
        begun = reader.note_part(part.text, begun, notes, read, answers)
    partial = {name for _, reader in parts for name in reader.lexicon.partial}
    summarised = abnormal_rule == "impression" and any(s.section == "impression" for s in read)
    return conclude(notes, read, vocabulary, partial=partial, summarised=summarised)


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


def read_study(
    parts: Sequence[ReportPart],
    vocabulary: Vocabulary,
    *,
    language: str | Path = AUTO,
    abnormal_rule: AbnormalRule = "any",
    answers: Answers = NO_ANSWERS,
) -> ReportReading:
    """Read the reports of one study together.

    Args:
        parts: See `Reader.read_parts`, as for the last two.
        vocabulary: Anatomies and findings to look for.
        language: `auto` (each report's own), name of a shipped language, or a folder of its files.
        abnormal_rule: See there.
        answers: See there.

    Raises:
        InputError: The language's files are missing or wrong.
    """
    languages = resolve_languages([part.text for part in parts], language)
    readers = [build_reader(vocabulary, own) for own in languages]
    return _read_together(list(zip(parts, readers, strict=True)), vocabulary, abnormal_rule, answers)


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
