"""Finds names of persons in reports by what stands beside them: ranks, labels, signatures, degrees, given names."""

import re
from collections.abc import Iterator

from preprocess.identifier_cues import LETTER, NAME, UPPER, WORDS, CueSet, Span, any_of
from preprocess.identifier_words import IdentifierWords
from preprocess.phrases import fold

ITEM = rf"(?:{NAME}|{UPPER}\b\.?)"
GLUE = r"(?:(?<=\.)[ \t]{0,2}|[ \t]{1,2}|(?<=\.)-)"
UNMISTAKABLE = ("dr", "prof", "herrn")
"""Ranks that are none of a report's other words when written without a point, in capitals or in lower case."""

LOWER_CASE = ("dr", "prof", "hr", "hrn", "fr", "pfl")
"""Ranks behind which a name may stand in lower case, with their point or as UNMISTAKABLE."""

BEFORE = 64
"""Characters before a cue in which the name must begin."""

INITIAL = re.compile(rf"{UPPER}(?:\.| (?={UPPER}))")
"""A letter with its point, or before another capital."""

PLURAL = ("drs", "dres", "doctors")
COUNT = re.compile(r"(?:^|[\s(<>=~])\d+(?:[.,-]\d+)?\s{0,2}$")
"""A number before what may be a unit ("24 hr.") and no form of address."""

CARET = re.compile(rf"(?<![\w^]){LETTER}[\w'\u2019-]*(?: {LETTER}+)?(?:\^+{LETTER}[\w'\u2019.-]*){{1,4}}\^*")


