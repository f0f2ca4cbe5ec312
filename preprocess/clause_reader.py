"""A sentence understood alone: its clauses with their places, findings and signs, and the heading that it opens."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from preprocess.anatomy_matcher import Place, find_place, subject_words
from preprocess.clauses import Statements, split_clauses, split_items
from preprocess.findings import GAP, Mention, Signs, find_mentions, find_signs, select_findings
from preprocess.lexicon import COLLECTIVE, FOREIGN, MASK, Lexicon
from preprocess.phrases import Match, fold, longest
from preprocess.qualifiers import side, size_mm

HEADING = re.compile(r"[^:\n]{1,60}?(?P<mark>:|\s*[-\u2013]\s)")
MAX_HEADING_WORDS = 6
LETTER = re.compile(r"[^\W_]")
MAX_JOINING_LETTERS = 6
TELLING = ("normal", "abnormal", "removed", "limited")
"""Signs that make a statement of words that could be a heading."""

Owners = Mapping[str, str | None]
"""Finding id to its anatomy, None for a label outside all anatomies."""


@dataclass(frozen=True, slots=True)
class Clause:
    """A clause as far as it can be understood alone.

    Attributes:
        span: (start, end) in the sentence.
        place: Where it is.
        mentions: Findings named.
        qualified: Each mention's side and size in mm.
        signs: General signs.
        sided: It names the left or the right.
        empty: It has no letters.
    """

    span: tuple[int, int]
    place: Place
    mentions: tuple[Mention, ...]
    qualified: tuple[tuple[str | None, float | None], ...]
    signs: Signs
    sided: bool
    empty: bool

    @property
    def recognised(self) -> bool:
        """Whether it names or states anything itself, and is not only words after what was spoken of."""
        place, signs = self.place, self.signs
        named = place.anatomies or place.collective or place.foreign or self.mentions
        return bool(named or signs.asserted or signs.removed)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is spoken of: anatomies by name and as a collective; `headed` where a heading ("Liver:") says so."""

    anatomies: tuple[str, ...] = ()
    collective: tuple[str, ...] = ()
    headed: bool = False

    def covers(self, other: "Subject") -> bool:
        """Whether all that the other names is part of this."""
        names = {*other.anatomies, *other.collective}
        return bool(names) and names <= {*self.anatomies, *self.collective}


def parse_sentence(text: str, lexicon: Lexicon, owners: Owners) -> tuple[tuple[Clause, ...], Subject | None]:
    """Understand a sentence alone: its clauses, and what it opens as a heading, None without one."""
    folded = fold(text)
    found = lexicon.phrases.find_all(folded)
    found |= {name: longest(found[name]) for name in ("anatomies", "status", "context")}
    cues = longest(match for match in found["cues"] if match.key != "restart")
    seeming = [cue for cue in cues if cue.key == "affirm"]
    found["cues"] = [*cues, *_apart(found["cues"], "restart", seeming)]
    found["clauses"] = [
        *(m for m in found["clauses"] if m.key != "openers"),
        *_apart(found["clauses"], "openers", seeming),
    ]
    spans: list[tuple[int, int]] = []
    acting = [cue for cue in found["cues"] if cue.key in lexicon.cue_groups]
    for span in split_clauses(folded, found, acting):
        spans += _items(span, folded, found, lexicon, owners)
    heading = _heading(folded, found, lexicon)
    mark = HEADING.match(folded) if heading is not None else None
    headed = None if mark is None else side(mark.span(), mark.span(), found["sides"])
    return tuple(_parse_clause(span, folded, found, lexicon, owners, headed) for span in spans), heading


def _apart(found: Iterable[Match], key: str, seeming: Sequence[Match]) -> list[Match]:
    """Return the matches of a key that begin in no phrase that only seems to say what it does (", small bowel")."""
    return [m for m in found if m.key == key and not any(s.start <= m.start < s.end for s in seeming)]


