"""What a clause states: findings of the vocabulary, and signs by which an anatomy is normal or abnormal."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from preprocess.assertion import assert_mention
from preprocess.lexicon import Lexicon
from preprocess.phrases import Match
from preprocess.qualifiers import measured_mm


@dataclass(frozen=True, slots=True)
class Mention:
    """A finding named in a clause.

    Attributes:
        finding: Its id.
        own: The phrase names its anatomy itself; otherwise the clause must speak of that anatomy.
        assertion: positive, negative, uncertain, historical or hypothetical.
        span: (start, end) in the sentence.
        rule: Phrase and cue that decided.
    """

    finding: str
    own: bool
    assertion: str
    span: tuple[int, int]
    rule: str


def find_mentions(
    folded: str, clause: tuple[int, int], found: Sequence[Match], cues: Sequence[Match], lexicon: Lexicon
) -> list[Mention]:
    """Return the findings named in a clause, each phrase judged.

    Args:
        folded: The sentence, folded.
        clause: (start, end) of the clause.
        found: The clause's matches as `select_findings` leaves them, with keys `kind finding-id`.
        cues: The sentence's assertion cues.
        lexicon: The language.
    """
    mentions = []
    for match in found:
        kind, finding = match.key.split(" ", 1)
        span = (match.start, match.end)
        if kind == "measured":
            size = measured_mm(folded, clause, match.end)
            if size is None or size <= lexicon.above_mm[finding]:
                continue
        outside = cues if kind != "normal" else [c for c in cues if not (match.start <= c.start and c.end <= match.end)]
        assertion, cue = assert_mention(folded, clause, span, outside, lexicon.cue_groups)
        if kind == "normal":
            if assertion != "positive":
                continue
            assertion, cue = "negative", "normal"
        if kind == "measured":
            assertion, cue = "positive", f"above {lexicon.above_mm[finding]:g} mm"
        rule = match.phrase if not cue else f"{match.phrase} <- {cue}"
        mentions.append(Mention(finding, kind == "own", assertion, span, rule))
    return mentions


def select_findings(found: Iterable[Match], parting: Sequence[Match] = ()) -> list[Match]:
    """Keep each finding's longest phrases and drop what its `not` phrases cover.

    Phrases of different findings may overlap ("pleural and pericardial effusion"); those of one finding may not. One
    that runs across a denial, or a restart behind one, gives way to one on either side of it ("hepatic steatosis, no
    liver metastasis", "no hepatic metastasis, a cyst").
    """
    by_finding: dict[str, list[Match]] = {}
    for match in found:
        by_finding.setdefault(match.key.split(" ", 1)[1], []).append(match)
    for finding, matches in by_finding.items() if parting else ():
        by_finding[finding] = [match for match in matches if not _runs_across(match, matches, parting)]
    kept = []
    for matches in by_finding.values():
        refused = [m for m in matches if m.key.startswith("not ") and not _covered(m, matches)]
        chosen: list[Match] = []
        for match in sorted(matches, key=lambda m: (KINDS.index(m.key.split(" ", 1)[0]), m.start - m.end, m.start)):
            if not any(match.start < other.end and other.start < match.end for other in (*refused, *chosen)):
                chosen.append(match)
        kept += chosen
    return sorted(kept, key=lambda match: (match.start, match.end, match.key))


def _runs_across(match: Match, others: Iterable[Match], parting: Sequence[Match]) -> bool:
    """Whether a cue stands inside what names a finding, and another name lies in it before or behind the cue."""
    if not _names(match):
        return False
    inner = [cue for cue in parting if match.start < cue.start and cue.end < match.end]
    shorter = [other for other in others if match.start <= other.start and other.end <= match.end and _names(other)]
    return any(o.end <= cue.start or cue.end <= o.start for cue in inner for o in shorter if o is not match)


def _names(match: Match) -> bool:
    return match.key.startswith(("own ", "terms "))


def _covered(refused: Match, others: Iterable[Match]) -> bool:
    """Whether a longer phrase of the finding, one without gaps, holds all of what only looks like it."""
    return any(
        o.start <= refused.start and refused.end <= o.end and o.end - o.start > refused.end - refused.start
        for o in others
        if o.key.startswith("own ") and not GAP.search(o.phrase)
    )


KINDS = ("not", "normal", "own", "terms", "measured")
GAP = re.compile("[~&]")
"""In a phrase: other words may stand between its words."""


@dataclass(frozen=True, slots=True)
class Signs:
    """General signs in a clause, whatever anatomy it speaks of.

    Attributes:
        asserted: What is asserted of abnormalities: positive, negative, uncertain, ...; "normal" counts as a denial.
        removed: Something was taken out.
        exists: Something unrecognised is said to be there.
        limited: It could not be judged.
        remark: It is a recommendation or a comparison.
        filling: What is asserted of how full it is ("distended"): abnormal except where an anatomy fills and empties.
    """

    asserted: frozenset[str]
    removed: bool
    exists: bool
    limited: bool
    remark: bool
    filling: frozenset[str]


def find_signs(
    folded: str, clause: tuple[int, int], signs: Sequence[Match], cues: Sequence[Match], lexicon: Lexicon
) -> Signs:
    """Return the general signs of a clause, each judged by the cues that act on it."""
    inside = [sign for sign in signs if clause[0] <= sign.start < clause[1]]
    kinds = {sign.key for sign in inside}
    asserted: set[str] = set()
    filling: set[str] = set()
    removed = False
    for sign in inside:
        if sign.key not in ("abnormal", "removed", "normal", "filling", "traces"):
            continue
        outside = [cue for cue in cues if _bears(folded, cue, sign, inside)]
        assertion, _ = assert_mention(folded, clause, (sign.start, sign.end), outside, lexicon.cue_groups)
        if sign.key == "removed":
            removed = removed or assertion in ("positive", "historical")
            if assertion == "uncertain":
                asserted.add(assertion)
        elif sign.key == "filling":
            filling.add(assertion)
        elif sign.key == "normal" and (assertion == "historical" or _denies(sign, cues, lexicon)):
            asserted.add("negative")
        elif sign.key == "normal":
            asserted.add({"positive": "negative", "negative": "positive"}.get(assertion, assertion))
        else:
            asserted.add(assertion)
    acting = [lexicon.cue_groups.get(cue.key) for cue in cues if clause[0] <= cue.start < clause[1]]
    plain = "existential" in kinds and not asserted and not kinds & {"limited", "remark"}
    if plain and any(group is not None and group.assertion == "negative" for group in acting):
        asserted.add("negative")
    exists = plain and not any(acting)
    return Signs(frozenset(asserted), removed, exists, "limited" in kinds, "remark" in kinds, frozenset(filling))


def _bears(folded: str, cue: Match, sign: Match, signs: Sequence[Match]) -> bool:
    """Whether a cue may act on a sign.

    None does inside what was removed; on an operation's traces only one next to it does ("no clip"), and on a word such
    as "normal" one close to it that is no part of another sign ("no gross abnormality") and denies nothing before it
    ("no stone and normal").
    """
    if sign.key == "normal" and any(
        (o.start <= cue.start and cue.end <= o.end) or (cue.end <= o.start < sign.start and o.key == "abnormal")
        for o in signs
        if o is not sign
    ):
        return False
    if sign.key == "removed":
        return not sign.start <= cue.start < sign.end
    between = len(folded[cue.end : sign.start].split()) if cue.end <= sign.start else 0
    return between <= REACH.get(sign.key, between)


REACH = {"traces": 1, "normal": 3}
"""Most words between a cue and a sign behind it, by the sign's kind, where they are few."""


def _denies(sign: Match, cues: Sequence[Match], lexicon: Lexicon) -> bool:
    """Whether the sign itself contains a denial ("not enlarged"), which another denial in its clause does not turn."""
    inside = [lexicon.cue_groups.get(cue.key) for cue in cues if sign.start <= cue.start and cue.end <= sign.end]
    return any(group is not None and group.assertion == "negative" for group in inside)


def judge(signs: Signs, mentioned: Iterable[str], *, fills: bool = False) -> str | None:
    """Return what a clause says of an anatomy: removed, abnormal, uncertain, normal, limited, described, or None.

    Anything stated as present is abnormal; hedged signs alone are uncertain; denied ones alone, or a word such as
    "normal", normal; limited that it could not be judged; described that something else is said of it.

    Args:
        signs: The clause's general signs.
        mentioned: Assertions of the anatomy's own findings in the clause.
        fills: The anatomy fills and empties, so that being distended or collapsed is normal.
    """
    if signs.removed:
        return "removed"
    asserted = signs.asserted | set(mentioned)
    if signs.filling and not (fills and signs.limited):
        asserted |= {"negative"} if fills else signs.filling
    for assertion, status in (("positive", "abnormal"), ("uncertain", "uncertain"), ("negative", "normal")):
        if assertion in asserted:
            return status
    if signs.exists and not asserted:
        return "abnormal"
    if signs.limited:
        return "limited"
    return None if signs.remark or asserted else "described"