class NameFinder:
    """Finds names where a word says that one stands here.

    Args:
        words: Of the languages.
    """

    def __init__(self, words: IdentifierWords) -> None:
        self._words = words
        self._stops = (words.ordinary | words.titles) - words.particles
        particle = (
            rf"(?:(?i:{'|'.join(sorted(map(re.escape, words.particles), key=len, reverse=True))})\b\.?(?:{GLUE}|-)?)"
        )
        also = rf"(?:[\"\u201c\u201e']{NAME}[\"\u201c\u201d']{GLUE})?"
        plain = rf"{also}{particle}{{0,3}}{ITEM}(?:{GLUE}{also}{particle}{{0,3}}{ITEM}){{0,3}}"
        name = rf"{particle}{{0,3}}{NAME}(?:[ -]{NAME})?,[ \t]?{plain}|{plain}"
        inner = any_of(words.titles | words.salutations | words.title_parts)
        ranks = rf"(?:{inner}[ \t.\-]{{0,3}}){{0,5}}"
        joined = rf"(?P<name>{name})(?:\s?(?:/|,|&|\band\b|\bund\b)\s?{ranks}(?P<second>{plain}))?"
        low = rf"(?:{LETTER}\.\s?){{0,3}}{particle}{{0,2}}{LETTER}{{3,}}(?:-{LETTER}+)*"
        self._ranked = re.compile(rf"[ \t.\-]{{0,3}}{ranks}\n?[ \t]?(?:(?P<name>{plain})|(?P<low>{low}))")
        self._labelled = re.compile(rf"(?:\s{{0,6}}[:=]\s{{0,6}}|[ \t]{{2,}}|\t){ranks}(?P<name>{name})")
        self._next = re.compile(
            rf"\s?(?:[/,&]|\band\b|\bund\b|;(?=\s?{UPPER}(?:\.|-{UPPER}\b|\s{UPPER}))|;(?=\s?[\"\u201c]))\s?{ranks}(?P<name>{plain})"
        )
        self._related = re.compile(rf"[ \t,:(]{{1,3}}(?:(?:called|named|namens)\s)?{ranks}(?P<name>{plain})")
        self._before_relative = re.compile(rf"[(,;:] ?(?P<name>{NAME}), $")
        self._signed = re.compile(rf"[\s:,]{{0,4}}{ranks}{joined}")
        self._told = re.compile(rf"[\s:]{{0,3}}(?:(?:the|der|dem|den)\s)?{ranks}{joined}")
        self._behind_role = re.compile(rf"[\s:,(]{{0,3}}{ranks}(?P<name>{name})")
        self._before = re.compile(rf"(?<!{LETTER})(?P<name>{name})\s?[,\n(\u2013-]?[ \t\n]{{0,2}}{ranks}$")
        degrees = "|".join(map(re.escape, sorted(words.credentials, key=len, reverse=True))) or "(?!)"
        self._degree = re.compile(rf"(?:{degrees})(?!\w)")
        self.ranks = CueSet(words.titles | words.salutations)
        self.labels = CueSet(words.name_labels)
        self.signatures = CueSet(words.signatures)
        self.contacts = CueSet(words.contacts)
        self.roles = CueSet(words.roles)
        self.relatives = CueSet(words.relatives)
        self.degrees = CueSet(words.credentials)

    def at_rank(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield rank and name behind a title or salutation that begins at `start` with the word `first`."""
        end = self.ranks.end(text, start, first)
        if end is None:
            return
        rank, match = text[start:end], self._ranked.match(text, end)
        if fold(rank).rstrip(".") in self._words.units and COUNT.search(text[max(0, start - BEFORE) : start]):
            return
        dotted, short = rank.endswith("."), len(rank.rstrip(".")) <= 3
        plain = not dotted and (rank.islower() or (short and rank.isupper()))
        if match is None or (plain and fold(rank) not in UNMISTAKABLE):
            return
        if match["low"] is None:
            yield from self.accept(text, folded, match.span("name"), begin=start)
            while fold(rank).rstrip(".") in PLURAL and (match := self._next.match(text, match.end())):
                yield from self.accept(text, folded, match.span("name"), plain=True)
        elif fold(rank).rstrip(".") in LOWER_CASE and match["low"].islower():
            words = [word[0] for word in WORDS.finditer(match["low"]) if len(word[0]) > 1]
            if not any(word in self._words.ordinary or word in self._words.terms for word in words):
                yield start, match.end(), "name"

    def at_label(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield the name behind a label and a colon."""
        end = self.labels.end(text, start, first)
        match = None if end is None else self._labelled.match(text, end)
        while match is not None:
            yield from self.accept(text, folded, match.span("name"))
            match = self._next.match(text, match.end())

    def at_signature(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield the names behind words of signing."""
        yield from self._both(text, folded, self._signed, self.signatures.end(text, start, first), sure=True)

    def at_contact(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield the names of persons who were spoken to."""
        yield from self._both(text, folded, self._told, self.contacts.end(text, start, first), sure=False)

    def at_role(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield the name behind a profession, and the one before it."""
        end = self.roles.end(text, start, first)
        if end is None:
            return
        if match := self._behind_role.match(text, end):
            alone = "\n" not in text[end : match.start("name")]
            yield from self.accept(text, folded, match.span("name"), least=1 if alone else 2, plain=True)
        if text[start].isupper():
            yield from self._ahead(text, start)

    def at_relative(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield the name behind a word such as "daughter", and the one before it and a comma."""
        end = self.relatives.end(text, start, first)
        if end is None:
            return
        if match := self._related.match(text, end):
            yield from self.accept(text, folded, match.span("name"), plain=True)
        low = max(0, start - BEFORE)
        if match := self._before_relative.search(text[low:start]):
            yield from self.accept(text, folded, (low + match.start("name"), low + match.end("name")), plain=True)

    def at_degree(self, text: str, folded: str, start: int, first: str) -> Iterator[Span]:
        """Yield the name before a degree."""
        if self._degree.match(text, start):
            yield from self._ahead(text, start)

    def uncued(self, text: str) -> Iterator[Span]:
        """Yield names in the form of DICOM (Doe^Jane)."""
        if "^" in text:
            for match in CARET.finditer(text):
                yield *match.span(), "name"

    def _both(self, text: str, folded: str, pattern: re.Pattern[str], end: int | None, *, sure: bool) -> Iterator[Span]:
        if end is not None and (match := pattern.match(text, end)):
            yield from self.accept(text, folded, match.span("name"), sure=sure)
            if match["second"]:
                yield from self.accept(text, folded, match.span("second"), sure=sure)

    def _ahead(self, text: str, start: int) -> Iterator[Span]:
        """Yield the name of two words and more that ends before `start`, without ordinary words before it."""
        low = max(0, start - BEFORE, text.rfind("\n\n", 0, start) + 1)
        match = self._before.search(text[low:start])
        if match is None:
            return
        words = list(WORDS.finditer(match["name"]))
        ordinary = [place for place, word in enumerate(words) if fold(word[0]) in self._stops and len(word[0]) > 1]
        own = words[ordinary[-1] + 1 :] if ordinary else words
        if len(own) > 1 and any(len(word[0]) > 1 for word in own):
            yield low + match.start("name") + own[0].start(), low + match.end("name"), "name"

    def accept(
        self,
        text: str,
        folded: str,
        span: tuple[int, int],
        *,
        begin: int | None = None,
        least: int = 1,
        sure: bool = False,
        plain: bool = False,
    ) -> Iterator[Span]:
        """Yield a name up to its first ordinary word, unless nothing or a medical word is left of it.

        Args:
            text: The report.
            folded: The same in lower case.
            span: Of the capitalised words.
            begin: Where a rank before the name begins; what follows one is a name, even an initial alone.
            least: Words that must be left.
            sure: A surname that is a word of reports is a name here all the same.
            plain: The cue says little: words that the report reader knows are no name.
        """
        stops = self._stops | self._words.terms if plain else self._stops
        found: list[re.Match[str]] = []
        for word in WORDS.finditer(folded, *span):
            initial = len(word[0]) == 1 and INITIAL.match(text, word.start()) is not None
            if (word[0] in stops and not initial) or not self._words.eponym_heads.isdisjoint(word[0].split("-")):
                break
            found.append(word)
        while len(found) > 1 and found[-1][0] in self._words.particles:
            found.pop()
        if len(found) < least or not found:
            return
        if begin is None and (self.is_term(folded, found[-1].end()) or not self._is_person(found, sure)):
            return
        yield span[0] if begin is None else begin, found[-1].end(), "name"

    def _is_person(self, found: list[re.Match[str]], sure: bool) -> bool:
        """Whether words are a name without a rank before them: no single letter, eponym or surname that is a word."""
        own = {word[0] for word in found if len(word[0]) > 1} - self._words.particles
        initials = sum(len(word[0]) == 1 for word in found)
        if not own:
            return initials > 1
        return not own <= self._words.eponyms and (sure or initials > 0 or not own <= self._words.surnames)

    def is_term(self, folded: str, end: int) -> bool:
        """Whether one of the two words behind makes a medical term of what stands before it."""
        behind = re.match(rf"(?:['\u2019]s?)?[ -]{{1,2}}({LETTER}+)(?:[ -]({LETTER}+))?", folded[end : end + 40])
        return behind is not None and not self._words.eponym_heads.isdisjoint(behind.groups(""))
