"""A report cut into sections and sentences; no character is lost.

Real reports put headers inside lines, number their lists, use quotation marks as bullets, wrap lines by hand, forget
the space after a full stop, and are full of decimals and measurements. What counts as a header or an abbreviation
comes from the language's data.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

BULLETS = '"*\u2022\u00b7\u25cf\u25aa\u25e6\u2023\u00bb>\u2713-\u2013\u2014\u201c\u201d\u201f\u00ab'
EDGE = re.compile(
    r"^[\s\"*\u2022\u00b7\u25cf\u25aa\u25e6\u2023\u00bb>\u2713\u2013\u2014\u201c\u201d\u201f\u00ab.,;:\-]+"
)
NUMBERED = re.compile(r"^\(?\d{1,2}[.)]\s+(?=\D)")
CLOSING = tuple('"*\u2022\u201c\u201d\u201f\u00ab')
TRAILING = re.compile(rf"[\s{''.join(CLOSING)}]+$")
ENDER_GAP = r"\.?\s*"
ROMAN = re.compile(r"[^\W\d_]{3,} [IVX]$")
"""The end of a sentence's last words "... in segment V", where a single letter before a stop abbreviates nothing."""

LAST_WORD = re.compile(r"[\w.]*\Z")
MAX_PARENTHESIS = 240
MIN_PLAIN = 2
MAX_SENTENCE = 1200
"""Characters after which a sentence is cut at a blank: nobody writes longer ones, but an export may lose all stops."""

