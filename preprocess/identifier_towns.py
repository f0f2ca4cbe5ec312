"""Finds towns in reports, from a long list, where the words beside them speak of a place."""

import re
from collections.abc import Iterator

from preprocess.identifier_cues import LETTER, WORD, Span
from preprocess.identifier_words import IdentifierWords

BEFORE = 24
PLACE = re.compile(
    r"(?:\b(?:in|from|at|near|to|aus|nach|bei|von|site|location|ort|standort)\b:?\s{1,3}(?:der\s|dem\s)?|\d{4,6}\s|[,/]\s?|[\u2013-]\s)$",
    re.IGNORECASE,
)
"""What stands before a town: a preposition, a postal code, or what divides a list."""

BY_WORD = re.compile(r"(?:[^\W\d_]|\d\s)\s?$|:\s{1,3}$")
BEHIND = re.compile(r"(?:\s?[-\u2013,]?\s?(?P<code>\d{4,6})(?!\d|[.,]\d))?(?P<stop>\s*[.,;:)(\n/-]|\s*$)?")
CODE_BEFORE = re.compile(r"(?<![\w.,])(?:[A-Z]{1,2}-)?\d{4,6}\s$")


class TownFinder:
    """Finds towns.

    Args:
        words: Of the languages.
    """

    def __init__(self, words: IdentifierWords) -> None:
        longest: dict[str, list[str]] = {}
        for town in words.towns:
            longest.setdefault(WORD.findall(town)[0], []).append(town)
        self._towns = {first: sorted(towns, key=len, reverse=True) for first, towns in longest.items()}
        self.first_words = frozenset(self._towns)

    def at_town(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield the town whose name begins at `start`, with a postal code beside it."""
        if not text[start].isupper():
            return
        town = next((town for town in self._towns[first] if _stands(folded, town, start)), None)
        if town is None:
            return
        end, low = start + len(town), max(0, start - BEFORE)
        before = text[low:start]
        behind = BEHIND.match(text, end)
        code = CODE_BEFORE.search(before)
        if code is not None:
            yield low + code.start(), end, "address"
        elif behind is not None and behind["code"]:
            yield start, behind.end("code"), "address"
        elif PLACE.search(before) is not None and self._is_place(before, behind, town):
            yield start, end, "address"

    def _is_place(self, before: str, behind: re.Match[str] | None, town: str) -> bool:
        """Whether a town without a postal code is one: behind a preposition, alone in a list, or of several words."""
        return BY_WORD.search(before) is not None or " " in town or (behind is not None and behind["stop"] is not None)


def _stands(folded: str, town: str, start: int) -> bool:
    end = start + len(town)
    return folded.startswith(town, start) and not re.match(rf"{LETTER}|['\u2019]{LETTER}", folded[end : end + 2])
