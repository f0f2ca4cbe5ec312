"""Finds streets, rooms and names of hospitals in reports by the words that belong to them."""

import re
from collections.abc import Iterator

from preprocess.identifier_cues import LETTER, NAME, UPPER, WORDS, CueSet, Span
from preprocess.identifier_words import IdentifierWords
from preprocess.phrases import fold

BEFORE = 72
ROOM = re.compile(
    r"(?:\s?(?i:no|nr)\b\.?)?[\s.:#]{0,4}(?:[A-Z]{1,2}[-.]?)?\d{1,4}(?:[.\-/]\d{1,4})?[a-zA-Z]?(?![\w/%]|[.,]\d)"
)
FIELD = re.compile(r"(?:[ \t]{0,4}[:=][ \t]{0,6}|[ \t]{2,}|\t)(?P<field>[^\s\[](?:[^\n\t ]| (?! )){2,70})")
LEAST_LETTERS = 4
COLUMN = re.compile(r"(?:^|\n|\t|[ ]{2})$")
GOES_ON = re.compile(rf"(?:, {NAME}(?: {NAME})?(?=[,.;\n]| \d{{4,6}}|$))?(?:,? \d{{4,6}}(?!\d|[.,]\d))?")
"""Suburb and postal code behind a street."""


class PlaceFinder:
    """Finds streets with their number, rooms with theirs, labelled addresses, and hospitals.

    Args:
        words: Of the languages.
    """

    def __init__(self, words: IdentifierWords) -> None:
        self._words, self._no_name = words, words.terms | words.counted | words.ordinary
        endings = "|".join(sorted(map(re.escape, words.street_endings), key=len, reverse=True)) or "(?!)"
        self._endings = tuple(ending.rstrip(".") for ending in words.street_endings)
        number = r"\d{1,4}(?:\s?[a-z](?!\w))?(?:\s?[-\u2013/]\s?\d{1,4}){0,3}"
        lead = rf"(?:{UPPER}[\w.]*[ -]){{0,2}}{UPPER}?\w*"
        self._street = re.compile(rf"(?<!{LETTER})(?P<name>{lead}(?i:{endings})) ?{number}")
        self._unit = re.compile(
            r"[.,]\d|\s?(?:" + "|".join(map(re.escape, sorted(words.units, key=len, reverse=True))) + r")(?!\w)"
        )
        self._house = re.compile(
            rf"(?<![\w.,])\d{{1,5}}[A-Za-z]?,? (?:(?:{UPPER}[\w.'\u2019-]*|\d{{1,3}}(?:st|nd|rd|th))[ ]){{1,4}}$"
        )
        self._flat = re.compile(r",? (?:Apt|Apartment|Flat|Suite|Unit|Floor)\.? ?#?\d{1,5}[A-Za-z]?(?!\w)")
        links = "|".join(sorted(map(re.escape, words.institution_links), key=len, reverse=True))
        link = rf"(?:(?:{links}|&)[ ])"
        saint = r"(?:St\.?|Sankt|Saint|SS\.)[ -]?"
        word = rf"(?:(?:{saint})?{NAME}(?:['\u2019]s)?|{UPPER}\.)"
        self._ahead = re.compile(rf"(?<!\w)(?P<name>{word}(?:[ -]{link}{{0,2}}{word}){{0,4}})[ -]$")
        self._goes_on = re.compile(rf"(?: {link}{{1,2}}{word}(?:[ -]{word}){{0,2}}|,? {word}(?=[.,;\n)]|$))")
        self._before = re.compile(rf"[ ]{link}{{0,3}}(?P<name>{word}(?:[ -]{link}{{0,2}}{word}){{0,3}})")
        self._compound = tuple(word for word in words.institutions_after if " " not in word and len(word) > 5)
        self.endings = (*self._endings, *self._compound)
        self.rooms, self.address_labels = CueSet(words.rooms), CueSet(words.address_labels)
        self.street_words = CueSet(words.street_words)
        self.after = CueSet(words.institutions_after)
        self.before = CueSet(words.institutions_before)

    def at_ending(self, text: str, folded: str, start: int, word: str) -> Iterator[Span]:
        """Yield the street whose name ends with a word at `start`, with its number; and a hospital of one word."""
        end = start + len(word)
        if word.endswith(self._endings):
            low = max(0, start - 24)
            for match in self._street.finditer(text, low, min(len(text), end + 16)):
                if (
                    match.end("name") >= end
                    and not self._is_no_street(fold(match["name"]))
                    and not self._unit.match(folded, match.end())
                ):
                    yield *self._from_name(text, match), "address"
        elif text[start].isupper() and word.endswith(self._compound) and word not in self._words.institutions_after:
            yield start, self._more(text, end), "institution"

    def at_street_word(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield "12 Elm Street" whose last word begins at `start`."""
        end = self.street_words.end(text, start, first)
        low = max(0, start - 40)
        if end is None or not text[start].isupper() or not (match := self._house.search(text[low:start])):
            return
        flat = self._flat.match(text, end)
        last = flat.end() if flat else end
        more = GOES_ON.match(text, last)
        end = more.end() if more is not None and more[0] else last - (text[last - 1] == ".")
        yield low + match.start(), end, "address"

    def at_room(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield room, bed or ward with its number."""
        end = self.rooms.end(text, start, first)
        match = None if end is None else ROOM.match(text, end)
        if match is not None and not self._unit.match(text, match.end()):  # "hr" is an hour, "Hr." a man
            yield start, match.end(), "address"

    def at_address_label(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield what stands behind a label such as "Address:" to the end of its line or column, unless medical."""
        end = self.address_labels.end(text, start, first)
        match = None if end is None or not COLUMN.search(text[max(0, start - 3) : start]) else FIELD.match(text, end)
        if match is not None:
            words = [word for word in WORDS.findall(fold(match["field"])) if len(word) >= LEAST_LETTERS]
            if words and self._no_name.isdisjoint(words):
                yield *match.span("field"), "address"

    def at_institution(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield a hospital whose own word ("Hospital") begins at `start` behind its name."""
        end = self.after.end(text, start, first)
        if end is None or not text[start].isupper():
            return
        low, last = max(0, start - BEFORE), end - (text[end - 1] == ".")
        ahead = self._ahead.search(text[low:start])
        if ahead is None:
            return
        words = list(WORDS.finditer(ahead["name"]))
        skip = {*self._words.ordinary, *self._words.institution_links}
        while words and fold(words[0][0]) in skip:
            words.pop(0)
        if words:
            yield low + ahead.start("name") + words[0].start(), self._more(text, last), "institution"

    def before_institution(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield a hospital whose own word begins at `start` before its name."""
        end = self.before.end(text, start, first)
        match = None if end is None else self._before.match(text, end)
        if match is None or not text[start].isupper():
            return
        words = list(WORDS.finditer(match["name"]))
        kept = 0
        while kept < len(words) and fold(words[kept][0]) not in self._words.ordinary:
            kept += 1
        if kept:
            yield start, match.start("name") + words[kept - 1].end(), "institution"

    def _more(self, text: str, end: int) -> int:
        """End of what goes on in a hospital's name ("of Springfield", ", Boston")."""
        match = self._goes_on.match(text, end)
        if match is None:
            return end
        words = [fold(word) for word in WORDS.findall(match[0])]
        links = self._words.institution_links
        names = [word for word in words if word not in links]
        return end if not names or names[0] in self._words.ordinary else match.end()

    def _is_no_street(self, name: str) -> bool:
        return name.split()[-1] in self._words.not_streets or any(
            word in self._words.not_streets for word in name.replace("-", " ").split()
        )

    def _from_name(self, text: str, match: re.Match[str]) -> tuple[int, int]:
        """A street's place without ordinary words before its name."""
        for word in WORDS.finditer(match["name"]):
            if fold(word[0]) not in self._words.ordinary:
                return match.start() + word.start(), match.end()
        return match.span()
