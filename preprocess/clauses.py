"""A sentence cut into clauses, each with one statement: "the liver is normal, the spleen is enlarged" has two.

A comma or "and" separates clauses only where both sides state something of their own (a verb, or an opening "no"), so
that lists ("liver, spleen and pancreas are normal") stay whole. Breakers ("but", "except for", ";") always separate.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from preprocess.phrases import Match

STRONG = re.compile(r"[;:](?=\s)")
COMMA = re.compile(r",(?=\s)")
LAST_WORDS = 3
SUBJECT = re.compile(r"\w")
CLOSED = re.compile(r"\([^()]*\)")


@dataclass(frozen=True)
class _Marks:
    """Places by which a sentence is cut: weak joins, verbs, verbs that only tell that something was seen, openers.

    `told` are the places of all words that mean something: anatomies, findings, signs.
    """

    weak: tuple[int, ...]
    verbs: tuple[int, ...]
    detections: frozenset[int]
    openers: tuple[int, ...]
    told: tuple[int, ...]


def split_clauses(
    folded: str, found: Mapping[str, Sequence[Match]], held: Sequence[Match] = ()
) -> list[tuple[int, int]]:
    """Return the clauses of a sentence as (start, end); together they tile it.

    Args:
        folded: The sentence, folded.
        found: The sentence's phrases; those of `clauses` have the keys breakers, joiners, verbs, detections, openers.
            What holds no verb and none of `anatomies`, `findings` and `status` is no statement ("on the left a large,
            on the right a small effusion").
        held: Phrases inside which nothing is cut ("stones: none").
    """
    cutting = found["clauses"]
    closed = _parentheses(folded)
    commas = [m.start() for m in COMMA.finditer(folded)]
    joiners = [m for m in cutting if m.key == "joiners" and not _joins_word(folded, m.start)]
    strong = {m.start for m in cutting if m.key == "breakers"} | {m.start() + 1 for m in STRONG.finditer(folded)}
    strong -= {place for place in strong for m in held if m.start < place < m.end}
    leads = (0, *strong, *(m.end for m in joiners), *(place + 1 for place in commas))
    seen = [m for m in cutting if m.key == "detections"]
    verbs = tuple(m.start for m in cutting if m.key == "verbs" and not _inside(m.start, closed))
    marks = _Marks(
        tuple(place for place in sorted({*commas, *(m.start for m in joiners)}) if not _inside(place, closed)),
        verbs,
        frozenset(place for place in verbs if any(m.start <= place < m.end for m in seen)),
        tuple(m.start for m in cutting if m.key == "openers" and _leads(folded, m.start, leads)),
        tuple(m.start for group in ("anatomies", "findings", "status") for m in found[group]),
    )
    edges = [0, *sorted(place for place in strong - {0, len(folded)} if not _inside(place, closed)), len(folded)]
    clauses = [piece for start, end in pairwise(edges) for piece in _split_weak(folded, start, end, marks)]
    return [(start, end) for start, end in clauses if end > start]


def _joins_word(folded: str, place: int) -> bool:
    """Whether what stands before the conjunction is half a word ("pre- and postcontrast", "Leber- und Milzzysten")."""
    return folded[:place].rstrip().endswith("-")


def _leads(folded: str, place: int, leads: Iterable[int]) -> bool:
    """Whether only blanks lie between the sentence's begin, a comma or a conjunction and `place`."""
    return any(end <= place and not folded[end:place].strip() for end in leads)


def _split_weak(folded: str, start: int, end: int, marks: _Marks) -> list[tuple[int, int]]:
    """Split one stretch at those commas and conjunctions that have a statement on either side."""
    places = [start, *(place for place in marks.weak if start < place < end), end]
    clauses: list[tuple[int, int]] = []
    begin = start
    for place, following in pairwise(places[1:]):
        if _ends_statement(folded, begin, place, marks):
            verb = next((verb for verb in marks.verbs if verb >= place), end)
            following = next((edge for edge in places if edge > verb), end)
        if _separates((begin, place), (place, following), folded, marks):
            clauses.append((begin, place))
            begin = place
    return [*clauses, (begin, end)]


def _ends_statement(folded: str, begin: int, place: int, marks: _Marks) -> bool:
    """Whether what stands before `place` is complete, so that a list behind it belongs to the next verb.

    So it is where the verb stands among the last words ("the liver is normal, spleen and kidneys are enlarged"), and
    before a comma followed by a conjunction.
    """
    verbs = _within((begin, place), marks.verbs)
    if not verbs:
        return False
    doubled = folded[place : place + 1] == "," and any(place < edge <= place + 2 for edge in marks.weak)
    return doubled or len(folded[verbs[-1] : place].split()) <= LAST_WORDS


def _separates(left: tuple[int, int], right: tuple[int, int], folded: str, marks: _Marks) -> bool:
    """Whether either side makes a statement of its own.

    "No mass, effusion or nodule was seen" is one statement: what an opener without a verb denies goes on until the
    verb that tells what was (not) seen. A right side that begins with its verb has its subject on the left.
    """
    left_verb, right_verbs = _within(left, marks.verbs), _within(right, marks.verbs)
    left_opens, right_opens = _within(left, marks.openers), _within(right, marks.openers)
    if not (left_verb or left_opens) or not (right_verbs or right_opens):
        return False
    if not left_verb and not _within(left, marks.told):
        return False
    if right_verbs and not SUBJECT.search(folded[right[0] : right_verbs[0]].partition(" ")[2]):
        return bool(right_opens)
    return bool(left_verb or right_opens or set(right_verbs) - marks.detections)


def _within(span: tuple[int, int], places: Iterable[int]) -> list[int]:
    return [place for place in places if span[0] <= place < span[1]]


@dataclass(frozen=True)
class Statements:
    """Where a sentence states something.

    Attributes:
        stated: Signs and findings.
        standing: What makes an item a statement by itself, whatever stands beside it: a denial, a word such as
            "normal", a verb.
        forward: Where denials of what follows begin ("no").
        backward: Where denials of what stands before begin ("not seen").
        restarts: Where what a denial before it no longer denies begins (", a").
    """

    stated: Sequence[Match]
    standing: Sequence[Match]
    forward: Sequence[int] = ()
    backward: Sequence[int] = ()
    restarts: Sequence[int] = ()


def split_items(
    clause: tuple[int, int], folded: str, found: Sequence[Match], named: Sequence[Match], statements: Statements
) -> list[tuple[int, int]]:
    """Split a clause without a verb of its own for each item ("cyst in the liver, stone in the left kidney").

    A comma, joiner or separator parts items where something is stated on either side, each of another anatomy. What
    only names anatomies belongs to the sign behind it where that follows its own anatomy ("liver fatty, spleen and
    pancreas normal"), else to the sign before it. A denial goes on through its list, up to an item that stands by
    itself ("no liver cyst or renal stone, spleen normal").

    Args:
        clause: (start, end) of the clause.
        folded: The sentence, folded.
        found: The sentence's phrases with the keys joiners and separators.
        named: Words that name anatomies, with the anatomies as keys.
        statements: What the sentence states.
    """
    start, end = clause
    closed = _parentheses(folded)
    joins = {m.start() for m in COMMA.finditer(folded)}
    joins |= {m.start for m in found if m.key in ("joiners", "separators") and not _joins_word(folded, m.start)}
    places = [place for place in sorted(joins) if start < place < end and not _inside(place, closed)]
    items: list[tuple[int, int]] = []
    begin, waiting = start, None
    for piece in pairwise([start, *places, end]):
        names, signs = _inside_of(piece, named), _inside_of(piece, (*statements.stated, *statements.standing))
        if not names:
            continue
        if not signs:
            waiting = piece[0] if waiting is None else waiting
            continue
        trails = min(name.start for name in names) < min(sign.start for sign in signs)
        edge = waiting if trails and waiting is not None else piece[0]
        waiting = None
        left, right = (begin, edge), (edge, piece[1])
        if _other_anatomies(left, right, named) and _both_state(left, right, end, statements):
            items.append(left)
            begin = edge
    return [*items, (begin, end)]


def _other_anatomies(left: tuple[int, int], right: tuple[int, int], named: Iterable[Match]) -> bool:
    """Whether either side names anatomies, and none that the other names."""
    before, behind = ({match.key for match in _inside_of(side, named)} for side in (left, right))
    return bool(before and behind) and before.isdisjoint(behind)


def _both_state(left: tuple[int, int], right: tuple[int, int], end: int, statements: Statements) -> bool:
    """Whether the left states something too, and neither side's denial reaches the other."""
    stands = [bool(_inside_of(side, statements.standing)) for side in (left, right)]
    if _within(left, statements.forward) and not (stands[1] or _within(right, statements.restarts)):
        return False
    if _within((right[0], end), statements.backward) and not stands[0]:
        return False
    return stands[0] or bool(_inside_of(left, statements.stated))


def _inside_of(span: tuple[int, int], matches: Iterable[Match]) -> list[Match]:
    """Return the matches that lie whole in a span (no "splenic infarct" where "splenic and renal infarct" is cut)."""
    return [match for match in matches if span[0] <= match.start and match.end <= span[1]]


def _parentheses(folded: str) -> list[tuple[int, int]]:
    return [m.span() for m in CLOSED.finditer(folded)]


def _inside(place: int, spans: Iterable[tuple[int, int]]) -> bool:
    return any(start < place < end for start, end in spans)
