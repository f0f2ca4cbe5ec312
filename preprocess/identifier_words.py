"""The words by which identifiers are found in reports, read from the data files of one or several languages."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from preprocess.errors import InputError
from preprocess.lexicon import listed, read_words
from preprocess.phrases import fold

FILE = "identifiers.yaml"
MONTHS = 12
DATA = Path(str(files("preprocess"))) / "data"
WORD = re.compile(r"[^\W\d_]+")
SINGLE = ("given_names", "ordinary", "surnames", "person_words", "eponyms", "eponym_heads", "counted")
"""Keys whose entries are single words."""


@dataclass(frozen=True)
class IdentifierWords:
    """The words of all languages together, as the data files explain them; in lower case except `credentials`.

    Attributes:
        months: Names of the twelve months.
        date_cues: Words before a day and month without year.
        year_cues: Words before a year alone.
        time_joiners: Words between a day and its time.
        time_units: Words behind a time.
        counted: What numbers beside it count, so that they are no date.
        units: What makes a number a measurement.
        age_units: What follows an age.
        titles: Ranks before a name.
        title_parts: What may stand between rank and name.
        salutations: Forms of address before a name.
        name_labels: What stands before a colon and a name.
        signatures: What stands before the name of someone who signs.
        contacts: What stands before the name of someone who was spoken to.
        relatives: Who somebody is to the patient, before or behind a name.
        roles: Professions before or behind a name.
        signers: What stands before the initials of someone who dictated, typed or signed.
        credentials: Degrees behind a name.
        particles: Small words inside names.
        given_names: Frequent given names.
        ordinary: Words that are no name where one could stand.
        surnames: Surnames that are words of reports; they count behind a rank, or beside other names.
        person_words: What is said of persons alone; it tells a surname from the word that opens a sentence.
        eponyms: Names that are medical words.
        eponym_heads: Words that make a medical term of the name before them.
        record_cues: What stands before a number of a person or an examination.
        number_endings: Endings of words behind which a number stands.
        phone_cues: What stands before a telephone number.
        street_words: A street's own word behind number and name.
        street_endings: Endings of a street's name before its number.
        not_streets: Words with such an ending that are no street.
        institutions_after: A hospital's own word behind its name.
        institutions_before: A hospital's own word before its name.
        institution_links: Small words inside such a name.
        address_labels: What stands before an address, in a line or column of its own.
        rooms: What stands before the number of a room, a bed or a ward.
        terms: Words that the report reader knows; they are no name where nothing but a capital speaks for one.
        towns: Towns, in lower case.
    """

    months: tuple[frozenset[str], ...]
    date_cues: frozenset[str]
    year_cues: frozenset[str]
    time_joiners: frozenset[str]
    time_units: frozenset[str]
    counted: frozenset[str]
    units: frozenset[str]
    age_units: frozenset[str]
    titles: frozenset[str]
    title_parts: frozenset[str]
    salutations: frozenset[str]
    name_labels: frozenset[str]
    signatures: frozenset[str]
    contacts: frozenset[str]
    relatives: frozenset[str]
    roles: frozenset[str]
    signers: frozenset[str]
    credentials: frozenset[str]
    particles: frozenset[str]
    given_names: frozenset[str]
    ordinary: frozenset[str]
    surnames: frozenset[str]
    person_words: frozenset[str]
    eponyms: frozenset[str]
    eponym_heads: frozenset[str]
    record_cues: frozenset[str]
    number_endings: frozenset[str]
    phone_cues: frozenset[str]
    street_words: frozenset[str]
    street_endings: frozenset[str]
    not_streets: frozenset[str]
    institutions_after: frozenset[str]
    institutions_before: frozenset[str]
    institution_links: frozenset[str]
    address_labels: frozenset[str]
    rooms: frozenset[str]
    terms: frozenset[str]
    towns: frozenset[str]


KEYS = {field.name for field in fields(IdentifierWords)} - {"terms", "towns"}


@lru_cache
def load_identifier_words(languages: tuple[str | Path, ...] = ("en", "de")) -> IdentifierWords:
    """Read and join the words of languages.

    Args:
        languages: Names of shipped languages, or folders with an `identifiers.yaml`.

    Raises:
        InputError: A file is missing or wrong; file and key are named.
    """
    if not languages:
        raise InputError("languages=(): identifiers are found by the words of at least one language")
    parts = [_read_language(_path(language)) for language in languages]
    months = tuple(frozenset().union(*(part["months"][month] for part in parts)) for month in range(MONTHS))
    joined = {key: frozenset().union(*(part[key] for part in parts)) for key in KEYS - {"months"}}
    joined["given_names"] |= _listed("given_names")
    return IdentifierWords(months=months, terms=_reader_words(), towns=_listed("towns"), **joined)


def _listed(name: str) -> frozenset[str]:
    """Entries of a shipped list, one a line."""
    text = (DATA / f"{name}.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


def _reader_words() -> frozenset[str]:
    """Words in the report reader's data files, singular and plural."""
    paths = [path for path in sorted(DATA.glob("*/*.yaml")) if path.name != FILE]
    words = {word for path in paths for word in WORD.findall(fold(path.read_text(encoding="utf-8")))}
    return frozenset(words | {f"{word}s" for word in words if len(word) > 2})


def _path(language: str | Path) -> Path:
    shipped = DATA / str(language) / FILE
    return shipped if isinstance(language, str) and shipped.is_file() else Path(language) / FILE


def _read_language(path: Path) -> dict[str, Any]:
    data = read_words(path, KEYS)
    words: dict[str, Any] = {key: _entries(path, key, data[key]) for key in KEYS - {"months"}}
    months = data["months"]
    if not isinstance(months, list) or len(months) != MONTHS:
        raise InputError(f"{path}: months: needs a list of {MONTHS} entries, January to December")
    words["months"] = [_entries(path, f"months.{number}", entry) for number, entry in enumerate(months, start=1)]
    return words


def _entries(path: Path, key: str, entry: object) -> frozenset[str]:
    """Entries of one key; each holds a word, and one only where the key asks for it."""
    if not isinstance(entry, str | Sequence) or not all(isinstance(part, str) for part in entry):
        raise InputError(f"{path}: {key}: needs a text with semicolons between its entries, or a list of texts")
    found = listed(entry)
    for phrase in found:
        if not any(char.isalpha() for char in phrase) and key != "units":
            raise InputError(f"{path}: {key}: {phrase!r} holds no word")
        if key in SINGLE and " " in phrase:
            raise InputError(f"{path}: {key}: {phrase!r} is not a single word")
    return frozenset(found if key == "credentials" else map(fold, found))
