"""Phrases that announce an identifier, looked up by their first word."""

import re
from collections.abc import Iterable

from preprocess.phrases import fold

Span = tuple[int, int, str]
"""Start, end and kind of an identifier in a text."""

LETTER = r"[^\W\d_]"
UPPER = "[" + "".join(chr(code) for code in (*range(0x41, 0x250), *range(0x1E00, 0x1F00)) if chr(code).isupper()) + "]"
NAME = rf"(?:[DO]['\u2019] ?)?{UPPER}(?:{LETTER}|['\u2019](?={UPPER}))*{LETTER}(?:[-\u2010\u2013]{UPPER}?{LETTER}+)*"
"""A capitalised word of at least two letters: Doe, O'Neill, Müller-Lüdenscheidt."""

WORD = re.compile(rf"{LETTER}+")
WORDS = re.compile(rf"{LETTER}+(?:['\u2019-]{LETTER}+)*")

LONGEST_SHORT = 4
"""Letters of an abbreviation, whose point belongs to it; a point behind a longer word ends the sentence."""


def cue_pattern(phrase: str) -> str:
    """A phrase as a regular expression: its words with points, hyphens, blanks or nothing between them, in any case."""
    words = re.findall(rf"{LETTER}+|\d+", phrase)
    body = r"[\s./-]{0,3}".join(map(re.escape, words))
    point = r"\.?" if len(words[-1]) <= LONGEST_SHORT else ""
    return rf"(?i:{body})(?!{LETTER}){point}"


def any_of(phrases: Iterable[str]) -> str:
    """One of several phrases, the longest first; matches nothing where there are none."""
    ordered = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    return "(?:" + "|".join(map(cue_pattern, ordered)) + ")" if ordered else "(?!)"


class CueSet:
    """Phrases of one kind.

    Args:
        phrases: As the data files have them.
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        groups: dict[str, list[str]] = {}
        for phrase in phrases:
            groups.setdefault(WORD.findall(fold(phrase))[0], []).append(phrase)
        self._patterns = {first: re.compile(any_of(group)) for first, group in groups.items()}
        self.first_words = frozenset(groups)

    def end(self, text: str, start: int, first: str) -> int | None:
        """End of the longest phrase that begins at `start` with the word `first`, or None."""
        match = self._patterns[first].match(text, start)
        return None if match is None else match.end()
