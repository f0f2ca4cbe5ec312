"""Who a simulated study belongs to, from names that only the simulator reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import yaml

from preprocess.simulate.identity import StudyIdentity
from preprocess.simulate.site import SiteName

Language = Literal["en", "de"]
Option = TypeVar("Option")


@dataclass(frozen=True)
class Persona:
    """Who a simulated study belongs to; also what its DICOM headers say.

    Attributes:
        given: Given name.
        family: Family name.
        born: Day of birth.
        referrer: Referring physician, given and family name.
        institution: Name of the hospital.
        patient_id: As in the headers, like `accession` and `study_uid`.
        day: Of the study.
    """

    given: str
    family: str
    born: date
    referrer: tuple[str, str]
    institution: str
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


def draw_persona(
    identity: StudyIdentity,
    patient: np.random.Generator,
    study: np.random.Generator,
    *,
    site: SiteName = "A",
    language: Language = "en",
) -> Persona:
    """Draw who a study belongs to.

    Args:
        identity: The study.
        patient: The same for all studies of the patient.
        study: The study's own.
        site: Whose names and places.
        language: Of names and places.
    """
    names = read_names(site, language)
    born = identity.day - timedelta(days=365 * identity.years + int(patient.integers(20 * 365, 88 * 365)))
    return Persona(
        given=pick(names["given"], patient),
        family=pick(names["family"], patient),
        born=born,
        referrer=(pick(names["given"], study), pick(names["family"], study)),
        institution=pick(names["hospitals"], study),
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
