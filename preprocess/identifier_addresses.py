"""Finds addresses in reports that need no cue: postal codes with their town, post boxes, lanes, houses of a saint."""

import re
from collections.abc import Iterator

from preprocess.identifier_cues import NAME, WORDS, Span
from preprocess.identifier_words import IdentifierWords
from preprocess.phrases import fold

AROUND = 48
NO_STATES = ("CT", "MR", "HU", "US")
_TOWN = rf"{NAME}(?:[ -](?:am|an der|im|in|bei|ob der|vor der|upon|on|{NAME})\b){{0,2}}(?:[ -]{NAME})?"
POSTCODE = re.compile(rf"(?<![\w.,/+-])(?:(?:D|A|CH|DE)[ -]{{1,2}}\d{{4,5}}|\d{{5}}) (?P<town>{_TOWN})")
US_TOWN = re.compile(rf"{NAME}(?: {NAME}){{0,2}},? (?P<state>[A-Z]{{2}}|{NAME}) \d{{5}}(?:-\d{{4}})?(?![\w])")
GERMAN_HOUSE = re.compile(
    rf"(?<![\w]){NAME}(?: {NAME})? \d{{1,4}}\s?[a-z]?,?\s{{1,2}}(?=(?:(?:D|A|CH)-)?\d{{4,5}} {NAME})"
)
UK_TAIL = re.compile(r"(?!1ST|2ND|3RD|[04-9]TH)\d[ABD-HJLNP-UW-Z]{2}(?!\w)")
UK_HEAD = re.compile(rf"(?<!\w)(?:{NAME},? )?[A-Z]{{1,2}}\d[A-Z\d]? $")
OTHER_CODE = re.compile(
    r"(?<!\w)(?:[A-Z]\d[\dW] [A-Z\d]{4}|[A-Z]\d[A-Z] \d[A-Z]\d|(?:NSW|VIC|QLD|WA|SA|TAS|ACT|NT),? \d{4})(?!\w)"
)
"""Irish, Canadian and Australian postal codes."""

TOWN_AHEAD = re.compile(rf"(?<!\w){NAME},? $")
POST_BOX = re.compile(r"(?<!\w)(?:postfach|p\.? ?o\.? ?box) \d[\d ]{0,8}\d")
LEADS = ("Am ", "An de", "Im ", "In de", "Auf de", "Unter den ", "Zum ", "Zur ", "Hinter der ", "Vor dem ", "Beim ")
LANE = re.compile(
    r"(?<!\w)(?:Am|An der|An den|Im|In der|In den|Auf der|Auf dem|Unter den|Zum|Zur|Hinter der|Vor dem|Beim)"
    rf" (?P<own>{NAME}(?: {NAME})?) \d{{1,3}}[a-z]?(?=,|[ \t]*\n|$)"
)
"""A street of German towns without a word for street ("Am Markt 3,")."""

POSSESSIVE = re.compile(
    rf"(?<!\w)(?:at|from|to|under|in|of) (?P<name>(?:St\.? )?(?P<own>{NAME}(?: {NAME})?)['\u2019]s)"
    r"(?=\s*(?:[.,;:)(\n]|and\b|on\b|for\b|$))"
)
"""A house by its saint or founder ("seen at St Vincent's,")."""


class AddressFinder:
    """Finds addresses by their form.

    Args:
        words: Of the languages.
    """

    def __init__(self, words: IdentifierWords) -> None:
        self._ordinary, self._units = words.ordinary, words.units
        self._no_name = words.ordinary | words.terms | words.counted | words.eponyms

    def in_digits(self, text: str, start: int, end: int) -> Iterator[Span]:
        """Yield towns with their postal code, near a stretch of digits at `start` to `end`."""
        low, high = max(0, start - AROUND), min(len(text), end + AROUND)
        for match in POSTCODE.finditer(text, low, high):
            town = WORDS.findall(fold(match["town"]))
            if town[0] not in self._ordinary and town[0] not in self._units and len(town[0]) > 2:
                yield *match.span(), "address"
        for match in US_TOWN.finditer(text, low, high):
            if match["state"] not in NO_STATES:
                yield *match.span(), "address"
        for match in GERMAN_HOUSE.finditer(text, low, high):
            yield match.start(), match.start() + len(match[0].rstrip(", \n")), "address"

    def anywhere(self, text: str, folded: str) -> Iterator[Span]:
        """Yield postal codes of letters with the town before them, post boxes, lanes, and houses by their saint."""
        for tail in UK_TAIL.finditer(text):
            low = max(0, tail.start() - AROUND)
            if head := UK_HEAD.search(text[low : tail.start()]):
                yield low + head.start(), tail.end(), "address"
        for code in OTHER_CODE.finditer(text):
            low = max(0, code.start() - AROUND)
            town = TOWN_AHEAD.search(text[low : code.start()])
            yield code.start() if town is None else low + town.start(), code.end(), "address"
        if "postfach" in folded or "box" in folded:
            for match in POST_BOX.finditer(folded):
                yield *match.span(), "address"
        if any(lead in text for lead in LEADS):
            for match in LANE.finditer(text):
                if self._is_own(match["own"]):
                    yield *match.span(), "address"
        if "'s" in text or "\u2019s" in text:
            for match in POSSESSIVE.finditer(text):
                if self._is_own(match["own"]):
                    yield *match.span("name"), "institution"

    def _is_own(self, name: str) -> bool:
        """Whether no word of a name is one of reports."""
        return self._no_name.isdisjoint(WORDS.findall(fold(name)))
