"""Finds initials in reports: with a surname behind them, and alone where somebody dictated, typed or signed."""

import re
from collections.abc import Iterator

from preprocess.identifier_cues import LETTER, NAME, UPPER, CueSet, Span
from preprocess.identifier_names import NameFinder
from preprocess.identifier_words import IdentifierWords
from preprocess.phrases import fold

INITIALS = r"[^\W\d_]{2,4}(?:[/:.-][^\W\d_]{1,4}){0,2}"
BEHIND_CUE = re.compile(rf"[\s:]{{1,3}}(?P<name>{INITIALS})(?![\w'\u2019])")
PAIR = re.compile(r"(?<![\w/])[A-Z]{2,4}[/:][a-z]{2,4}(?:/\d{1,4})?(?![\w/])")
"""Who dictated and who typed ("PW/jh")."""

STAMPED = re.compile(
    r"\d{1,4}[./-]\d{1,2}[./-]\d{2,4},?(?: \d{1,2}:?\d\d(?::\d\d)?)?"
    rf" (?P<name>{NAME}(?: {NAME})?)(?=[ \t]*(?:\n|$))"
)
"""The last word of a line behind a day and its time."""

DOUBLE = re.compile(rf"{LETTER}-{UPPER}")
"""A surname of two parts, which is one in any place."""

BEFORE = re.compile(
    r"(?:(?P<line>(?:^|\n)[ \t*|\u2013\u2014-]*)|[,;:(/\u2013\u2014]\s{0,2}"
    r"|\b(?i:for|by|with|from|to|under|von|durch|mit|bei|an|pat|patient)\b\.?\s)$"
)
HEAD = re.compile(r"\s*(?:\n|,|\(|$)| (?:was|is|war|ist|hat|has)\b")
"""What follows a name at the head of a line, and no item of an outline ("A. Cholecystitis.")."""

LAST_LETTERS = 24
LAST = re.compile(
    rf"(?:^|\n|[.!?)]\s)[ \t\u2013-]*(?P<name>{LETTER}{{2,4}}(?:[/:-]{LETTER}{{1,4}}){{0,2}}(?:/\d{{1,4}})?)\.?\s*$"
)
"""One short word, or two, as the last sentence of a report."""


class InitialsFinder:
    """Finds initials.

    Args:
        words: Of the languages.
        names: Judges which words are part of a name.
    """

    def __init__(self, words: IdentifierWords, names: NameFinder) -> None:
        self._names = names
        self._no_name = words.ordinary | words.terms | words.eponyms | words.titles
        self._units = words.units
        particles = "|".join(sorted(map(re.escape, words.particles), key=len, reverse=True))
        self._initialled = re.compile(
            rf"(?<![\w.])(?P<initials>(?:{UPPER}\.[ -]?){{1,3}})(?:(?i:{particles})\b\.?[ -]){{0,2}}(?P<own>{NAME})"
        )
        self.signers = CueSet(words.signers)

    def with_surname(self, text: str, folded: str) -> Iterator[Span]:
        """Yield initials with a surname behind them, in places where a name is likely."""
        for match in self._initialled.finditer(text):
            if self._is_surname(match["own"]) and (DOUBLE.search(match["own"]) or self._is_likely(text, match)):
                yield from self._names.accept(text, folded, match.span())
        for match in STAMPED.finditer(text):
            if self._is_surname(match["name"]):
                yield *match.span("name"), "name"

    def _is_likely(self, text: str, match: re.Match[str]) -> bool:
        """Whether a name may stand here: behind a mark or a preposition, or at the head of a line without outline."""
        before = BEFORE.search(text[max(0, match.start() - 12) : match.start()])
        if before is None:
            return False
        is_outline = before["line"] == "" and len(match["initials"].strip()) == 2
        return not is_outline or HEAD.match(text, match.end()) is not None

    def _is_surname(self, name: str) -> bool:
        return self._no_name.isdisjoint(re.findall(rf"{LETTER}+", fold(name)))

    def at_signer(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield the initials behind a cue such as "typed"."""
        end = self.signers.end(text, start, first)
        match = None if end is None else BEHIND_CUE.match(text, end)
        if match is not None and self._are_initials(match["name"]):
            yield *match.span("name"), "name"

    def alone(self, text: str) -> Iterator[Span]:
        """Yield pairs of initials, and those that end a report."""
        for match in PAIR.finditer(text):
            if self._are_initials(match[0]):
                yield *match.span(), "name"
        begin = max(0, len(text) - LAST_LETTERS)
        last = LAST.search(text[begin:])
        if last is not None and begin + last.start() > 0 and self._are_initials(last["name"]):
            yield begin + last.start("name"), begin + last.end("name"), "name"

    def _are_initials(self, token: str) -> bool:
        words = [word for word in re.findall(rf"{LETTER}+", token) if len(word) > 1]
        return not any(fold(word) in self._no_name or (word.islower() and word in self._units) for word in words)
