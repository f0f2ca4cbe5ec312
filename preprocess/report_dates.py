"""Finds the days that a report names, in the forms of English and German, with the time of day bound to them."""

import re
from collections.abc import Iterator

from preprocess.identifier_cues import CueSet, Span
from preprocess.identifier_words import IdentifierWords

CLUMP = re.compile(r"\d[\d./\-\u2010-\u2013]{2,}\d")
"""Digits and marks between them, in which most dates lie."""

_MARK = r"[./\-\u2010-\u2013]"
_YEAR = r"(?:19|20)\d\d"
IN_CLUMP = re.compile(
    rf"(?<!\d)(?:{_YEAR}(?P<iso>{_MARK})\d{{1,2}}(?P=iso)\d{{1,2}}(?!\d)"
    rf"|\d{{1,2}}{_MARK}\d{{1,2}}{_MARK}{_YEAR}\d?(?!\d)"
    rf"|(?:0[1-9]|1[0-2])[-\u2010-\u2013]{_YEAR}(?!\d)|(?:0?[1-9]|1[0-2])[./]{_YEAR}(?![\d./])|{_YEAR}/(?:0[1-9]|1[0-2])(?!\d))"
)
SHORT_YEAR = re.compile(r"(?P<first>\d{1,2})(?P<mark>[./-])(?P<second>\d{1,2})(?P=mark)(?P<year>\d\d)")
COMPACT = re.compile(
    rf"{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2]){_YEAR}"
)
SPACED = re.compile(rf"(?<![\d.,])\d{{1,2}}\s?([./-])\s?\d{{1,2}}\s?\1\s?{_YEAR}(?!\d)")
_ROMAN = r"(?:I{1,3}|IV|VI{0,3}|IX|XI{0,2})"
UNUSUAL = re.compile(
    rf"(?<![\w.,/-])(?:\d{{1,2}}[./-]\s?{_ROMAN}[./-]\s?(?:{_YEAR}|\d\d)(?!\d)"
    r"|\d{1,2}[./-]\d{1,2}[./-]['\u2019]\d\d(?!\d)|0[1-9]/[0-3]\d(?![\d/])"
    rf"|(?:0[1-9]|[12]\d|3[01]) (?:0[1-9]|1[0-2]) {_YEAR}(?!\d)"
    rf"|(?:Q[1-4]|KW ?\d{{1,2}})[ /]{_YEAR}(?!\d)|{_ROMAN}/{_YEAR}(?!\d)"
    r"|(?<=\()(?:(?:1[3-9]|2\d|3[01])/(?:0?[1-9]|1[0-2])|(?:0?[1-9]|1[0-2])/(?:1[3-9]|2\d|3[01]))(?=\)| \d\d?:\d\d))"
)
"""30.VI.2018, 12/03/'19, Q3 2019, 03/19, II/2017, 29 02 1980, (24/6)."""

GERMAN = re.compile(r"\b(?:und|der|die|das|kein|keine|mit|nicht|bei|zur|ist|wurde|links|rechts|nach)\b")
DAY_MONTH = re.compile(
    r"(?<![\d.,/])(?:(?:[12]\d|3[01]|0?[1-9])\.0[1-9]\."
    r"|(?<=[,)] )(?:[12]\d|3[01]|0?[1-9])\.\s?(?:1[0-2]|[1-9])\.)(?=[\s,;)]|$)"
    r"|(?<![\d.,/])(?:[12]\d|3[01]|0?[1-9])\.(?:1[0-2]|0?[1-9])\.(?=\s?(?:und|bis|/|[-\u2013]|,)\s?\d{1,2}\.\s?\d{1,2}\.)"
)
"""A day without its year in German, where decimals have commas: with a nought, or behind a comma."""

YEAR = re.compile(r"[12][09]\d\d(?![\w]|[.,]\d)")
LAST_WORD = re.compile(r"([^\W\d_]+)[\s.:'(]*$")
NEXT_WORD = re.compile(r"[ \t\-]{0,2}([^\W\d_]+\d?|%|\u00d7)(?![/\w])")
NEXT_YEAR = re.compile(r"[\s,/\-\u2013]{1,2}(?:(?:and|und|or|oder|to|bis|&)\s)?")
NUMBER = re.compile(r"\d{1,2}")
OLDEST_AGE = 90
"""Higher ages are written as this one, as the headers' are."""


