"""Finds names of persons in reports by a given name in them, from a long list, with little or nothing beside it."""

import re
from collections.abc import Iterator

from preprocess.identifier_cues import LETTER, NAME, WORDS, Span
from preprocess.identifier_names import GLUE, ITEM, NameFinder
from preprocess.identifier_words import IdentifierWords
from preprocess.phrases import fold

BEFORE = 48
LEAST_ALONE = 4
"""Letters of a given name that is found with no other name beside it."""

INSIDE = re.compile(rf"(?:{LETTER}|\d|[,;:(\"\u201c\u2018'])[ \t]?$")
"""What stands before a word inside a sentence, where a capital in English makes a name."""

GRADE = re.compile(rf"(?:[-/&]| & |[ ]){NAME} (?:\d|[IVX]+\b)|[ ](?:\d|(?:I{{1,3}}|IV|V|VI)[abc]?\b(?!\.? ?{NAME}))")
"""What makes a classification of the names before it ("Fisher 3", "Regan-Morrey II")."""

SAID = re.compile(
    r"['\u2019]s [a-z]|, (?:\d|aged|age)| (?:was|is|has|had|will|would|could|did|came|lives|tolerated|reports"
    r"|denies|presented|agreed|wurde|wird|ist|hat|hatte|war|kam|kommt|klagt|konnte|lebt|stellte)\b"
)
"""What tells a given name at the head of a sentence."""

LOWER = re.compile(rf"(?:(?<=\n)|^)(?P<name>{LETTER}[\w'\u2019-]*), ?$")
LOWER_BEHIND = re.compile(rf"(?: {LETTER}+){{0,2}}(?=\n|$)")


class GivenNameFinder:
    """Finds given names with what belongs to them.

    Args:
        words: Of the languages.
        names: Judges which words are part of a name.
    """

    def __init__(self, words: IdentifierWords, names: NameFinder) -> None:
        self._names, self._words = names, words
        self._no_name = words.ordinary | words.eponyms | words.terms | words.titles | words.title_parts
        particles = "|".join(sorted(map(re.escape, words.particles), key=len, reverse=True))
        particle = rf"(?:(?i:{particles})\b\.?{GLUE}?)"
        self._behind = re.compile(rf"(?P<name>{NAME}(?:{GLUE}{particle}{{0,2}}{ITEM}){{1,3}})")
        self._reversed = re.compile(rf"(?<!{LETTER})(?P<name>{NAME}),[ \t]?$")
        self._before = re.compile(rf"(?P<line>(?:(?<=\n)|^)[ \t*|]*)?(?<![\w-])(?P<name>{NAME}) $")

    def at_given_name(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield a given name that begins at `start`, with the names behind and before it."""
        end, low = start + len(first), max(0, start - BEFORE)
        before = text[low:start]
        if not text[start].isupper():
            match, behind = LOWER.search(before), LOWER_BEHIND.match(text, end)
            if match and behind and fold(match["name"]) not in self._no_name:
                yield low + match.start("name"), behind.end(), "name"
            return
        spans: list[Span] = []
        if GRADE.match(text, end):
            return
        if match := self._behind.match(text, start):
            spans += self._names.accept(text, folded, match.span("name"), least=2)
        if ((match := self._reversed.search(before)) and self._is_surname(match["name"])) or (
            (match := self._before.search(before))
            and (match["line"] is not None or (match["name"].isupper() and not text[start:end].isupper()))
            and self._is_surname(match["name"])
        ):
            spans.append((low + match.start("name"), end, "name"))
        yield from spans
        if not spans and self._stands_alone(text, folded, start, end):
            yield start, end, "name"

    def _is_surname(self, name: str) -> bool:
        return len(name) > 2 and not any(word in self._no_name for word in WORDS.findall(fold(name)))

    def _stands_alone(self, text: str, folded: str, start: int, end: int) -> bool:
        """Whether a given name with no other name beside it is one: inside a sentence, with no medical word behind."""
        word = folded[start:end]
        if end - start < LEAST_ALONE or word in self._no_name or word in self._words.surnames:
            return False
        if self._names.is_term(folded, end) or text[start:end].isupper():
            return False
        if SAID.match(text, end):
            return True
        return text[end : end + 1] != "-" and INSIDE.search(text[max(0, start - 3) : start]) is not None
