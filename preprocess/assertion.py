"""Whether a clause states, denies, doubts or remembers what it names.

A cue acts to its right ("no", "possible") or to its left ("was not seen", "?") within its clause, up to a stop ("but",
"except"), as far as its group's reach. Phrases that only look like cues ("no change in", "not seen before") stand in
the data as `affirm`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from preprocess.lexicon import CueGroup
from preprocess.phrases import Match

PRIORITY = ("hypothetical", "negative", "historical", "uncertain", "positive")
ENDED = ("negative", "uncertain")
"""What `restart` phrases end."""
WORD = re.compile(r"\w+")
CLOSED = re.compile(r"\([^()]*\)?")


def assert_mention(
    folded: str,
    clause: tuple[int, int],
    mention: tuple[int, int],
    cues: Sequence[Match],
    groups: Mapping[str, CueGroup],
) -> tuple[str, str]:
    """Judge one mention.

    Args:
        folded: The sentence, folded.
        clause: (start, end) of the mention's clause.
        mention: (start, end) of the mention.
        cues: All cues, stops and affirming phrases of the sentence, without overlap; `restart` phrases (", a") and the
            end of a list behind a `last` word ("or") end what a denial before them denies, or a doubt doubts.
        groups: Key of a cue to what it does.

    Returns:
        The assertion (positive where no cue acts) and the cue that decided, empty if none.
    """
    inside = [cue for cue in cues if clause[0] <= cue.start < clause[1]]
    stops = [cue.start for cue in inside if cue.key == "stop"]
    restarts = [cue.start for cue in inside if cue.key == "restart"]
    last = [cue for cue in inside if cue.key == "last"]
    restarts += _list_end(folded, clause, last)
    acting: dict[str, str] = {}
    for cue in inside:
        group = groups.get(cue.key)
        if group is None or not _acts(folded, cue, mention, group, stops, last):
            continue
        if group.assertion not in ENDED or not any(cue.end <= place < mention[0] for place in restarts):
            acting.setdefault(group.assertion, cue.phrase)
    for assertion in PRIORITY:
        if assertion in acting:
            return assertion, acting[assertion]
    return "positive", ""


def _list_end(folded: str, clause: tuple[int, int], last: Sequence[Match]) -> list[int]:
    """Return where a list ends: at the first comma behind the word before its last item ("no A, B or C, small D")."""
    if not last:
        return []
    comma = folded.find(",", last[-1].end, clause[1])
    return [comma] if comma >= 0 else []


def _acts(
    folded: str,
    cue: Match,
    mention: tuple[int, int],
    group: CueGroup,
    stops: Iterable[int],
    last: Iterable[Match],
) -> bool:
    """Whether the cue's direction, reach, brackets and the stops let it act on the mention."""
    start, end = mention
    if start <= cue.start and cue.end <= end:
        return cue.start > start
    if cue.start < start < cue.end:
        return group.before
    if group.before != (cue.end <= start) or (group.before and _trails(folded, cue)):
        return False
    low, high = (cue.end, start) if group.before else (end, cue.start)
    if low > high or (not group.through and any(low <= stop < high for stop in stops)):
        return False
    between = folded[low:high]
    if len(WORD.findall(between)) > group.reach:
        return False
    ended = any(between.rfind(",") + low < word.start < high for word in last)
    if "," in between and (group.across == "item" or (group.across == "list" and not ended)):
        return False
    return _same_bracket(folded, cue, mention)


def _trails(folded: str, cue: Match) -> bool:
    """Whether the cue is a mark that belongs to what stands before it: "cyst?", unlike "?cyst"."""
    mark = folded[cue.start : cue.end]
    return not WORD.search(mark) and not WORD.match(folded[cue.end : cue.end + 1])


def _same_bracket(folded: str, cue: Match, mention: tuple[int, int]) -> bool:
    """A cue in brackets acts inside them; one that opens them ("nodule (?)") also on what stands before."""
    for bracket in CLOSED.finditer(folded) if "(" in folded else ():
        if bracket.start() < cue.start < bracket.end():
            near = mention[0] if cue.end <= mention[0] else mention[1]
            within = bracket.start() < near <= bracket.end()
            return within or not WORD.search(folded[bracket.start() : cue.start])
    return True
