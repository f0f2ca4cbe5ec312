"""Identifiers that are known of a report's patient and study, and where they stand in its text, in whatever form."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from preprocess.identifier_cues import WORD, Span
from preprocess.identifier_words import IdentifierWords
from preprocess.phrases import fold

GAP = re.compile(r"[\s,.\-'\u2019^_/]{1,4}")
ALIKE = (("ae", "a"), ("oe", "o"), ("ue", "u"), ("ss", "s"))
DIGIT = re.compile(r"\d+")
LEAST_DIGITS = 5
LEAST_MIXED = 4
LEAST_NAME = 3
LONGEST_NAME = 80
NO_IDENTIFIERS = re.compile(
    r"report|text|befund(?!er)|brief|finding|impression|exam|stud(?:y|ie)_?name|series_?name|procedure|protocol|file|anatomy|organ|reason|body"
)
COLUMNS = (
    ("dates", re.compile(r"birth|dob|geburtsd|geboren")),
    (
        "names",
        re.compile(
            r"name|physician|doctor|radiologist|referr|arzt|\u00e4rzt|befunder|zuweiser|author|signed|dictated|operator"
        ),
    ),
    ("institutions", re.compile(r"institution|hospital|klinik|krankenhaus|facility|department|abteilung|ward")),
    ("numbers", re.compile(r"number|nummer|accession|mrn|uid|id$|^id|_id_|nr$|_no$|^no$|no\.$")),
)
"""What a report table's column holds, by its name in lower case; the first that fits counts."""


@dataclass(frozen=True, slots=True)
class KnownIdentifiers:
    """What is known of a report's patient and study; private.

    Attributes:
        names: Of the patient and of physicians, as DICOM writes them (Doe^Jane) or as people do.
        numbers: Patient's id, accession number, UIDs, keys.
        dates: Days of birth.
        institutions: Names and addresses of hospitals.
    """

    names: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    dates: tuple[date, ...] = ()
    institutions: tuple[str, ...] = ()

    def __or__(self, other: "KnownIdentifiers") -> "KnownIdentifiers":
        """What either of two knows."""
        return KnownIdentifiers(
            tuple(dict.fromkeys(self.names + other.names)),
            tuple(dict.fromkeys(self.numbers + other.numbers)),
            tuple(dict.fromkeys(self.dates + other.dates)),
            tuple(dict.fromkeys(self.institutions + other.institutions)),
        )


NOTHING_KNOWN = KnownIdentifiers()


def identifiers_of_row(row: Mapping[str, object]) -> KnownIdentifiers:
    """Identifiers in a row of a report table, by the names of its columns; columns of text are left out.

    Args:
        row: Column to value, strings as `preprocess.reports` gives them.
    """
    found: dict[str, list[str]] = {kind: [] for kind, _ in COLUMNS}
    for column, value in row.items():
        kind = _kind_of(str(column))
        if kind is not None and isinstance(value, str) and 0 < len(value.strip()) <= LONGEST_NAME:
            found[kind].append(value.strip())
    days = (day for text in found["dates"] if (day := read_day(text)) is not None)
    return KnownIdentifiers(tuple(found["names"]), tuple(found["numbers"]), tuple(days), tuple(found["institutions"]))


@lru_cache(maxsize=1024)
def _kind_of(column: str) -> str | None:
    """What a column holds, or None where it holds no identifiers."""
    name = column.strip().lower().replace(" ", "_")
    if name != "report_id" and NO_IDENTIFIERS.search(name):
        return None
    return next((kind for kind, pattern in COLUMNS if pattern.search(name)), None)


def read_day(text: str) -> date | None:
    """A day written as ISO, DICOM, German or American; None where it is none of them."""
    if match := re.fullmatch(r"(\d{4})-?(\d{1,2})-?(\d{1,2})(?:[T ].*)?", text):
        parts = match.group(1, 2, 3)
    elif match := re.fullmatch(r"(\d{1,2})\.(\d{1,2})\.(\d{4})", text):
        parts = match.group(3, 2, 1)
    elif match := re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", text):
        parts = match.group(3, 1, 2)
    else:
        return None
    try:
        return date(int(parts[0]), int(parts[1]), int(parts[2]))
    except ValueError:
        return None


