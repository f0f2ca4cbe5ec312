"""The notation in which data files write phrases, and what it compiles to.

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
from dataclasses import dataclass, replace
from typing import NamedTuple

SEPARATOR = r"[\s/_\-\u2010-\u2015]*"
GAP = r"[\s,(/\-]+(?:[^\s;:!?]+\s+){{0,{words}}}?"
DEFAULT_GAP = 4
BOTH_GAP = 6
STEM = 5
"""Letters by which phrases are looked up among the words of a text."""

MOST_LETTERS = 10
"""Letters of a word that tell whether a text can have it."""

BOTH = re.compile(r"^(?P<first>[^&]+)&(?P<words>\d*)\s+(?P<second>[^&]+)$")
TOKEN = re.compile(r"~\d*|[()|\[\]]|[^\s()|\[\]~]+")
WORD = re.compile(r"\w+")
MARK = re.compile(r"[^\w\s/\-\u2010-\u2015*]")
"""A mark with which phrases can begin: not one that may stand between their words."""


ENDINGS: Mapping[str, str] = {
    "sis": "s[ei]s",
    "us": "(?:us(?:es)?|i)",
    "um": "(?:ums?|a)",
    "ay": "ays?",
    "ey": "eys?",
    "y": "(?:y|ies)",
    "a": "a[es]?",
    "s": "s(?:es)?",
    "ch": "ch(?:es)?",
    "x": "x(?:es)?",
    "": "s?",
}
"""English inflections: an ending, and the pattern of the forms that stand for it; the first that fits counts.