def _parse_clause(
    span: tuple[int, int],
    folded: str,
    found: Mapping[str, list[Match]],
    lexicon: Lexicon,
    owners: Owners,
    headed: str | None,
) -> Clause:
    """Understand a clause; findings without a side have that of the heading ("Left kidney: a cyst")."""
    parting = [cue for cue in found["cues"] if cue.key == "restart" or _denies_what_follows(cue, lexicon)]
    named = select_findings((m for m in found["findings"] if span[0] <= m.start and m.end <= span[1]), parting)
    mentions = tuple(find_mentions(folded, span, named, found["cues"], lexicon))
    own = [owner for m in mentions if m.own and (owner := owners[m.finding]) is not None]
    return Clause(
        span=span,
        place=find_place(folded, span, found["anatomies"], found["context"], own, lexicon),
        mentions=mentions,
        qualified=tuple(
            (side(span, m.span, found["sides"]) or headed, size_mm(folded, span, m.span)) for m in mentions
        ),
        signs=find_signs(folded, span, found["status"], found["cues"], lexicon),
        sided=any(m.key in ("left", "right") and span[0] <= m.start < span[1] for m in found["sides"]),
        empty=not any(map(str.isalpha, folded[span[0] : span[1]])),
    )


def _denies_what_follows(cue: Match, lexicon: Lexicon) -> bool:
    group = lexicon.cue_groups.get(cue.key)
    return group is not None and group.assertion == "negative" and group.before


def _items(
    span: tuple[int, int], folded: str, found: Mapping[str, list[Match]], lexicon: Lexicon, owners: Owners
) -> list[tuple[int, int]]:
    """Split a clause into items, each of other anatomies."""
    subjects = subject_words(folded, found["anatomies"], found["context"])
    named = [word for word in subjects if not word.key.startswith(COLLECTIVE)]
    groups = lexicon.cue_groups
    denials = [cue for cue in found["cues"] if cue.key in groups and groups[cue.key].assertion == "negative"]
    standing = [*denials, *(sign for sign in found["status"] if sign.key == "normal")]
    seen = [mark for mark in found["clauses"] if mark.key == "detections"]
    standing += [
        mark
        for mark in found["clauses"]
        if mark.key == "verbs" and not any(told.start <= mark.start < told.end for told in seen)
    ]
    stated = [sign for sign in found["status"] if sign.key in ("abnormal", "removed")]
    own: list[Match] = []
    for match in found["findings"]:
        kind, finding = match.key.split(" ", 1)
        if match.start < span[0] or match.end > span[1]:
            continue
        if kind == "own":
            own.append(match._replace(key=owners[finding] or finding))
        if kind in ("own", "terms"):
            stated.append(match)
    held = {"separators": own, "joiners": [match for match in own if not GAP.search(match.phrase)]}
    marks = [m for m in found["clauses"] if not any(o.start < m.start < o.end for o in held.get(m.key, ()))]
    statements = Statements(
        stated=stated,
        standing=standing,
        forward=[cue.start for cue in denials if _denies_what_follows(cue, lexicon)],
        backward=[cue.start for cue in denials if not _denies_what_follows(cue, lexicon)],
        restarts=[cue.start for cue in found["cues"] if cue.key == "restart"],
    )
    return split_items(span, folded, marks, [*named, *own], statements)


def _heading(folded: str, found: Mapping[str, Sequence[Match]], lexicon: Lexicon) -> Subject | None:
    """Return what a heading ("Liver: ...", "Liver - ...", or nothing else) opens, None without one.

    "Liver normal." is a statement.
    """
    mark = HEADING.match(folded)
    end = mark.end() if mark else len(folded)
    if len(folded[:end].split()) > MAX_HEADING_WORDS:
        return None
    inside = [word for word in found["anatomies"] if word.end <= end and not word.key.startswith(MASK)]
    if not mark or mark["mark"] != ":":
        if any(sign.end <= end and sign.key in TELLING for sign in found["status"]):
            return None
        rest = folded[:end]
        for word in inside:
            rest = rest.replace(folded[word.start : word.end], "")
        if not inside or len(LETTER.findall(rest)) > MAX_JOINING_LETTERS:
            return None
    named = tuple(word.key for word in inside if not word.key.startswith((FOREIGN, COLLECTIVE)))
    groups = (lexicon.collective[word.key] for word in inside if word.key.startswith(COLLECTIVE))
    together = tuple(name for group in groups for name in group)
    return Subject(tuple(dict.fromkeys(named)), tuple(dict.fromkeys(together)), bool(named or together))