@lru_cache(maxsize=50_000)
def name_key(word: str) -> str:
    """A word without case, accents and the ways to write an umlaut: Müller, Mueller and MULLER are one."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(char))
    for long, short in ALIKE:
        plain = plain.replace(long, short)
    return plain.translate({ord("\u0131"): "i", ord("\u0142"): "l", ord("\u00f8"): "o", ord("\u0111"): "d"})


class KnownFinder:
    """Finds known identifiers.

    Args:
        words: Of the languages; its ordinary words are not replaced for being somebody's name too.
    """

    def __init__(self, words: IdentifierWords) -> None:
        self._skipped = {
            name_key(word) for word in words.titles | words.title_parts | words.salutations | words.particles
        }
        self._particles = {name_key(word) for word in words.particles}
        self._weak = words.ordinary | words.surnames | words.eponyms | words.eponym_heads
        self._weak_keys = {name_key(word) for word in self._weak}
        self._person = {name_key(word) for word in words.person_words}
        self._institution_words = {
            name_key(word)
            for phrase in words.institutions_after | words.institutions_before | words.institution_links
            for word in WORD.findall(phrase)
        }

    def find(self, text: str, words: set[str], known: KnownIdentifiers) -> Iterator[Span]:
        """Yield every place of a known identifier in a text.

        Args:
            text: The report.
            words: Its words in lower case.
            known: What is known.
        """
        if known.numbers:
            digits = "".join(DIGIT.findall(text))
            for number in known.numbers:
                yield from _number_places(text, digits, number)
        for day in known.dates:
            yield from _day_places(text, day)
        if known.names or known.institutions:
            present = set(map(name_key, words))
            for name in known.names:
                yield from self._name_places(text, present, name)
            for institution in known.institutions:
                yield from self._institution_places(text, present, institution)

    def _name_places(self, text: str, present: set[str], name: str) -> Iterator[Span]:
        """Yield runs of a name's parts, with their initials; a part that is an ordinary word counts only in company."""
        own = set(map(name_key, WORD.findall(name)))
        parts, small = own - self._skipped, own & self._particles
        initials = {part[0] for part in parts}
        parts = {part for part in parts if len(part) > 1}
        if parts.isdisjoint(present):
            return
        for run in _runs(text, _tokens(text), parts, initials, small):
            told = [token for token in run if token[2] in parts]
            beside = any(len(key) == 1 for _, _, key in run) and any(text[start].isupper() for start, _, _ in told)
            if beside or len({key for _, _, key in told}) > 1 or any(self._is_telling(text, token) for token in told):
                yield run[0][0], run[-1][1], "name"

    def _is_telling(self, text: str, token: tuple[int, int, str]) -> bool:
        """Whether a part of a name is told from an ordinary word: by itself, by its capital, by what is said of it."""
        start, end, _ = token
        word = text[start:end]
        weak = fold(word) in self._weak  # not by its key: Doe is not the word do
        if len(word) >= LEAST_NAME and not weak:
            return True
        if not word[0].isupper() or (word.isupper() and weak):
            return False
        if len(word) < LEAST_NAME:
            return word.istitle() and not weak
        behind = [name_key(one) for one in WORD.findall(text[end : end + 48])[:3]]
        if text[end : end + 1] == " " and not self._person.isdisjoint(behind):
            return True
        before = text[max(0, start - 3) : start].rstrip(" ")
        followed = text[end : end + 1] == " " and bool(behind) and behind[0] in self._weak_keys
        return bool(before) and (before[-1].islower() or before[-1] == ",") and not followed

    def _institution_places(self, text: str, present: set[str], institution: str) -> Iterator[Span]:
        keys = [name_key(word) for word in WORD.findall(institution)]
        telling = [key for key in keys if key not in self._weak_keys | self._institution_words]
        if not telling or not set(keys) <= present or len("".join(keys)) < LEAST_NAME:
            return
        tokens = _tokens(text)
        for place in range(len(tokens) - len(keys) + 1):
            if [key for _, _, key in tokens[place : place + len(keys)]] == keys:
                yield tokens[place][0], tokens[place + len(keys) - 1][1], "institution"


def _tokens(text: str) -> list[tuple[int, int, str]]:
    """Start, end and key of each word."""
    return [(*match.span(), name_key(match[0])) for match in WORD.finditer(text)]


def _runs(
    text: str, tokens: list[tuple[int, int, str]], parts: set[str], initials: set[str], small: set[str]
) -> Iterator[list[tuple[int, int, str]]]:
    """Yield runs of neighbouring parts of a name, its initials and small words, with at least one part."""
    run: list[tuple[int, int, str]] = []
    for token in [*tokens, (len(text) + 9, len(text) + 9, "")]:
        start, _, key = token
        fits = key in parts or key in small or (len(key) == 1 and key in initials and text[start].isupper())
        if run and (not fits or GAP.fullmatch(text, run[-1][1], start) is None):
            if any(one[2] in parts for one in run):
                yield run
            run = []
        if fits:
            run.append(token)


def _number_places(text: str, digits: str, number: str) -> Iterator[Span]:
    """Yield the places of a number in a text, whatever marks stand between its characters.

    Args:
        text: The report.
        digits: Its digits alone.
        number: As the header or the table has it.
    """
    signs = "".join(char for char in number if char.isalnum())
    has_digit, has_letter = any(map(str.isdigit, signs)), any(map(str.isalpha, signs))
    if not has_digit or len(signs) < (LEAST_MIXED if has_letter else LEAST_DIGITS):
        return
    bare = signs.lstrip("0") if not has_letter else signs
    if len(bare) >= LEAST_DIGITS:
        signs = bare
    if "".join(DIGIT.findall(signs)) not in digits:
        return
    body = r"[ ./_\-]?".join(map(re.escape, signs))
    for match in re.finditer(rf"(?<![^\W_])0*{body}(?![^\W_])", text, re.IGNORECASE):
        yield *match.span(), "id"


def _day_places(text: str, day: date) -> Iterator[Span]:
    """Yield a birth date in forms that no rule knows: two-digit years without marks, and the year alone."""
    short = (f"{day:%d%m%y}", f"{day:%y%m%d}", f"{day:%m%d%y}", f"{day:%Y}")
    if not any(form in text for form in short):
        return
    for match in re.finditer(r"(?<![\w.,])(?:" + "|".join(short) + r")(?![\w]|[.,]\d)", text):
        yield *match.span(), "date"
