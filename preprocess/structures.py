"""TotalSegmentator's structures by number: versions 1 and 2 number and name them differently."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml

Version = Literal["v1", "v2"]
VersionChoice = Literal["v1", "v2", "auto"]

WRONG_SIDE_MM = 20.0
"""A structure of one side whose centre lies this far on the other contradicts its name."""


@cache
def _table() -> dict[str, Any]:
    text = (files("preprocess") / "data" / "structures.yaml").read_text(encoding="utf-8")
    table: dict[str, Any] = yaml.safe_load(text)
    return table


def current_name(structure: str) -> str:
    """The v2 name of a structure that a v1 or v2 file names; other names stay as they are."""
    renamed: dict[str, str] = _table()["renamed_v1"]
    return renamed.get(structure, structure)


def structure_names(version: Version) -> dict[int, str]:
    """Number to v2 structure name of task `total`; in v1 the five heart parts share the name `heart`."""
    table: dict[int, str] = _table()[f"total_{version}"]
    return {number: current_name(name) for number, name in table.items()}


def structure_numbers() -> dict[str, int]:
    """v2 structure name to its v2 number."""
    return {name: number for number, name in structure_names("v2").items()}


def is_structure(name: str) -> bool:
    """Whether a v1 or v2 label map of task `total` can hold a structure of this name."""
    table = _table()
    return any(name in table[key].values() for key in ("total_v1", "total_v2"))


def structures_named(names: Mapping[int, str], structures: Iterable[str]) -> list[int]:
    """All numbers of a label map that belong to one of `structures`, ascending."""
    wanted = {current_name(structure) for structure in structures}
    return sorted(number for number, name in names.items() if name in wanted)


def guess_version(volumes_ml: Mapping[int, float], left_mm: Mapping[int, float]) -> Version:
    """Decide by which version a label map without names is numbered.

    v1 ends at 104, so a larger number settles it. Else each numbering is held against what structures can measure and
    where they can lie: a small bowel read as a subclavian artery is far too large, a right rib read as the left hip is
    on the wrong side. v1 is chosen only where it contradicts less; a draw (such as a map that holds liver and spleen
    alone, numbered alike in both) is v2.

    Args:
        volumes_ml: Number to volume in ml, of every number that occurs.
        left_mm: The same numbers to how far left of the mid-line their centres lie, negative to the patient's right.

    Returns:
        The version whose names fit.
    """
    if any(number > max(_table()["total_v1"]) for number in volumes_ml):
        return "v2"
    first, second = (_contradictions(version, volumes_ml, left_mm) for version in ("v1", "v2"))
    return "v1" if first < second else "v2"


def _contradictions(version: Version, volumes_ml: Mapping[int, float], left_mm: Mapping[int, float]) -> int:
    """Count the structures that would be larger than an adult's can be, or lie on the wrong side."""
    largest: dict[str, float] = _table()["largest_ml"]
    count = 0
    for number, volume in volumes_ml.items():
        name = structure_names(version).get(number, "")
        sides = name.split("_")
        wrong = left_mm[number] if "right" in sides else -left_mm[number] if "left" in sides else 0.0
        count += volume > largest.get(name, float("inf")) or wrong > WRONG_SIDE_MM
    return count
