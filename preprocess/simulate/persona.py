"""Whom a simulated study names, from names and places that only the simulator reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
import yaml

from preprocess.errors import InputError
from preprocess.simulate.identity import StudyIdentity
from preprocess.simulate.site import SiteName

Language = Literal["en", "de"]
Option = TypeVar("Option")


@dataclass(frozen=True)
class Persona:
    """Whom a simulated study names; its report and its DICOM headers tell the same.

    Attributes:
        given: Given name.
        family: Family name.
        born: Day of birth.
        referrer: Referring physician, given and family name.
        institution: Name of the hospital.
        performer: Performing physician, given and family name.
        operator: Radiographer, given and family name.
        address: Of the hospital.
        station: Name of the scanner in the hospital's network.
        patient_id: As in the headers, like `accession` and `study_uid`.
        day: Of the study.
    """

    given: str
    family: str
    born: date
    referrer: tuple[str, str]
    institution: str
    performer: tuple[str, str]
    operator: tuple[str, str]
    address: str
    station: str
    patient_id: str
    accession: str
    study_uid: str
    day: date

    @property
    def dicom_name(self) -> str:
        """The patient's name as DICOM writes it."""
        return f"{self.family}^{self.given}"

    @property
    def dicom_referrer(self) -> str:
        """The referring physician's name as DICOM writes it."""
        return f"{self.referrer[1]}^{self.referrer[0]}"


def parse_language(name: str) -> Language | None:
    """The language of that name; None for "none".

    Raises:
        InputError: There is no such language.
    """
    for language in get_args(Language):
        if name == language:
            return language  # type: ignore[no-any-return]
    if name != "none":
        raise InputError(f"identifiers={name!r} is unknown; it is none, {' or '.join(get_args(Language))}")
    return None


def draw_persona(
    identity: StudyIdentity,
    patient: np.random.Generator,
    study: np.random.Generator,
    *,
    site: SiteName = "A",
    language: Language = "en",
    age_years: int | None = None,
) -> Persona:
    """Draw whom a study names.

    Args:
        identity: The study.
        patient: The same for all studies of the patient.
        study: The study's own.
        site: Whose names and places.
        language: Of names and places.
        age_years: The patient's age at the first study; drawn by default.
    """
    names = read_names(site, language)
    drawn, days = int(patient.integers(20, 88)), int(patient.integers(365))
    born = identity.first_day - timedelta(days=int(365.25 * (drawn if age_years is None else age_years)) + 1 + days)
    return Persona(
        given=pick(names["given"], patient),
        family=pick(names["family"], patient),
        born=born,
        referrer=(pick(names["given"], study), pick(names["family"], study)),
        institution=pick(names["hospitals"], study),
        performer=(pick(names["given"], study), pick(names["family"], study)),
        operator=(pick(names["given"], study), pick(names["family"], study)),
        address=f"{pick(names['streets'], study)} {study.integers(1, 300)}, {pick(names['towns'], study)}",
        station=f"CT{study.integers(10**4, 10**5)}",
        patient_id=identity.patient_id,
        accession=identity.accession,
        study_uid=identity.study_uid,
        day=identity.day,
    )


def pick(options: Sequence[Option], rng: np.random.Generator) -> Option:
    """Draw one of several."""
    return options[int(rng.integers(len(options)))]


@lru_cache
def read_names(site: SiteName, language: Language) -> Mapping[str, tuple[str, ...]]:
    """The people, places and templates of one site."""
    path = Path(__file__).with_name(f"names_{site.lower()}.yaml")
    data = yaml.safe_load(path.read_text(encoding="utf-8"))[language]
    return {
        key: tuple(entry) if isinstance(entry, list) else tuple(part.strip() for part in entry.split(";"))
        for key, entry in data.items()
    }
