"""Side and size of a mentioned finding, read from its clause, and sizes that define one."""

import re
from collections.abc import Iterable

from preprocess.phrases import Match

SIZE = re.compile(
    r"(?P<first>\d+(?:[.,]\d+)?)(?:\s*(?:mm|cm)?\s*[x\u00d7*]\s*(?P<second>\d+(?:[.,]\d+)?))?"
    r"(?:\s*(?:mm|cm)?\s*[x\u00d7*]\s*(?P<third>\d+(?:[.,]\d+)?))?\s*-?\s*(?P<unit>mm|cm)\b"
)
MAX_SIZE_MM = 600.0
WORD = re.compile(r"[^\W\d_]{3,}")


def size_mm(folded: str, clause: tuple[int, int], mention: tuple[int, int]) -> float | None:
    """Return the largest diameter in mm of the measurement nearest to the mention in its clause, None without one."""
    best: tuple[int, float] | None = None
    for match in SIZE.finditer(folded, *clause):
        numbers = [float(match[name].replace(",", ".")) for name in ("first", "second", "third") if match[name]]
        size = max(numbers) * (10.0 if match["unit"] == "cm" else 1.0)
        distance = max(match.start() - mention[1], mention[0] - match.end(), 0)
        if 0 < size <= MAX_SIZE_MM and (best is None or distance < best[0]):
            best = (distance, round(size, 2))
    return None if best is None else best[1]


def measured_mm(folded: str, clause: tuple[int, int], place: int) -> float | None:
    """Return the largest diameter in mm of the measurement that follows `place` directly in its clause, if one does."""
    match = SIZE.search(folded, place, clause[1])
    if match is None or WORD.search(folded, place, match.start()):
        return None
    return size_mm(folded, match.span(), match.span())


def side(clause: tuple[int, int], mention: tuple[int, int], sides: Iterable[Match]) -> str | None:
    """Return left, right or both, whichever of the `sides` found stands nearest to the mention in its clause.

    Where left and right stand side by side ("in the right and left kidney"), the answer is both.
    """
    nearest: dict[str, tuple[int, int]] = {}
    for match in sides:
        if clause[0] <= match.start < clause[1]:
            distance = max(match.start - mention[1], mention[0] - match.end, 0)
            nearest[match.key] = min(nearest.get(match.key, (distance, match.start)), (distance, match.start))
    if not nearest:
        return None
    if {"left", "right"} <= set(nearest) and abs(nearest["left"][1] - nearest["right"][1]) <= SIDE_BY_SIDE:
        return "both"
    return min(nearest, key=lambda name: (nearest[name], name))


SIDE_BY_SIDE = 12
