"""Who is examined when: patients, their studies, identifiers and dates, drawn from the seed alone."""

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from preprocess.simulate.dicom import build_uid
from preprocess.simulate.site import Site

FIRST_DAY = date(2017, 1, 2)
DAYS = 2200


@dataclass(frozen=True)
class StudyIdentity:
    """One study to be simulated.

    Attributes:
        index: Position in the archive, from 0.
        patient: Position of the patient, from 0.
        visit: Position among the patient's studies, from 0.
        study_uid: StudyInstanceUID, which is the study's key.
        patient_id: PatientID.
        accession: AccessionNumber.
        day: Date of the study.
        first_day: Date of the patient's first study.
        years: Full years since the patient's first study.
        time: HHMMSS.
    """

    index: int
    patient: int
    visit: int
    study_uid: str
    patient_id: str
    accession: str
    day: date
    first_day: date
    years: int
    time: str


def stream(seed: int, *names: object) -> np.random.Generator:
    """Return the generator of one named purpose: the same for the same seed and names, whoever asks and when."""
    digest = hashlib.sha256("\x1f".join(map(str, (seed, *names))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def draw_identities(studies: int, seed: int, site: Site) -> list[StudyIdentity]:
    """Draw patients with one or several studies until there are `studies`."""
    found: list[StudyIdentity] = []
    patient = 0
    while len(found) < studies:
        rng = stream(seed, site.name, "patient", patient)
        again = rng.random(2) < site.repeat
        visits = 1 + int(again[0]) + int(again[0] and again[1])
        number = int(rng.integers(10**8, 10**9))
        first = FIRST_DAY + timedelta(days=int(rng.integers(DAYS)))
        gaps = np.cumsum([0, *rng.integers(20, 800, size=2)])
        for visit in range(min(visits, studies - len(found))):
            clock = int(rng.integers(7 * 3600, 20 * 3600))
            found.append(
                StudyIdentity(
                    index=len(found),
                    patient=patient,
                    visit=visit,
                    study_uid=build_uid("study", seed, site.name, patient, visit),
                    patient_id=f"{site.name}{number}{patient:05d}",
                    accession=f"{rng.integers(10**7, 10**8)}{len(found):05d}",
                    day=first + timedelta(days=int(gaps[visit])),
                    first_day=first,
                    years=int(gaps[visit]) // 365,
                    time=f"{clock // 3600:02d}{clock // 60 % 60:02d}{clock % 60:02d}",
                )
            )
        patient += 1
    return found