The empty ending fits every word. Words of one or two letters, and those that end in a digit or mark, have one form.
"""


class Start(NamedTuple):
    """One way in which a phrase can begin.

    Attributes:
        stem: First letters of its first word or mark, empty where any letters may precede.
        word: Pattern that the first word matches, as far as the phrase says how it begins.
        follows: Letters with some of which the next word or mark begins, unless the two are written as one; empty where
            none are known, None where the phrase may end.
        needed: Letters of which some stand inside a word of every text that has the phrase so begun; empty where none
            are known.
    """

    stem: str
    word: str
    follows: tuple[str, ...] | None = None
    needed: tuple[str, ...] = ()


class Phrase(NamedTuple):
    """What a phrase compiles to.

    Attributes:
        pattern: Regular expression, to be matched where a word begins.
        starts: How it can begin; None where no word or mark (`?`) tells, as with a gap.
        single: It is one word: where a word matches the start, the word is the phrase.
        letters: Letters of which some stand inside a word of every text that has the phrase; empty where none are
            known.
    """

    pattern: str
    starts: frozenset[Start] | None
    single: bool
    letters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """A compiled stretch of a phrase; attributes as those of `Phrase`, and whether it can be empty or is a gap."""

    pattern: str
    starts: frozenset[Start] | None
    letters: tuple[str, ...] = ()
    single: bool = False
    optional: bool = False
    gap: bool = False


def compile_phrase(phrase: str, endings: Mapping[str, str] = ENDINGS) -> Phrase:
    """Compile a phrase.

    Args:
        phrase: In the notation above.
        endings: Ending of a word to the pattern of its forms; see `ENDINGS`.

    Raises:
        ValueError: Brackets do not match.
    """
    try:
        part = _both(phrase, endings)
    except IndexError as error:
        raise ValueError(f"phrase {phrase!r}: {error}") from error
    return Phrase(rf"(?:(?<!\w)|(?!\w)){part.pattern}(?:(?!\w)|(?<!\w))", part.starts, part.single, part.letters)


def _both(phrase: str, endings: Mapping[str, str]) -> _Part:
    """Compile a phrase, or two of which either may stand first."""
    both = BOTH.match(phrase)
    if both is None:
        return _sequence(phrase, endings)
    first, second = _sequence(both["first"], endings), _sequence(both["second"], endings)
    gap = r"(?!\w)" + GAP.format(words=int(both["words"] or BOTH_GAP)) + r"(?<!\w)"
    pattern = f"(?:{first.pattern}{gap}{second.pattern}|{second.pattern}{gap}{first.pattern})"
    starts = _either([_before(first.starts, (), second.letters), _before(second.starts, (), first.letters)])
    return _Part(pattern, starts, _best([first.letters, second.letters]))


def _sequence(phrase: str, endings: Mapping[str, str]) -> _Part:
    tokens = TOKEN.findall(phrase.strip())
    part = _parse(tokens, "", endings)
    if tokens:
        raise IndexError(f"brackets do not match at {tokens[0]!r}")
    return part


def _parse(tokens: list[str], closing: str, endings: Mapping[str, str]) -> _Part:
    """Consume tokens up to `closing` and return what they match: alternatives of sequences."""
    alternatives: list[list[_Part]] = [[]]
    while tokens or closing:
        mark = tokens.pop(0)
        if mark == closing:
            break
        if mark == "|":
            alternatives.append([])
        elif mark in "([":
            inner = _parse(tokens, ")" if mark == "(" else "]", endings)
            alternatives[-1].append(replace(inner, optional=mark == "[" or inner.optional))
        elif mark in ")]":
            raise IndexError(f"{mark!r} closes nothing")
        elif mark.startswith("~"):
            gap = r"(?!\w)" + GAP.format(words=int(mark[1:] or DEFAULT_GAP))
            alternatives[-1].append(_Part(gap, None, gap=True))
        else:
            alternatives[-1].append(_word(mark.lower(), endings))
    joined = [_join(parts) for parts in alternatives]
    if len(joined) == 1:
        return joined[0]
    known = all(part.letters for part in joined)
    return _Part(
        f"(?:{'|'.join(part.pattern for part in joined)})",
        _either(part.starts for part in joined),
        tuple(dict.fromkeys(letters for part in joined for letters in part.letters)) if known else (),
        single=all(part.single for part in joined),
        optional=any(part.optional for part in joined),
    )


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
    starts: list[frozenset[Start] | None] = []
    for index, part in enumerate(parts):
        later = parts[index + 1 :]
        letters = _best([other.letters for other in later if not other.optional])
        starts.append(_before(part.starts, _following(later) if later else None, letters))
        if not part.optional:
            break
    return _Part(
        pattern,
        _either(starts) if starts else None,
        _best([part.letters for part in parts if not part.optional]),
        single=len(parts) == 1 and parts[0].single and not parts[0].optional,
        optional=all(part.optional for part in parts),
    )


def _either(starts: Iterable[frozenset[Start] | None]) -> frozenset[Start] | None:
    """Join ways to begin, unknown as soon as one is."""
    joined: frozenset[Start] = frozenset()
    for some in starts:
        if some is None:
            return None
        joined |= some
    return joined


def _before(
    starts: frozenset[Start] | None, follows: tuple[str, ...] | None, needed: tuple[str, ...]
) -> frozenset[Start] | None:
    """Add to ways to begin what stands behind them, unless they know it already."""
    if starts is None:
        return None
    return frozenset(
        s._replace(follows=follows if s.follows is None else s.follows, needed=s.needed or needed) for s in starts
    )


def _following(parts: list[_Part]) -> tuple[str, ...]:
    """Return letters with which the parts behind a word can begin, () where they are not known or a gap may come."""
    letters: dict[str, None] = {}
    for part in parts:
        if part.starts is None or not all(start.stem for start in part.starts):
            return ()
        letters |= dict.fromkeys(sorted(start.stem for start in part.starts))
        if not part.optional:
            return tuple(letters)
    return ()


def _best(choices: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the letters that the fewest texts have: long ones, and few that stand for each other."""
    known = [letters for letters in choices if letters]
    return max(known, key=lambda letters: (min(STEM, *map(len, letters)), -len(letters)), default=())


def _word(word: str, endings: Mapping[str, str]) -> _Part:
    """Compile one word with its inflections; with a mark inside (`x-ray`), a text has several words for it."""
    plain = word.lstrip("*")
    lead, forms = _forms(plain, endings)
    before = r"\w*" * (len(word) - len(plain))
    pattern = before + re.escape(lead) + forms
    longest = max(WORD.findall(lead), key=len, default="")[:MOST_LETTERS]
    letters = (longest,) if longest else ()
    begun = WORD.match(plain) or (None if before else MARK.match(plain))
    if begun is None:
        return _Part(pattern, None, letters)
    single = begun[0] == plain.rstrip("*")
    begins = pattern if single else before + re.escape(begun[0])
    stem = "" if before else (lead if single else begun[0])[:STEM]
    return _Part(pattern, frozenset([Start(stem, begins, None if single else ())]), letters, single=single)


def _forms(word: str, endings: Mapping[str, str]) -> tuple[str, str]:
    """Return the letters that all forms of a word begin with, and the pattern of what follows them."""
    if word.endswith("*"):
        return word[:-1], r"\w*"
    if len(word) < 3 or not word[-1].isalpha():
        return word, ""
    ending = next((ending for ending in endings if word.endswith(ending)), None)
    return (word, "") if ending is None else (word[: len(word) - len(ending)], endings[ending])
