"""Removes what gives away a person, a day or a place from a report's text, before anything is derived from it."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from preprocess.identifier_addresses import AddressFinder
from preprocess.identifier_cues import WORD, Span
from preprocess.identifier_given_names import GivenNameFinder
from preprocess.identifier_initials import InitialsFinder
from preprocess.identifier_names import NameFinder
from preprocess.identifier_numbers import NumberFinder
from preprocess.identifier_places import PlaceFinder
from preprocess.identifier_towns import TownFinder
from preprocess.identifier_words import load_identifier_words
from preprocess.known_identifiers import NOTHING_KNOWN, KnownFinder, KnownIdentifiers
from preprocess.phrases import fold
from preprocess.report_dates import OLDEST_AGE, DateFinder

Finder = Callable[[str, str, int, str], Iterator[Span]]

LANGUAGES = ("en", "de")
STAND_INS = {
    "name": "[name]",
    "date": "[date]",
    "id": "[id]",
    "contact": "[contact]",
    "address": "[address]",
    "institution": "[institution]",
    "age": str(OLDEST_AGE),
}
"""What stands for each kind of identifier; the report reader takes none of them for a word it knows."""

KINDS = tuple(STAND_INS)
DIGITS = re.compile(r"\d[\d ./()+\-\u2013]{2,}\d")
LEAST_DIGITS = 4
MAX_REMEMBERED = 50_000


@dataclass(frozen=True, slots=True)
class Deidentified:
    """A text without identifiers.

    Attributes:
        text: The text, stand-ins in place of identifiers; all else verbatim.
        replaced: Kind to how many were replaced.
    """

    text: str
    replaced: Mapping[str, int]


class Deidentifier:
    """Replaces identifiers, known ones and those that the rules of some languages find; compiled once.

    Args:
        languages: Names of shipped languages, or folders with an `identifiers.yaml`; all apply to every report.

    Raises:
        InputError: A file of words is missing or wrong.
    """

    def __init__(self, languages: tuple[str | Path, ...] = LANGUAGES) -> None:
        words = load_identifier_words(languages)
        self._dates, self._names = DateFinder(words), NameFinder(words)
        self._numbers, self._places, self._addresses = NumberFinder(words), PlaceFinder(words), AddressFinder(words)
        self._known, self._initials, towns = KnownFinder(words), InitialsFinder(words, self._names), TownFinder(words)
        self._number_endings = tuple(words.number_endings)
        self._at: dict[str, tuple[Finder, ...]] = {}
        self._remembered: dict[str, tuple[Finder, ...]] = {}
        names, numbers, places, dates = self._names, self._numbers, self._places, self._dates
        for first_words, finder in (
            (names.ranks.first_words, names.at_rank),
            (names.labels.first_words, names.at_label),
            (names.signatures.first_words, names.at_signature),
            (names.contacts.first_words, names.at_contact),
            (names.roles.first_words, names.at_role),
            (names.degrees.first_words, names.at_degree),
            (names.relatives.first_words, names.at_relative),
            (words.given_names, GivenNameFinder(words, names).at_given_name),
            (self._initials.signers.first_words, self._initials.at_signer),
            (towns.first_words, towns.at_town),
            (places.rooms.first_words, places.at_room),
            (places.address_labels.first_words, places.at_address_label),
            (numbers.records.first_words, numbers.at_record),
            (numbers.phones.first_words, numbers.at_phone),
            (places.street_words.first_words, places.at_street_word),
            (places.after.first_words, places.at_institution),
            (places.before.first_words, places.before_institution),
            (dates.months, dates.at_month),
            (dates.cues.first_words, dates.at_cue),
            (dates.ages, dates.at_age),
        ):
            for word in first_words:
                self._at[word] = (*self._at.get(word, ()), finder)

    def apply(self, text: str, known: KnownIdentifiers = NOTHING_KNOWN) -> Deidentified:
        """Replace what is found in a text.

        Args:
            text: Of one report.
            known: Identifiers of its patient and study.
        """
        text = unicodedata.normalize("NFC", text)
        spans = _merged(text, self.find(text, known))
        if not spans:
            return Deidentified(text, {})
        pieces: list[str] = []
        last = 0
        for start, end, kind in spans:
            pieces += (text[last:start], STAND_INS[kind])
            last = end
        return Deidentified("".join([*pieces, text[last:]]), Counter(kind for _, _, kind in spans))

    def find(self, text: str, known: KnownIdentifiers = NOTHING_KNOWN) -> list[Span]:
        """Places of identifiers in a text, as (start, end, kind), in no order; they may overlap."""
        folded = fold(text)
        words = set(WORD.findall(folded))
        found = [*self._known.find(text, words, known), *self._dates.find(text, folded)]
        for digits in DIGITS.finditer(text):
            if sum(map(str.isdigit, digits[0])) >= LEAST_DIGITS:
                found += self._numbers.in_digits(text, *digits.span())
                found += self._addresses.in_digits(text, *digits.span())
        found += self._addresses.anywhere(text, folded)
        found += self._numbers.links(text, folded)
        found += self._names.uncued(text)
        found += self._initials.with_surname(text, folded)
        found += self._initials.alone(text)
        for word in words:
            for finder in self._finders(word):
                for start in _places_of(word, folded):
                    found += finder(text, folded, start, word)
        return found

    def _finders(self, word: str) -> tuple[Finder, ...]:
        """What looks for identifiers where a word stands; remembered, for nearly all words have nothing."""
        finders = self._remembered.get(word)
        if finders is None:
            finders = self._at.get(word, ())
            if word.endswith(self._places.endings):
                finders = (*finders, self._places.at_ending)
            if word.endswith(self._number_endings):
                finders = (*finders, self._numbers.at_number_word)
            if len(self._remembered) < MAX_REMEMBERED:
                self._remembered[word] = finders
        return finders


def _places_of(word: str, folded: str) -> Iterator[int]:
    """Where a word stands alone, without a letter beside it."""
    start = folded.find(word)
    while start >= 0:
        end = start + len(word)
        if not (start and folded[start - 1].isalpha()) and not folded[end : end + 1].isalpha():
            yield start
        start = folded.find(word, end)


def _merged(text: str, spans: Iterable[Span]) -> list[Span]:
    """Join overlapping places, and neighbours of one kind; the longest gives its kind."""
    merged: list[tuple[int, int, str, int]] = []
    for start, end, kind in sorted(spans, key=lambda span: (span[0], -span[1], span[2])):
        if merged:
            first, last, other, length = merged[-1]
            gap = text[last:start]
            beside = (
                kind == other and len(gap) <= 2 and (gap.isspace() or (gap == ", " and kind in ("name", "address")))
            )
            if start < last or (start == last and kind == other) or (beside and "\n" not in gap):
                winner = (kind, end - start) if end - start > length else (other, length)
                merged[-1] = (first, max(last, end), *winner)
                continue
        merged.append((start, end, kind, end - start))
    return [(start, end, kind) for start, end, kind, _ in merged]