class DateFinder:
    """Finds days, months with a year, years behind a cue, times bound to a day, and ages above 90.

    Args:
        words: Of the languages.
    """

    def __init__(self, words: IdentifierWords) -> None:
        joiners = "|".join(map(re.escape, sorted(words.time_joiners)))
        units = "|".join(sorted(map(re.escape, words.time_units), key=len, reverse=True))
        self._words = words
        self.cues = CueSet(words.date_cues)
        self.ages = frozenset(re.split(r"\W", word)[0] for word in words.age_units)
        self._aged = re.compile(r"(?<!\w)(?:age|aged|alter)[ :]{1,3}(?P<age>\d{2,3})(?![\w/]|[.,]\d)")
        self.months = frozenset(name for names in words.months for name in names)
        day = r"\d{1,2}(?:\s?[-\u2013]\s?\d{1,2})?(?:st|nd|rd|th|ten|ter)?"
        short = r"(?:\s?['\u2019]|[\-/.])\d\d(?![\d:]|[.,]\d)"
        self._before_month = re.compile(
            rf"(?<![\d.,/-])(?:(?P<year>{_YEAR})[ \-/]|(?P<day>{day})(?P<mark>\s{{1,2}}of\s{{1,2}}|[\s,\-./]{{0,3}}))$",
            re.IGNORECASE,
        )
        self._year_behind = re.compile(rf"\.?[\s,\-./']{{0,3}}{_YEAR}(?!\d|[.,]\d)|\.?{short}", re.IGNORECASE)
        self._day_behind = re.compile(
            rf"\.?[\s,\-./]{{0,2}}{day}(?![\w:/%]|[.,]\d)(?P<year>[\s,\-./]{{0,3}}{_YEAR}(?!\d|[.,]\d)|{short})?",
            re.IGNORECASE,
        )
        self._time = re.compile(
            rf"(?:T|[\s,;(@-]{{1,3}}(?:(?:{joiners})\b\s{{0,2}})?)"
            rf"(?:\d{{1,2}}:\d\d(?::\d\d)?(?:[.,]\d+)?Z?(?:\s?(?:{units})(?!\w))?|\d{{1,2}}(?:\.\d\d)?\s?(?:{units})(?!\w))"
            r"|[\s,-]{1,2}\d{4}\s?(?:h|hrs|hours|Uhr)(?!\w)",
            re.IGNORECASE,
        )
        self._partial = re.compile(r"[\s:.,]{0,3}(?:\d{1,2}\.\s?\d{1,2}(?=\.(?!\d))|\d{1,2}/\d{1,2}(?![\d/]))")

    def find(self, text: str, folded: str) -> Iterator[Span]:
        """Yield the days that stand in numbers, years behind a cue, and ages behind theirs.

        Args:
            text: The report.
            folded: The same in lower case, character for character.
        """
        yield from self._unusual(text, folded)
        for clump in CLUMP.finditer(text):
            yield from self._in_clump(text, folded, *clump.span())
        last: int | None = None
        for match in YEAR.finditer(text):
            start, end = match.span()
            if match[0][:2] not in ("19", "20") or (start and text[start - 1] not in " \t\n('.-/\u2013"):
                continue
            goes_on = last is not None and NEXT_YEAR.fullmatch(text, last, start) is not None
            for span in self._at_year(text, folded, start, end, goes_on=goes_on):
                last = end
                yield span

    def at_month(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield the day of which the month's name `first` stands at `start`, if a day or a year stands beside it."""
        end = start + len(first)
        low = max(0, start - 14)
        before = self._before_month.search(text[low:start])
        year, day = self._year_behind.match(text, end), self._day_behind.match(text, end)
        if before is not None and before["year"]:
            if day is None:
                return
            begin, last = low + before.start(), day.end()
        elif before is not None and (year is not None or self._is_day(folded[start:end], text[start], before)):
            begin, last = low + before.start(), end if year is None else year.end()
        elif day is not None and (day["year"] or year is None):
            if not day["year"] and (text[start].islower() or self._measures(folded, day.end())):
                return
            begin, last = start, day.end()
        elif year is not None and not self._measures(folded, year.end()):
            begin, last = start, year.end()
        else:
            return
        yield begin, self._with_time(text, last), "date"

    def at_cue(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield a day and month without a year behind a cue that begins at `start`."""
        end = self.cues.end(text, start, first)
        if end is None:
            return
        match = self._partial.match(text, end)
        if match is not None and not self._counts(folded, end, match.end()):
            yield match.end() - len(match[0].lstrip(" \t\n:.,")), self._with_time(text, match.end()), "date"

    def at_age(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield an age above 90 whose unit ("year-old") begins at `start`."""
        match = re.search(r"(?<![\d.,/])(\d{2,3})[\s\-]{0,2}$", text[max(0, start - 6) : start])
        if match is not None and OLDEST_AGE < int(match[1]) < OLDEST_AGE + 40:
            low = max(0, start - 6)
            yield low + match.start(1), low + match.end(1), "age"

    def _unusual(self, text: str, folded: str) -> Iterator[Span]:
        """Yield ages behind a cue, days in rarer forms, and in German days without their year."""
        for match in self._aged.finditer(folded):
            if OLDEST_AGE < int(match["age"]) < OLDEST_AGE + 40:
                yield *match.span("age"), "age"
        for match in UNUSUAL.finditer(text):
            yield match.start(), self._with_time(text, match.end()), "date"
        if GERMAN.search(folded):
            for match in DAY_MONTH.finditer(text):
                if not self._counts(folded, *match.span()):
                    yield *match.span(), "date"

    def _in_clump(self, text: str, folded: str, start: int, end: int) -> Iterator[Span]:
        clump = text[start:end]
        if (start and (text[start - 1].isalnum() or text[start - 1] in "_.,")) and not IN_CLUMP.search(clump):
            return
        found = False
        for match in IN_CLUMP.finditer(clump):
            found = True
            if not self._measures(folded, start + match.end()):
                yield start + match.start(), self._with_time(text, start + match.end()), "date"
        if found:
            return
        if COMPACT.fullmatch(clump) or (
            (short := SHORT_YEAR.fullmatch(clump)) and self._is_short(folded, short, start)
        ):
            yield start, self._with_time(text, end), "date"

    def _is_short(self, folded: str, short: re.Match[str], start: int) -> bool:
        """Whether numbers such as 5.3.24 are a day and not a list of ribs or segments."""
        first, second = int(short["first"]), int(short["second"])
        if not (1 <= first <= 31 and 1 <= second <= 31 and min(first, second) <= 12):
            return False
        if short["mark"] == "-" and len(short["first"]) + len(short["second"]) < 4:
            return False
        end = start + len(short[0])
        ascends = first < second < int(short["year"]) < first + 10
        return not (ascends and self._counts(folded, start, end)) and not self._measures(folded, end)

    def _at_year(self, text: str, folded: str, start: int, end: int, *, goes_on: bool) -> Iterator[Span]:
        """Yield a year behind a cue or in a row of years ("of 2013, 2014 and 2016"), or a day written with blanks."""
        spaced = next((m for m in SPACED.finditer(text, max(0, start - 12), end) if m.end() == end), None)
        if spaced is not None:
            yield spaced.start(), self._with_time(text, end), "date"
            return
        cue = LAST_WORD.search(folded[max(0, start - 16) : start])
        if (goes_on or (cue is not None and cue[1] in self._words.year_cues)) and not self._measures(folded, end):
            yield start, end, "date"

    def _with_time(self, text: str, end: int) -> int:
        """End of the time of day that follows a date, else of the date."""
        match = self._time.match(text, end)
        return match.end() if match is not None else end

    def _is_day(self, month: str, initial: str, before: re.Match[str]) -> bool:
        """Whether a number before a month, without a year, is its day; "segment 5. May be benign" has none."""
        if not initial.isupper() or not 1 <= int(NUMBER.match(before["day"])[0]) <= 31:  # type: ignore[index]
            return False
        return month != "may" or not before["mark"].startswith(".")

    def _measures(self, folded: str, end: int) -> bool:
        word = NEXT_WORD.match(folded, end)
        return word is not None and word[1] in self._words.units

    def _counts(self, folded: str, start: int, end: int) -> bool:
        """Whether a word before or behind says that the numbers count something."""
        before = re.findall(r"[^\W\d_]+", folded[max(0, start - 24) : start])[-2:]
        behind = re.findall(r"[^\W\d_]+", folded[end : end + 16])[:2]
        return not self._words.counted.isdisjoint([*before, *behind])
