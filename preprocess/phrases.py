"""Phrases of the data files searched in a text, all in one pass (notation: `preprocess.phrase_notation`).

A text's words tell which phrases can begin there, and most words begin none or are a phrase by themselves: what each
word can begin is remembered, and only phrases whose other letters the text has are tried as regular expressions.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import reduce
from operator import or_
from typing import NamedTuple

from preprocess.phrase_notation import ENDINGS, MARK, MOST_LETTERS, STEM, Phrase, Start, compile_phrase

MAX_REMEMBERED = 50_000
"""Words whose phrases are remembered; languages have fewer, and misspelt ones must not fill the memory."""

MAX_CHOSEN = 1000
"""Sets of letters that are remembered for a word."""

NEXT = ">"
"""Before letters that begin the next word, in the names of bits."""

FOLDED = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " ", "\u2212": "-"})


class Match(NamedTuple):
    """A phrase found in a text.

    Attributes:
        start: First character.
        end: One past the last character.
        key: What the phrase stands for.
        phrase: The phrase as written in the data file.
    """

    start: int
    end: int
    key: str
    phrase: str


def fold(text: str) -> str:
    """Return `text` in lower case with typographic quotes made plain, character for character (same length)."""
    lowered = text.lower()
    if text.isascii():
        return lowered
    if len(lowered) != len(text):
        lowered = "".join(low if len(low := char.lower()) == 1 else char for char in text)
    return lowered.translate(FOLDED)


class _Entry(NamedTuple):
    group: str
    key: str
    phrase: str
    pattern: str


_Tried = tuple[str, str, str, Callable[[str, int], re.Match[str] | None]]
"""Group, key and phrase, and what matches the phrase at a place of a text."""


class _Known(NamedTuple):
    """What is known of a word or mark; letters are bits (`PhraseSet._bits`).

    Attributes:
        whole: Phrases that it is by itself.
        has: Letters that stand in it.
        heads: Letters with which it begins, as the word after another.
        inner: Such letters inside it, for a word may be two written as one.
        needed: All letters on which it depends which phrases begin with it.
        begun: Phrases that may begin with it: letters of which some begin the next word, letters of which some follow
            anywhere, and the phrase.
        chosen: Those of the needed letters that a text has to the phrases that may then begin, as far as remembered.
    """

    whole: tuple[_Entry, ...]
    has: int
    heads: int
    inner: int
    needed: int
    begun: tuple[tuple[int, int, int], ...]
    chosen: dict[int, tuple[_Tried, ...]]


class PhraseSet:
    """Phrases that stand for keys, in groups, all searched in one pass.

    Args:
        groups: Group to key to its phrases, in the notation of `phrase_notation`.
        endings: The language's inflections: ending of a word to the pattern of its forms, the first that fits counts.
        exact: Keys whose phrases are found only as they are written.

    Raises:
        ValueError: A phrase or an ending's pattern is malformed.
    """

    def __init__(
        self,
        groups: Mapping[str, Mapping[str, Iterable[str]]],
        endings: Mapping[str, str] = ENDINGS,
        *,
        exact: Collection[str] = (),
    ) -> None:
        self._groups = tuple(groups)
        self._entries: list[_Entry] = []
        self._anywhere: list[tuple[int, _Entry, re.Pattern[str]]] = []
        self._by_stem: dict[str, list[tuple[Start, int, bool]]] = {}
        self._patterns: dict[str, re.Pattern[str]] = {}
        self._bits: dict[str, int] = {"": 1}
        self._known: dict[str, _Known] = {}
        self._barren: set[str] = set()
        self._marks: set[str] = set()
        for ending, forms in endings.items():
            try:
                re.compile(forms)
            except re.error as error:
                raise ValueError(f"ending {ending!r}: {forms!r}: {error}") from error
        for group, keys in groups.items():
            for key, phrases in keys.items():
                for phrase in dict.fromkeys(phrases):
                    self._add(group, key, phrase, compile_phrase(phrase, {} if key in exact else endings))
        self._tokens = re.compile(rf"\w+|[{re.escape(''.join(sorted(self._marks)))}]" if self._marks else r"\w+")

    def _add(self, group: str, key: str, phrase: str, compiled: Phrase) -> None:
        entry = _Entry(group, key, phrase, compiled.pattern)
        if compiled.starts is None:
            self._anywhere.append((self._bits_of(compiled.letters), entry, re.compile(compiled.pattern)))
            return
        for start in compiled.starts:
            self._bits_of(start.needed)
            self._bits_of(_next(start))
            self._marks.update(some for some in (start.stem, *(start.follows or ())) if MARK.match(some))
            self._by_stem.setdefault(start.stem, []).append((start, len(self._entries), compiled.single))
        self._entries.append(entry)

    def _bits_of(self, letters: Iterable[str]) -> int:
        """Return the bits of letters, new ones for new letters; where there are none, the one that all texts have."""
        return sum(self._bits.setdefault(some, 1 << len(self._bits)) for some in set(letters) or ("",))

    def _learn(self, word: str) -> _Known:
        """Find out about a word or mark, and remember it."""
        whole: dict[int, _Entry] = {}
        begun: list[tuple[int, int, int]] = []
        for length in range(min(len(word), STEM) + 1):
            for start, number, single in self._by_stem.get(word[:length], ()):
                pattern = self._compiled(start.word)
                if single and pattern.fullmatch(word):
                    whole[number] = self._entries[number]
                elif not single and pattern.match(word):
                    begun.append((self._bits_of(_next(start)), self._bits_of(start.needed), number))
        bare = word.lstrip("_")
        known = _Known(
            tuple(whole.values()),
            self._sum(_pieces(word, MOST_LETTERS)),
            self._sum(NEXT + bare[:length] for length in range(1, STEM + 1)),
            self._sum(NEXT + piece for piece in _pieces(word[1:], STEM)),
            reduce(or_, (near | far for near, far, _ in begun), 0),
            tuple(begun),
            {},
        )
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
            self._barren.clear()
        self._known[word] = known
        if not (whole or begun):
            self._barren.add(word)
        return known

    def _sum(self, pieces: Iterable[str]) -> int:
        """Return the bits of those pieces of a word on which phrases depend."""
        return sum(self._bits[piece] for piece in set(pieces) if piece in self._bits)

    def _compiled(self, pattern: str) -> re.Pattern[str]:
        """Return a regular expression, compiled when first needed: a text needs few of them."""
        compiled = self._patterns.get(pattern)
        if compiled is None:
            compiled = self._patterns[pattern] = re.compile(pattern)
        return compiled

    def _choose(self, known: _Known, letters: int) -> tuple[_Tried, ...]:
        """Return the phrases that a word may begin in a text with these of the letters that it needs."""
        numbers = {number for near, far, number in known.begun if near & letters and far & letters}
        entries = (self._entries[number] for number in sorted(numbers))
        chosen = tuple((e.group, e.key, e.phrase, self._compiled(e.pattern).match) for e in entries)
        if len(known.chosen) < MAX_CHOSEN:
            known.chosen[letters] = chosen
        return chosen

    def may_find(self, text: str) -> bool:
        """Whether a phrase may stand in a folded text: much faster than `find_all` where phrases are rare."""
        words = set(self._tokens.findall(text)) - self._barren
        known = (self._known.get(word) or self._learn(word) for word in words)
        return bool(self._anywhere) or any(word.whole or word.begun for word in known)

    def find_all(self, text: str) -> dict[str, list[Match]]:
        """Return, group by group, the places of every phrase in a folded text, overlapping ones too, in order."""
        found: dict[str, list[Match]] = {group: [] for group in self._groups}
        later, heads = 1, 0
        for word in reversed(list(self._tokens.finditer(text))):
            known = self._known.get(word[0]) or self._learn(word[0])
            start, end = word.span()
            for group, key, phrase, _ in known.whole:
                found[group].append(Match(start, end, key, phrase))
            later |= known.has
            if known.needed:
                letters = (later | heads | known.inner) & known.needed
                chosen = known.chosen.get(letters)
                for group, key, phrase, match in self._choose(known, letters) if chosen is None else chosen:
                    place = match(text, start)
                    if place and place.end() > start:
                        found[group].append(Match(start, place.end(), key, phrase))
            heads = known.heads
        for needed, (group, key, phrase, _), pattern in self._anywhere:
            if needed & later:
                found[group] += [Match(*m.span(), key, phrase) for m in pattern.finditer(text) if m.end() > m.start()]
        for matches in found.values():
            if len(matches) > 1:
                matches.sort(key=_order)
        return found


def _next(start: Start) -> list[str]:
    """Return the letters with which the word after a start begins, told from letters that follow anywhere."""
    return [NEXT + letters for letters in start.follows or ()]


def _pieces(word: str, most: int) -> set[str]:
    """Return all stretches of a word up to a length."""
    return {word[i:j] for i in range(len(word)) for j in range(i + 1, min(i + most, len(word)) + 1)}


def _order(match: Match) -> tuple[int, int, str, str]:
    return match.start, -match.end, match.key, match.phrase


def longest(matches: Iterable[Match]) -> list[Match]:
    """Drop matches that overlap a longer one; of equally long ones the first stays, and others with its very place.

    Of matches with the same place, those stay whose phrases spell out most: a German `milzvene` goes before `milz*`.
    """
    kept: list[Match] = []
    for match in sorted(matches, key=_length):
        start, end = match[:2]
        for other in kept:
            same = other[0] == start and other[1] == end
            if start < other[1] and other[0] < end and not (same and _spelled(other) == _spelled(match)):
                break
        else:
            kept.append(match)
    return sorted(kept, key=_start)


def _length(match: Match) -> tuple[int, int, int]:
    return match[0] - match[1], match[0], -_spelled(match)


def _spelled(match: Match) -> int:
    """How many letters of the match its phrase spells out: all, or those beside an asterisk."""
    return len(match[3]) - 1 if "*" in match[3] else match[1] - match[0]


def _start(match: Match) -> int:
    return match[0]
