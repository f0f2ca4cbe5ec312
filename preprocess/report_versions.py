"""Which of a study's reports are read: the latest final one with its addenda, a preliminary one where no other is."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Literal

import yaml

from preprocess.reports import EMPTY_TEXT

State = Literal["withdrawn", "preliminary", "addendum", "final"]
READ, WITHDRAWN, PRELIMINARY, SUPERSEDED = "read", "withdrawn", "preliminary", "superseded"
WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Version:
    """One of the reports that are linked to a study.

    Attributes:
        state: What its status says, None where that is unknown.
        written: When it was written, None where that is unknown.
        order: Its place in the file.
        empty: It has no text.
    """

    state: State | None
    written: datetime | None
    order: int
    empty: bool = False


def read_state(status: str) -> State | None:
    """What a report's status says, by the words of `data/report_status.yaml`; None where they do not know it."""
    cell = " ".join(status.casefold().split())
    if not cell:
        return None
    groups = _status_words()
    exact = next((state for state, (cells, _) in groups.items() if cell in cells), None)
    said = f" {' '.join(WORD.findall(cell))} "
    return exact or next((state for state, (_, words) in groups.items() if any(f" {w} " in said for w in words)), None)


def choose_versions(versions: Sequence[Version]) -> tuple[list[int], list[str]]:
    """Choose what is read of a study's reports.

    The latest of the final reports is read, by the time at which they were written, else by their order in the file;
    where neither status nor time tells reports apart, all of them are. A preliminary report is read where no other is
    there, the latest alone. Addenda are always read.

    Args:
        versions: All that are linked to the study.

    Returns:
        Positions of those that are read, older ones first, and for each version what became of it: read, empty text,
        withdrawn, preliminary (there is a final one) or superseded (by a later one).
    """
    outcomes = [
        WITHDRAWN if version.state == "withdrawn" else EMPTY_TEXT if version.empty else READ for version in versions
    ]
    left = [place for place, outcome in enumerate(outcomes) if outcome == READ]
    finals = [place for place in left if versions[place].state in ("final", None)]
    drafts = [place for place in left if versions[place].state == "preliminary"]
    for place in drafts:
        outcomes[place] = PRELIMINARY if finals else SUPERSEDED
    told = any(versions[place].state == "final" for place in finals) or all(
        versions[place].written is not None for place in finals
    )
    rivals = (finals if told else []) or ([] if finals else drafts)
    for place in rivals:
        outcomes[place] = SUPERSEDED
    if rivals:
        outcomes[max(rivals, key=lambda place: _age(versions[place]))] = READ
    read = [place for place in left if outcomes[place] == READ]
    dated = all(versions[place].written is not None for place in read)
    return sorted(read, key=lambda place: _turn(versions[place], dated=dated)), outcomes


def _age(version: Version) -> tuple[datetime, int]:
    return version.written or datetime.min, version.order


def _turn(version: Version, *, dated: bool) -> tuple[datetime, bool, int]:
    """By time, addenda last at equal times or where not every report has one."""
    written = version.written if dated and version.written is not None else datetime.min
    return written, version.state == "addendum", version.order


@cache
def _status_words() -> Mapping[State, tuple[frozenset[str], tuple[str, ...]]]:
    """Group to the cells and the words that mean it, in the order in which words are looked for."""
    text = (files("preprocess") / "data" / "report_status.yaml").read_text(encoding="utf-8")
    groups = yaml.safe_load(text)
    return {state: (frozenset(group["cells"]), tuple(group["words"])) for state, group in groups.items()}
