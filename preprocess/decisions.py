"""The user's listed decisions on single studies: accept, refuse or turn what the rules would treat otherwise."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from preprocess.errors import InputError, Reason, StudyError
from preprocess.geometry import Affine, canonical, directions, lps_from_index
from preprocess.quality import implausible_hu
from preprocess.volume import LabelMap, Volume

Action = Literal["accept", "refuse", "resample", "flip_left_right", "flip_front_back", "flip_head_feet"]
ACTIONS: tuple[Action, ...] = get_args(Action)
COLUMNS = ("study", "series", "action", "reason")
_AXES: Mapping[str, int] = {"flip_head_feet": 0, "flip_front_back": 1, "flip_left_right": 2}  # of (z, y, x)


@dataclass(frozen=True)
class Decision:
    """One row of the file, without its study.

    Attributes:
        series: Name of the series, or empty for all of the study.
        action: What to do.
        reason: Why, in the user's words.
    """

    series: str
    action: Action
    reason: str


Decisions = Mapping[str, tuple[Decision, ...]]
"""Study key to its decisions."""


def read_decisions(path: Path) -> Decisions:
    """Decisions by study key, from a csv with the columns study, series (may be empty), action and reason.

    Raises:
        InputError: The file cannot be read, lacks a column, or a row is incomplete, unknown or contradicts another.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"decisions {path} has no column {missing[0]!r}; it needs {', '.join(COLUMNS)}")
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"decisions {path} cannot be read: {error}") from error
    found: dict[str, list[Decision]] = defaultdict(list)
    for line, row in rows:
        study, series, action, reason = ((row[name] or "").strip() for name in COLUMNS)
        known = next((name for name in ACTIONS if name == action), None)
        if known is None:
            raise InputError(f"decisions {path}, line {line}: action {action!r} is none of {', '.join(ACTIONS)}")
        if not study or not reason:
            raise InputError(f"decisions {path}, line {line}: {'study' if not study else 'reason'} is empty")
        found[study].append(Decision(series, known, reason))
    for study, decisions in found.items():
        _check(path, study, decisions)
    return {study: tuple(decisions) for study, decisions in sorted(found.items())}


def _check(path: Path, study: str, decisions: Sequence[Decision]) -> None:
    for decision in decisions:
        same = [other for other in decisions if other.series == decision.series]
        actions = [other.action for other in same]
        if len(set(actions)) < len(actions) or ("refuse" in actions and len(actions) > 1):
            raise InputError(f"decisions {path}: study {study!r} has rows that contradict or repeat each other")


def decisions_of(decisions: Decisions, keys: Iterable[str]) -> tuple[Decision, ...]:
    """Decisions on the study that is known by these keys."""
    return tuple(decision for key in dict.fromkeys(keys) for decision in decisions.get(key, ()))


@dataclass(frozen=True)
class Ruling:
    """What was decided on one series.

    Attributes:
        refusal: Why it is left out, or None.
        acceptance: Why it is taken although its values are implausible, or None.
        resample: Whether gaps between its slices are filled.
        flips: Axes of (z, y, x) to reverse.
        flags: What to note of it.
    """

    refusal: str | None = None
    acceptance: str | None = None
    resample: bool = False
    flips: tuple[int, ...] = ()
    flags: tuple[str, ...] = ()


def ruling_on(decisions: Iterable[Decision], series: str) -> Ruling:
    """What a study's decisions say on one of its series; rows that name the series go before those of the study."""
    own = {decision.action: decision for decision in decisions if decision.series in ("", series)}
    own |= {decision.action: decision for decision in decisions if decision.series == series}
    if "refuse" in own:
        return Ruling(refusal=f"refused by decision: {own['refuse'].reason}")
    flips = [own[action] for action in ACTIONS if action in own and action in _AXES]
    return Ruling(
        acceptance=own["accept"].reason if "accept" in own else None,
        resample="resample" in own,
        flips=tuple(_AXES[flip.action] for flip in flips),
        flags=tuple(f"{flip.action} by decision: {flip.reason}" for flip in flips),
    )


def check_ruling(ruling: Ruling) -> None:
    """Refuses a series before it is read, where that was decided.

    Raises:
        StudyError: `NO_VOLUME`.
    """
    if ruling.refusal is not None:
        raise StudyError(Reason.NO_VOLUME, ruling.refusal)


def judged(volume: Volume, ruling: Ruling) -> Volume:
    """The volume, past the HU gate (`quality.check_hu`); one that was accepted by decision is flagged.

    Raises:
        StudyError: `HU_IMPLAUSIBLE`.
    """
    cause = implausible_hu(volume.hu)
    if cause is None:
        return volume
    if ruling.acceptance is None:
        raise StudyError(Reason.HU_IMPLAUSIBLE, cause)
    flag = f"accepted by decision: {ruling.acceptance} (the gate said: {cause})"
    return replace(volume, flags=(*volume.flags, flag))


def turned_volume(volume: Volume, ruling: Ruling) -> Volume:
    """The volume with the axes reversed that its header has wrong; it keeps its place."""
    if not ruling.flips:
        return volume
    hu = np.ascontiguousarray(np.flip(volume.hu, ruling.flips))
    return replace(volume, hu=hu, flags=(*volume.flags, *ruling.flags))


def turned_labels(label_map: LabelMap, volume: Volume, ruling: Ruling) -> LabelMap:
    """A label map made under the wrong header, reflected in the middle of the volume as the volume was.

    Args:
        label_map: On its own grid.
        volume: Turned or not: its place is the same.
        ruling: On the volume's series.
    """
    if not ruling.flips:
        return label_map
    array: npt.NDArray[Any] = label_map.labels
    affine = label_map.affine
    for axis in ruling.flips:
        affine = _reflection(volume, axis) @ affine
    labels, affine = canonical(array, affine)
    return LabelMap(labels, affine, label_map.names)


def _reflection(volume: Volume, axis: int) -> Affine:
    """4x4, LPS mm to LPS mm: reflects in the plane through the middle of a volume, across one of its axes."""
    along = directions(volume.affine)[:, axis]
    middle = lps_from_index(volume.affine, (np.array(volume.shape) - 1) / 2)
    reflection = np.eye(4)
    reflection[:3, :3] -= 2 * np.outer(along, along)
    reflection[:3, 3] = 2 * along * (middle @ along)
    return reflection
