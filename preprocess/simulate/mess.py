"""Makes simulated studies as messy as real ones, one case a study, and says what must happen to each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import yaml

from preprocess.errors import InputError, Reason
from preprocess.simulate import mess_files, mess_headers, mess_pixels, mess_series
from preprocess.simulate.identity import StudyIdentity, stream
from preprocess.simulate.messy_study import MessyStudy

Make = Callable[[MessyStudy], None]


@dataclass(frozen=True)
class Case:
    """One way to be messy.

    Attributes:
        name: Identifier.
        what: What is wrong or unusual.
        happens: What becomes of the study, in words.
        outcome: Whether the study must be in the store.
        rate: Share of the studies that get it under `mess=real`.
        reason: Of the refusal.
        message: What the refusal's message says.
        flag: What the flags of a stored volume say.
        left_out: What the table of series says of one that is not taken.
        key: By which key the study is known.
    """

    name: str
    what: str
    happens: str
    outcome: Literal["stored", "refused"]
    rate: float
    reason: Reason | None = None
    message: str | None = None
    flag: str | None = None
    left_out: str | None = None
    key: Literal["study_uid", "accession"] = "study_uid"

    @property
    def make(self) -> Make:
        """What makes a study so."""
        return makers()[self.name]

    def row(self, identity: StudyIdentity) -> dict[str, object]:
        """Row of `truth/mess.parquet` of a study that got it."""
        expected = {name: getattr(self, name) for name in ("outcome", "reason", "message", "flag", "left_out")}
        return {**_keys(identity, self.key), "case": self.name, **expected}


def clean_row(identity: StudyIdentity) -> dict[str, object]:
    """Row of `truth/mess.parquet` of a study that got no case."""
    empty = dict.fromkeys(("case", "reason", "message", "flag", "left_out"))
    return {**_keys(identity, "study_uid"), **empty, "outcome": "stored"}


def _keys(identity: StudyIdentity, key: str) -> dict[str, object]:
    known = {"study_uid": identity.study_uid, "accession": identity.accession}
    return {"study_id": identity.study_uid, "patient_id": identity.patient_id, "key": known[key]}


@cache
def makers() -> Mapping[str, Make]:
    """Name to function of every case: the public functions of the modules of cases."""
    found: dict[str, Make] = {}
    for module in (mess_files, mess_headers, mess_pixels, mess_series):
        own = (value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__)
        found |= {make.__name__: make for make in own if callable(make) and not make.__name__.startswith("_")}
    return found


@cache
def load_cases() -> Mapping[str, Case]:
    """All cases by name, in the order of the data file."""
    table = yaml.safe_load(Path(__file__).with_name("mess.yaml").read_text(encoding="utf-8"))
    return {
        name: Case(**{"name": name, **entry, "reason": Reason(entry["reason"]) if "reason" in entry else None})
        for name, entry in table["cases"].items()
    }


def draw_case(mess: str, identity: StudyIdentity, seed: int, site: str) -> str | None:
    """Name of the case that a study gets, or None.

    Args:
        mess: `none`; `real`: at the rates of `mess.yaml`; `all`, or names with commas: in turn.
        identity: The study.
        seed: Seed of the archive.
        site: Name of the hospital.

    Raises:
        InputError: `mess` names no case.
    """
    cases = load_cases()
    if mess == "none":
        return None
    if mess == "real":
        ends = np.cumsum([case.rate for case in cases.values()])
        drawn = stream(seed, site, "mess", identity.patient, identity.visit).random()
        return next((name for name, end in zip(cases, ends, strict=True) if drawn < end), None)
    names = list(cases) if mess == "all" else [name.strip() for name in mess.split(",")]
    unknown = [name for name in names if name not in cases]
    if unknown:
        raise InputError(f"mess={unknown[0]!r} is unknown; it is none, real, all, or some of {', '.join(cases)}")
    return names[identity.index % len(names)]


def make_messy(name: str, folder: Path, mask: Path, primary: Path, rng: np.random.Generator) -> None:
    """Changes the files of a study into a case.

    Args:
        name: Of the case.
        folder: The study's, with one folder a series.
        mask: Its label map.
        primary: Folder of the series that the label map was made from.
        rng: Source of chance.
    """
    load_cases()[name].make(MessyStudy(folder, mask, primary, rng))