ASIDE = ("history", "technique", "comparison")
MARK = re.compile(
    r"(?P<stop>[.!?]+[)\]]?(?=\s|$|[\"\u201c\u201d\u201f\u2022]))"
    r"|(?P<glued>(?<=[a-z)\]])\.(?=[A-Z][a-z]))"
    r"|(?P<bullet>[\"\u201c\u201d\u201f\u2022\u25cf\u25aa\u25e6\u2023\u00bb])"
    r"|(?P<newline>\n[ \t\r\f\v]*(?P<blank>\n\s*)?)"
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a report.

    Attributes:
        index: Position in the report, from 0.
        section: findings, impression, history, technique, comparison or other.
        text: The sentence itself, verbatim, without header, bullet and blanks around it.
        start: First character of its stretch of the report; the stretches of all sentences tile the report.
        end: One past the last character of the stretch.
        listed: It begins a list item, a header's text or a paragraph: what was spoken of before does not carry over.
    """

    index: int
    section: str
    text: str
    start: int
    end: int
    listed: bool


@dataclass(frozen=True)
class SentenceRules:
    """What a language contributes to cutting reports.

    Attributes:
        abbreviations: Words after which a full stop ends no sentence, without their stop, in lower case.
        continuing: Words that cannot end a line's sentence ("of", "the"), in lower case.
        header_pattern: Finds a header.
        header_sections: Header to the section that it opens.
        summary_bullets: Marks that, after plain sentences, open the summary of a report without headers.
        enders: Finds, behind a word, an abbreviation that ends a sentence where a capital follows ("Liver o. B.").
    """

    abbreviations: frozenset[str]
    continuing: frozenset[str]
    header_pattern: re.Pattern[str]
    header_sections: Mapping[str, str]
    summary_bullets: str
    enders: re.Pattern[str] = re.compile("(?!)")


def build_sentence_rules(
    headers: Mapping[str, Sequence[str]],
    abbreviations: Sequence[str],
    continuing: Sequence[str],
    summary_bullets: str = "",
    enders: Sequence[str] = (),
) -> SentenceRules:
    """Compile a language's rules; a header opens a line or sentence and stands before a colon or alone."""
    sections = {" ".join(name.lower().split()): section for section, names in headers.items() for name in names}
    names = "|".join(re.escape(name).replace(r"\ ", r"\s+") for name in sorted(sections, key=len, reverse=True))
    pattern = re.compile(
        r"(?:\A|\n|[.!?\"]\s?)[ \t\r*#_]*"
        rf"(?P<name>{names or '(?!)'})[ \t*_]*(?:[:;]|(?:-|\u2013)\s|(?=\r?\n))",
        re.IGNORECASE,
    )
    return SentenceRules(
        frozenset(word.lower().rstrip(".") for word in abbreviations),
        frozenset(word.lower() for word in continuing),
        pattern,
        sections,
        summary_bullets,
        re.compile(
            rf"\b(\w+)\W+(?:{'|'.join(ENDER_GAP.join(map(re.escape, e.split('.'))) for e in enders) or '(?!)'})$", re.I
        ),
    )


def split_sentences(text: str, rules: SentenceRules) -> list[Sentence]:
    """Cut a report into sentences whose stretches tile the text; a text without letters or digits has none."""
    headers = [
        (m.start("name"), m.end(), rules.header_sections[" ".join(m["name"].lower().split())])
        for m in rules.header_pattern.finditer(text)
    ]
    bounds = _limited(text, sorted({0, len(text), *(start for start, _, _ in headers), *_boundaries(text, rules)}))
    spans = _merge_empty(text, [(a, b) for a, b in pairwise(bounds)], headers)
    sentences: list[Sentence] = []
    quoted = None if headers else _summary(text, spans, rules)
    for start, end in spans:
        opened, stop = _leading([h for h in headers if start <= h[0] < end], text, start, end)
        body = max([start, *(h[1] for h in opened)])
        section = _section_at(text, start if not opened else opened[-1][0], headers, quoted)
        content, listed = _trim(text[body:stop])
        listed = listed or bool(opened) or "\n" in text[max(0, start - 1) : body + 1]
        sentences.append(Sentence(len(sentences), section, content, start, end, listed))
    return sentences


def _leading(
    headers: Sequence[tuple[int, int, str]], text: str, start: int, end: int
) -> tuple[list[tuple[int, int, str]], int]:
    """Return the headers before a stretch's words, and where the words end: at a bare header behind them, if any."""
    leading: list[tuple[int, int, str]] = []
    body = start
    for header in headers:
        if any(char.isalnum() for char in text[body : header[0]]):
            return leading, header[0]
        leading.append(header)
        body = header[1]
    return leading, end


def _limited(text: str, bounds: Sequence[int]) -> list[int]:
    """Add bounds at blanks so that no stretch is longer than `MAX_SENTENCE` (where it has blanks at all)."""
    limited = list(bounds[:1])
    for bound in bounds[1:]:
        while bound - limited[-1] > MAX_SENTENCE:
            blank = text.rfind(" ", limited[-1] + 1, limited[-1] + MAX_SENTENCE)
            limited.append(blank if blank > 0 else limited[-1] + MAX_SENTENCE)
        limited.append(bound)
    return limited


def _section_at(text: str, place: int, headers: Sequence[tuple[int, int, str]], quoted: int | None) -> str:
    """Return the section of a sentence that begins at `place`.

    Where no header opens the findings, they follow what a header such as "Comparison:" opens, see `_is_over`.
    """
    count = sum(start <= place for start, _, _ in headers)
    told = any(section == "findings" for _, _, section in headers)
    if count:
        start, body, section = headers[count - 1]
        following = headers[count] if count < len(headers) else None
        if section in ASIDE and not told and start != place and _is_over(text, body, place, following):
            return "findings"
        return section
    if quoted is not None and place >= quoted:
        return "impression"
    return "other" if told else "findings"


def _is_over(text: str, body: int, place: int, following: tuple[int, int, str] | None) -> bool:
    """Whether a history, technique or comparison that begins at `body` has ended before `place`.

    It goes on to the next header if that opens another such section; else to the end of its line if lines follow that
    can be the findings; else to the end of its first sentence.
    """
    if following is not None and following[2] in ASIDE:
        return False
    lines = text[body : len(text) if following is None else following[0]].strip()
    return ("\n" if "\n" in lines else ".") in text[body:place].lstrip()


def _summary(text: str, spans: Sequence[tuple[int, int]], rules: SentenceRules) -> int | None:
    """Where a report without headers begins its summary: its first bulleted sentence, if plain ones precede."""
    bulleted = [
        i for i, (start, end) in enumerate(spans) if text[start:end].lstrip()[:1] in tuple(rules.summary_bullets)
    ]
    return spans[bulleted[0]][0] if bulleted and bulleted[0] >= MIN_PLAIN else None


def _trim(piece: str) -> tuple[str, bool]:
    """Return the piece without bullet, list number and blanks, and whether it had a bullet or number."""
    content = piece.strip()
    edge = EDGE.match(content)
    bare = content[edge.end() :] if edge else content
    listed = content[:1] in BULLETS if content else False
    numbered = NUMBERED.match(bare)
    if numbered:
        bare, listed = bare[numbered.end() :], True
    return TRAILING.sub("", bare) if bare[-1:] in CLOSING else bare, listed


def _merge_empty(
    text: str, spans: Sequence[tuple[int, int]], headers: Sequence[tuple[int, int, str]]
) -> list[tuple[int, int]]:
    """Join stretches without content to the sentence before them, leading ones and bare headers to the one after."""
    merged: list[tuple[int, int]] = []
    pending: int | None = None
    for start, end in spans:
        body = max([start, *(h[1] for h in headers if start <= h[0] < end)])
        empty = not any(char.isalnum() for char in _trim(text[body:end])[0])
        first = start if pending is None else pending
        if empty and (body > start or not merged):
            pending = first
        elif empty and pending is None:
            merged[-1] = (merged[-1][0], end)
        elif not empty:
            merged.append((first, end))
            pending = None
    if pending is not None and merged:
        merged[-1] = (merged[-1][0], spans[-1][1])
    return merged


def _boundaries(text: str, rules: SentenceRules) -> list[int]:
    """Return where a new sentence begins."""
    found = []
    for mark in MARK.finditer(text):
        place = mark.end()
        if mark["newline"]:
            if mark["blank"] or _breaks_line(text, mark.start(), place, rules):
                found.append(place)
        elif mark["bullet"]:
            if _is_bullet(text, mark.start()):
                found.append(mark.start())
        elif mark["glued"]:
            if (
                re.split(r"[^\w.]+", text[max(0, mark.start() - 40) : mark.start()])[-1].lower()
                not in rules.abbreviations
            ):
                found.append(place)
        elif not _in_parenthesis(text, mark.start()) and _ends_sentence(text, mark, rules):
            found.append(place)
    return found


def _is_bullet(text: str, place: int) -> bool:
    """Whether the mark at `place` opens (or closes) a list item rather than quoting words inside a sentence."""
    char = text[place]
    if char not in '"\u201c\u201d\u201f':
        return True
    before = text[:place].rstrip()[-1:]
    after = text[place + 1 : place + 40].lstrip()[:1]
    if not before or before in ".!?)":
        return True
    quoted = re.match(r"[^\"\u201c\u201d\u201f.\n]{1,40}[\"\u201d]", text[place + 1 : place + 60])
    if quoted and text[place - 1 : place].isspace() and not text[place + 1 : place + 2].isspace():
        rest = text[place + 1 + quoted.end() : place + 3 + quoted.end()]
        if rest[:1] in ",.;)" or (rest[:1] == " " and rest[1:2].islower()):
            return False
    closing = not text[place - 1 : place].isspace() and '"' in text[max(0, place - 60) : place]
    return (after.isupper() or after.isdigit() or not after) and not (closing and not after.isupper())


def _breaks_line(text: str, place: int, following: int, rules: SentenceRules) -> bool:
    """Whether the line end at `place` ends a sentence (lines wrapped by hand do not)."""
    before = text[max(0, place - 40) : place].rstrip()
    after = text[following : following + 1]
    if not after or not before:
        return True
    if after in BULLETS or before[-1] in ".!?;":
        return True
    last = re.split(r"\W+", before)[-1].lower()
    return not (after.islower() or before[-1] in ",(-:" or last in rules.continuing)


def _in_parenthesis(text: str, place: int) -> bool:
    """Whether `place` lies inside brackets opened shortly before and closed soon after on the same line."""
    first = max(0, place - MAX_PARENTHESIS)
    opened = text.rfind("(", first, place)
    if opened < 0 or text.find(")", opened, place) >= 0 or text.find("\n", opened, place) >= 0:
        return False
    after = text[place : place + MAX_PARENTHESIS].split("\n", 1)[0]
    closing = after.find(")")
    return closing >= 0 and "(" not in after[:closing]


def _ends_sentence(text: str, mark: re.Match[str], rules: SentenceRules) -> bool:
    """Whether a full stop, exclamation or question mark before a blank ends its sentence."""
    following = text[mark.end() : mark.end() + 40].lstrip()[:1]
    if not following:
        return True
    if mark["stop"].rstrip(")]") != ".":
        return not following.islower() or (not mark["stop"].startswith("..") and "?" not in mark["stop"])
    before = text[max(0, mark.start() - 40) : mark.start()]
    ender = rules.enders.search(before)
    if ROMAN.search(before) or (ender and ender[1].lower() not in rules.continuing):
        return not following.islower()
    if following.isupper() and _next_word(text, mark.end()) in rules.continuing:
        return True
    word = LAST_WORD.findall(before)[0].lower()
    if word in rules.abbreviations or (len(word) == 1 and word.isalpha()):
        return False
    if word.isdigit() and len(word) <= 2 and _opens_item(before, len(word)):
        return False
    if following.islower():
        return len(word) > 2 and not word.isdigit()
    return True


def _next_word(text: str, place: int) -> str:
    word = re.match(r"\W*(\w+)", text[place : place + 40])
    return word[1].lower() if word else ""


def _opens_item(before: str, digits: int) -> bool:
    """Whether the number that ends `before` stands where a list item begins."""
    lead = before[: len(before) - digits]
    return not lead.strip() or lead.endswith("\n") or lead.rstrip()[-1] in ".!?:;" or lead.rstrip("\t ")[-1] in '\n"'
