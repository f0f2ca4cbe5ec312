"""Finds numbers that stand for persons or examinations, telephone numbers, mail addresses and links in reports."""

import re
from collections.abc import Iterator

from preprocess.identifier_cues import LETTER, CueSet, Span
from preprocess.identifier_words import IdentifierWords
from preprocess.phrases import fold

UID = re.compile(r"(?<![\d.])\d+(?:\.\d+){4,}(?![\d])")
LONG = re.compile(
    r"(?<![\w.,])(?:[A-Za-z]{1,6}[-_/]?)?\d(?:[-_]?\d){4,}[A-Za-z]{0,3}(?:[/-]\d{2,4})?(?![\w]|[.,]\d)"
    r"(?=(?P<behind> ?[a-z%]+)?)",
    re.IGNORECASE,
)
"""Five digits and more, and the word behind, which may be a unit."""

MIXED = re.compile(r"(?<![\w.])[A-Z]{2,}[A-Z0-9]*\d{5,}[A-Z0-9]*(?:[-/]\d{1,4})?(?!\w)")
"""Capitals and digits in one word, five digits in a row among them."""

SOCIAL = re.compile(r"(?<![\w.-])(?:\d{3}-\d{2}-\d{4}|\d{3} \d{3} \d{4})(?![\w-])")
PHONE = re.compile(
    r"(?<![\w.,+])(?:\+\d{1,3}[ \-./]?(?:\(\d{1,5}\)[ \-./]?)?\d{1,5}(?:[ \-./]{1,2}\d{1,8}){1,5}|\+\d{9,14}"
    r"|\((?:0\d{1,5}|\d{3,5})\)[ \-./]{0,2}\d{3,}(?:[ \-./]\d{2,}){0,3}|\d{3}[-./]\d{3}[-.]\d{4}"
    r"|0\d(?: \d\d){4}|0\d{1,4}/\d{3}(?: \d{2,3}){1,3}|(?<![\d-])[2-9]\d\d-\d{4}|(?<=[,(] )[-\u2013]\d{3,5}(?=\))"
    r"|0\d{2,5}[ ]?[-/ ][ ]?\d{3,}(?:[ \-]\d{1,}){0,4})(?![\w]|[.,]\d)"
)
MAIL = re.compile(r"[\w.+-]+\s?(?:@|\(at\)|\[at\])\s?[\w-]+(?:\.[\w-]+)+", re.IGNORECASE)
LINK = re.compile(r"(?:https?://|www\.)[^\s<>\"()]*[^\s<>\"().,;:]", re.IGNORECASE)
DOMAIN = re.compile(
    r"(?<![\w@.])(?:[a-z\d-]{2,}\.){1,4}(?:com|org|net|info|health|edu|gov|de|at|ch|eu|uk|ie|au|ca|us|nz|in|za)(?:/\S*\w)?(?![\w.]\w)"
)
_SIGNS = r"(?:[A-Za-z]{1,8}[-_/.]?)?\d(?:[\w]|[-_/.](?=\w)| (?=\d{2,}(?!\d|[.,]\d)))*"
DIGITS = re.compile(r"\d")
SHORT = (
    ("contact", re.compile(r"(?<!\w)x\d{4,5}(?!\w)")),
    ("id", re.compile(r"(?<![\w#])#\s?\d{3,}(?![\w%]|[.,]\d)")),
)
"""An extension, and a number behind its sign."""

FOUR = re.compile(r"\d{4}")
"""What a number behind a bare "No." needs; images and series have fewer digits."""

FORMS = (("id", UID), ("id", MIXED), ("id", SOCIAL), ("contact", PHONE))


class NumberFinder:
    """Finds numbers behind a cue, and those whose form says enough.

    Args:
        words: Of the languages.
    """

    def __init__(self, words: IdentifierWords) -> None:
        joint = r"(?:\s{0,2}(?i:no|nr|number|nummer|is|lautet)\b\.?)?[\s.:#=]{0,4}"
        self._units = words.units
        self._record = re.compile(rf"(?P<joint>{joint})(?P<token>{_SIGNS})")
        self._phone = re.compile(
            r"\s?(?:\([a-z]{1,8}\)\s?)?[.:#]?\s{0,2}(?P<token>[+(\-\u2013]?\d[\d ()/.\-\u2013]{1,24}\d)"
        )
        self._any_record = re.compile(rf"\.?[\s:#=]{{0,3}}(?P<token>{_SIGNS})")
        self.records = CueSet(words.record_cues)
        self.phones = CueSet(words.phone_cues)

    def at_record(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield the number behind a cue such as "MRN"; fewer than three characters count behind a colon only."""
        end = self.records.end(text, start, first)
        match = None if end is None else self._record.match(text, end)
        if match is not None and (sum(map(str.isalnum, match["token"])) >= 3 or set(match["joint"]) & set(":#=")):
            yield *match.span("token"), "id"

    def at_number_word(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield the long number behind a word that ends with one for "number", whatever is numbered."""
        match = self._any_record.match(text, start + len(first))
        if match is not None and FOUR.search(match["token"]):
            yield *match.span("token"), "id"

    def at_phone(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield the number behind a cue such as "phone"; it has three digits at least and is no measurement."""
        end = self.phones.end(text, start, first)
        match = None if end is None else self._phone.match(text, end)
        if match is None or len(DIGITS.findall(match["token"])) < 3:
            return
        behind = re.match(rf"\s?({LETTER}+|%)", folded[match.end() : match.end() + 8])
        if behind is None or behind[1] not in self._units:
            yield *match.span("token"), "contact"

    def in_digits(self, text: str, start: int, end: int) -> Iterator[Span]:
        """Yield numbers that need no cue, near a stretch of five digits and more at `start` to `end`."""
        low, high = max(0, start - 16), min(len(text), end + 16)
        for match in LONG.finditer(text, low, high):
            if fold(match["behind"] or "").strip() not in self._units:
                yield *match.span(), "id"
        for kind, pattern in FORMS:
            for match in pattern.finditer(text, low, high):
                yield *match.span(), kind

    def links(self, text: str, folded: str) -> Iterator[Span]:
        """Yield mail addresses, links, extensions (x4411) and numbers behind their sign (#4411)."""
        for kind, pattern in SHORT:
            for match in pattern.finditer(text):
                yield *match.span(), kind
        if "@" in text or "(at)" in folded or "[at]" in folded:
            for match in MAIL.finditer(text):
                yield *match.span(), "contact"
        for match in DOMAIN.finditer(text):
            yield *match.span(), "contact"
        if "://" in text or "www." in folded:
            for match in LINK.finditer(text):
                yield *match.span(), "contact"
