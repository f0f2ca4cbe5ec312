"""One opinion of the simulated radiologist, and the sentence that states it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from preprocess.simulate.grammar import KEEP, Phrase
from preprocess.simulate.wording_schema import Degrees, Wording

_SIDE_SLOTS = frozenset({"side", "organ"})
T = TypeVar("T")


@dataclass(frozen=True)
class Opinion:
    """What the radiologist thinks of one finding; fields as in `report.Statement`.

    Args:
        finding: Id, `anatomy.finding`.
        assertion: Stated or left open.
        severity: 0 to 1; chooses words of degree.
        side: "left", "right", "both" or None.
        part: Sub-part or None.
        size_mm: As measured by hand, or None.
        swapped: The side is wrong, so that the sentence must name it.
    """

    finding: str
    assertion: Literal["positive", "uncertain"]
    severity: float
    side: str | None = None
    part: str | None = None
    size_mm: float | None = None
    swapped: bool = False

    @property
    def anatomy(self) -> str:
        """The anatomy that the finding belongs to."""
        return self.finding.split(".")[0]


def pick(options: Sequence[T], rng: np.random.Generator) -> T:
    """Return one of `options`."""
    return options[int(rng.integers(len(options)))]


def side_is_sayable(opinion: Opinion, wording: Wording) -> bool:
    """Return whether the site has a sentence for this opinion that names its side."""
    return any(_names_side(phrase, opinion) for phrase in _sayable(opinion, wording))


def state(opinion: Opinion, wording: Wording, rng: np.random.Generator, *, brief: bool = False) -> str:
    """Return a sentence for an opinion; `brief` gives the impression's short form."""
    values = _values(opinion, wording, rng)
    if brief and opinion.assertion == "uncertain":
        noun = pick(wording.findings[opinion.finding].nouns, rng)
        return pick(wording.impression_hedges, rng).render({"noun": noun}, rng)
    phrases = _sayable(opinion, wording)
    if brief:
        brief_phrases = _fitting(wording.findings[opinion.finding].impression, values)
        phrases = phrases if opinion.side == "both" and rng.random() < 0.7 else brief_phrases
    if opinion.swapped and not brief:
        phrases = [phrase for phrase in phrases if _names_side(phrase, opinion)]
    return pick(phrases, rng).render(values, rng, keep=1.0 if opinion.swapped else KEEP)


def _sayable(opinion: Opinion, wording: Wording) -> list[Phrase]:
    entry = wording.findings[opinion.finding]
    values = _values(opinion, wording, None)
    if opinion.assertion == "uncertain":
        return _fitting(entry.hedged, values)
    if opinion.side == "both" and entry.both:
        return _fitting(entry.both, values)
    return _fitting(entry.positive, values)


def _fitting(phrases: Iterable[Phrase], values: dict[str, str]) -> list[Phrase]:
    return [phrase for phrase in phrases if phrase.required <= values.keys()]


def _names_side(phrase: Phrase, opinion: Opinion) -> bool:
    in_part = opinion.part is not None and (opinion.side or "") in opinion.part.replace("_", " ").split()
    return bool(phrase.slots & (_SIDE_SLOTS | {"part"} if in_part else _SIDE_SLOTS))


def _values(opinion: Opinion, wording: Wording, rng: np.random.Generator | None) -> dict[str, str]:
    """Return the slots that an opinion can fill; without `rng` only their names count."""
    anatomy = wording.anatomies[opinion.anatomy]
    values = {"degree": _degree(wording.degree, opinion, rng), "degreely": _degree(wording.degreely, opinion, rng)}
    if opinion.side in ("left", "right"):
        values["side"] = opinion.side
    if opinion.side in ("left", "right", "both") and opinion.side in anatomy.sides:
        values["organ"] = anatomy.sides[opinion.side]
    if opinion.part and opinion.side != "both":
        part = opinion.part.replace("_", " ")
        values["part"] = anatomy.parts.get(part, part if part.startswith("the ") else f"the {part}")
    if opinion.size_mm is not None:
        two = opinion.finding in wording.size.two_dimensional
        values["size"] = "" if rng is None else _size(opinion.size_mm, wording, rng, two_dimensional=two)
    return values


def _degree(degrees: Degrees, opinion: Opinion, rng: np.random.Generator | None) -> str:
    words = degrees.low if opinion.severity < 1 / 3 else degrees.middle if opinion.severity < 2 / 3 else degrees.high
    return words[0] if rng is None else pick(words, rng)


def _size(size_mm: float, wording: Wording, rng: np.random.Generator, *, two_dimensional: bool) -> str:
    style = pick(wording.size.styles, rng)
    sides = [size_mm, size_mm * float(rng.uniform(0.7, 1.0))] if two_dimensional and rng.random() < 0.3 else [size_mm]
    if style == "cm" and size_mm >= 10:
        return " x ".join(f"{side / 10:.1f}" for side in sides) + " cm"
    text = ("x" if style == "approx" else " x ").join(f"{max(1, round(side))}" for side in sides) + " mm"
    return f"approximately {text}" if style == "approx" and rng.random() < 0.5 else text
