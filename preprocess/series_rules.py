"""The rules by which series are told apart and ranked, read from `data/series.yaml`."""

import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

CONTRAST = "contrast"
"""Phase of a series whose header names a contrast agent and no phase."""

Criterion = Literal["axial", "original", "soft", "thin", "many", "phase"]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Fragment(_Entry):
    """From when on a series is a fragment.

    Attributes:
        share: Of the longest axial series' coverage, within its range.
        mm: Coverage below which it is one in any case.
    """

    share: float = Field(ge=0, le=1)
    mm: float = Field(ge=0)


class NumberedKernel(_Entry):
    """Kernels that carry their sharpness as a number.

    Attributes:
        pattern: Its first group is the number.
        sharp_from: From which on a kernel is sharp; `from` in the file.
    """

    pattern: str
    sharp_from: int = Field(alias="from")


class SharpKernels(_Entry):
    """Kernels that are meant for lung or bone.

    Attributes:
        words: Parts of their names.
        names: Whole names.
        numbered: Names with a number.
    """

    words: tuple[str, ...]
    names: tuple[str, ...]
    numbered: tuple[NumberedKernel, ...]


class SeriesRules(_Entry):
    """All of `data/series.yaml`, whose comments say what each entry means."""

    version: Literal[1] = Field(alias="schema")
    min_slices: int = Field(ge=2)
    fragment: Fragment
    same_region: float = Field(gt=0, le=1)
    order: tuple[Criterion, ...]
    phases: dict[str, tuple[str, ...]]
    phase_order: tuple[str, ...]
    sharp: SharpKernels


@cache
def load_series_rules() -> SeriesRules:
    """The shipped rules.

    Raises:
        ValueError: The file is damaged.
    """
    text = (files("preprocess") / "data" / "series.yaml").read_text(encoding="utf-8")
    return SeriesRules.model_validate(yaml.safe_load(text))


def phase_of(description: str, contrast: bool | None) -> tuple[str | None, str | None]:
    """Contrast phase and the header it was read from; (None, None) where nothing tells."""
    text = _plain(description)
    for phase, patterns in load_series_rules().phases.items():
        if any(re.search(pattern, text) for pattern in patterns):
            return phase, "description"
    return (CONTRAST, "contrast agent") if contrast else (None, None)


def is_sharp(kernel: str | None) -> bool:
    """Whether a kernel is meant for lung or bone; unknown kernels count as soft."""
    text, sharp = _plain(kernel or "").strip(), load_series_rules().sharp
    if text in sharp.names or any(re.search(word, text) for word in sharp.words):
        return True
    found = ((re.search(kind.pattern, text), kind.sharp_from) for kind in sharp.numbered)
    return next((int(match.group(1)) >= limit for match, limit in found if match), False)


def phase_rank(phase: str | None, order: tuple[str, ...] | None = None) -> int:
    """Place of a phase in an order of preference, by default that of the rules; unknown ones come last."""
    order = load_series_rules().phase_order if order is None else order
    return order.index(phase) if phase in order else len(order)


def _plain(text: str) -> str:
    """Lower case without accents: `Spätphase` becomes `spatphase`."""
    split = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in split if not unicodedata.combining(letter)).replace("_", " ")
