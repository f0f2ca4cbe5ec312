"""Phrases of the data files, compiled once to regular expressions with simple inflection.

A phrase is written as people read it. Words match whole, in singular and plural (`cyst` finds cysts, `metastasis`
metastases, `cavity` cavities), and a space also stands for a hyphen, a slash or nothing (`ground glass` finds
ground-glass and groundglass). Beyond plain words:

- `steato*`, `*steatosis`: any ending, any beginning;
- `(mass|nodule)`: one of several; `[simple] cyst`: a part that may be missing;
- `~`: up to four words in between; `~8`: up to eight;
- `duct & dilat*`: both, in either order, at most six words apart; `duct &12 dilat*`: at most twelve.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

SEPARATOR = r"[\s/_\-\u2010-\u2015]*"
GAP = r"[\s,(/\-]+(?:[^\s;:!?]+\s+){{0,{words}}}?"
DEFAULT_GAP = 4
BOTH_GAP = 6
STEM = 5
"""Letters by which phrases are looked up among the words of a text."""

MAX_REMEMBERED = 50_000
"""Beginnings of words whose phrases are remembered."""

BOTH = re.compile(r"^(?P<first>[^&]+)&(?P<words>\d*)\s+(?P<second>[^&]+)$")
TOKEN = re.compile(r"~\d*|[()|\[\]]|[^\s()|\[\]~]+")
WORD = re.compile(r"\w+")
ENDINGS = (
    ("sis", "s[ei]s"),
    ("us", "(?:us(?:es)?|i)"),
    ("um", "(?:ums?|a)"),
    ("ay", "ays?"),
    ("ey", "eys?"),
    ("y", "(?:y|ies)"),
    ("a", "a[es]?"),
    ("s", "s(?:es)?"),
    ("ch", "ch(?:es)?"),
    ("x", "x(?:es)?"),
)
FOLDED = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " ", "\u2212": "-"})


class Match(NamedTuple):
    """A phrase found in a text.

    Attributes:
        start: First character.
        end: One past the last character.
        key: What the phrase stands for.
        phrase: The phrase as written in the data file.
    """

    start: int
    end: int
    key: str
    phrase: str


@dataclass(frozen=True, slots=True)
class _Part:
    """A compiled stretch of a phrase: its pattern, the stems it can begin with, and whether it can be empty.

    A stem of None stands for a beginning by which texts cannot be looked up.
    """

    pattern: str
    stems: frozenset[str | None]
    optional: bool = False
    gap: bool = False


def fold(text: str) -> str:
    """Return `text` in lower case with typographic quotes made plain, character for character (same length)."""
    lowered = text.lower()
    if text.isascii():
        return lowered
    if len(lowered) != len(text):
        lowered = "".join(low if len(low := char.lower()) == 1 else char for char in text)
    return lowered.translate(FOLDED)


def compile_phrase(phrase: str) -> tuple[re.Pattern[str], frozenset[str | None]]:
    """Return a phrase's regular expression, to be matched where a word begins, and stems of its first word.

    A stem of None says that the phrase can begin with anything (`*itis`) or with a mark (`?`).

    Raises:
        ValueError: Brackets do not match.
    """
    try:
        if both := BOTH.match(phrase):
            first, second = _sequence(both["first"]), _sequence(both["second"])
            gap = r"(?!\w)" + GAP.format(words=int(both["words"] or BOTH_GAP)) + r"(?<!\w)"
            pattern = f"(?:{first.pattern}{gap}{second.pattern}|{second.pattern}{gap}{first.pattern})"
            stems = first.stems | second.stems
        else:
            part = _sequence(phrase)
            pattern, stems = part.pattern, part.stems
        return re.compile(rf"(?:(?<!\w)|(?!\w)){pattern}(?:(?!\w)|(?<!\w))"), stems
    except (re.error, IndexError) as error:
        raise ValueError(f"phrase {phrase!r}: {error}") from error


def _sequence(phrase: str) -> _Part:
    tokens = TOKEN.findall(phrase.strip())
    part = _parse(tokens, "")
    if tokens:
        raise IndexError(f"brackets do not match at {tokens[0]!r}")
    return part


def _parse(tokens: list[str], closing: str) -> _Part:
    """Consume tokens up to `closing` and return what they match: alternatives of sequences."""
    alternatives: list[list[_Part]] = [[]]
    while tokens or closing:
        mark = tokens.pop(0)
        if mark == closing:
            break
        if mark == "|":
            alternatives.append([])
        elif mark in "([":
            inner = _parse(tokens, ")" if mark == "(" else "]")
            alternatives[-1].append(_Part(inner.pattern, inner.stems, optional=mark == "[" or inner.optional))
        elif mark in ")]":
            raise IndexError(f"{mark!r} closes nothing")
        elif mark.startswith("~"):
            gap = r"(?!\w)" + GAP.format(words=int(mark[1:] or DEFAULT_GAP))
            alternatives[-1].append(_Part(gap, frozenset([None]), gap=True))
        else:
            alternatives[-1].append(_Part(_word_pattern(mark), frozenset([_stem(mark)])))
    joined = [_join(parts) for parts in alternatives]
    if len(joined) == 1:
        return joined[0]
    stems = frozenset(stem for part in joined for stem in part.stems)
    return _Part(f"(?:{'|'.join(part.pattern for part in joined)})", stems, any(part.optional for part in joined))


def _join(parts: list[_Part]) -> _Part:
    """Put parts in sequence, separators between them."""
    pattern, glue = "", ""
    for part in parts:
        if part.gap:
            pattern, glue = pattern + part.pattern, ""
        elif part.optional:
            pattern += f"(?:{glue}{part.pattern})?" if glue else f"(?:{part.pattern}{SEPARATOR})?"
        else:
            pattern, glue = pattern + glue + part.pattern, SEPARATOR
    stems: frozenset[str | None] = frozenset()
    for part in parts:
        stems |= part.stems
        if not part.optional:
            break
    return _Part(pattern, stems or frozenset([None]), all(part.optional for part in parts))


def _word_pattern(word: str) -> str:
    """One word with its simple inflections."""
    word = word.lower()
    if word.startswith("*"):
        return r"\w*" + _word_pattern(word[1:])
    if word.endswith("*"):
        return re.escape(word[:-1]) + r"\w*"
    if len(word) < 3 or not word[-1].isalpha():
        return re.escape(word)
    for ending, forms in ENDINGS:
        if word.endswith(ending):
            return re.escape(word[: -len(ending)]) + forms
    return re.escape(word) + "s?"


def _stem(word: str) -> str | None:
    """The letters with which every form of a word begins, at most `STEM`."""
    lead = WORD.match(word.lower())
    if lead is None or word.startswith("*"):
        return None
    stem = lead[0]
    ending = next((end for end, _ in ENDINGS if word.lower().endswith(end)), "") if stem == word.lower() else ""
    return stem[: max(len(stem) - len(ending), 1)][:STEM] if len(stem) > 2 else stem


class _Entry(NamedTuple):
    group: str
    key: str
    phrase: str
    pattern: re.Pattern[str]


def _literal(phrase: str) -> str:
    """Letters or marks that every text with a phrase of plain words contains; empty where the phrase has brackets."""
    if re.search(r"[()\[\]|&]", phrase):
        return ""
    words = (token.strip("*").lower() for token in TOKEN.findall(phrase) if token[0] != "~")
    return max(words, key=len, default="")[:STEM]


class PhraseSet:
    """Phrases that stand for keys, in groups, all searched in one pass.

    Args:
        groups: Group to key to its phrases, in the notation above.

    Raises:
        ValueError: A phrase is malformed.
    """

    def __init__(self, groups: Mapping[str, Mapping[str, Iterable[str]]]) -> None:
        self._groups = tuple(groups)
        self._anywhere: list[tuple[str, _Entry]] = []
        self._by_stem: dict[str, list[_Entry]] = {}
        self._by_letters: dict[str, tuple[_Entry, ...]] = {}
        for group, keys in groups.items():
            for key, phrases in keys.items():
                for phrase in dict.fromkeys(phrases):
                    self._add(group, key, phrase)

    def _add(self, group: str, key: str, phrase: str) -> None:
        pattern, stems = compile_phrase(phrase)
        entry = _Entry(group, key, phrase, pattern)
        if None in stems:
            self._anywhere.append((_literal(phrase), entry))
            return
        for stem in stems:
            self._by_stem.setdefault(str(stem), []).append(entry)

    def _candidates(self, letters: str) -> tuple[_Entry, ...]:
        """Return the phrases that can begin with a word of these first letters, and remember them."""
        stems = [letters[:length] for length in range(1, len(letters) + 1)]
        candidates = tuple(dict.fromkeys(entry for stem in stems for entry in self._by_stem.get(stem, ())))
        if len(self._by_letters) < MAX_REMEMBERED:
            self._by_letters[letters] = candidates
        return candidates

    def find_all(self, text: str) -> dict[str, list[Match]]:
        """Return, group by group, the places of every phrase in a folded text, overlapping ones too, in order."""
        found: dict[str, list[Match]] = {group: [] for group in self._groups}
        known = self._by_letters
        for word in WORD.finditer(text):
            start, letters = word.start(), word[0][:STEM]
            candidates = known.get(letters)
            if candidates is None:
                candidates = self._candidates(letters)
            for group, key, phrase, pattern in candidates:
                match = pattern.match(text, start)
                if match and match.end() > start:
                    found[group].append(Match(start, match.end(), key, phrase))
        for literal, (group, key, phrase, pattern) in self._anywhere:
            if literal in text:
                found[group] += [Match(*m.span(), key, phrase) for m in pattern.finditer(text) if m.end() > m.start()]
        for matches in found.values():
            matches.sort(key=_order)
        return found


def _order(match: Match) -> tuple[int, int, str, str]:
    return match.start, -match.end, match.key, match.phrase


def longest(matches: Iterable[Match]) -> list[Match]:
    """Drop matches that overlap a longer one; of equally long ones the first stays, and all with its very place."""
    kept: list[Match] = []
    for match in sorted(matches, key=lambda m: (m.start - m.end, m.start)):
        if all(
            match.end <= other.start or match.start >= other.end or (match.start, match.end) == (other.start, other.end)
            for other in kept
        ):
            kept.append(match)
    return sorted(kept, key=lambda match: match.start)
