"""What a simulated study says of persons and places: in its headers, in its report, and in the truth beside it."""

from dataclasses import dataclass

from preprocess.simulate.dicom import PRIVATE_NOTE
from preprocess.simulate.identity import StudyIdentity, stream
from preprocess.simulate.persona import Language, Persona, draw_persona
from preprocess.simulate.planted import Planted, plant_identifiers, telling_words
from preprocess.simulate.site import SiteName

REPORTS_THAT_NAME = 0.8
"""Share of reports into which identifiers are planted; set by hand. The others leave that to the table's columns."""


@dataclass(frozen=True)
class People:
    """Whom one study names, and where.

    Attributes:
        headers: DICOM keyword to value; `dicom.PRIVATE_NOTE` stands in a private group.
        text: The report with what was planted into it.
        planted: Place ("report" or a keyword) and identifier, in order.
    """

    headers: dict[str, str]
    text: str
    planted: tuple[tuple[str, Planted], ...]


def name_people(
    identity: StudyIdentity, text: str, *, age_years: int, seed: int, site: SiteName, language: Language | None
) -> People:
    """Draw the people of a study and plant them, from random streams of their own.

    Args:
        identity: The study.
        text: Its report.
        age_years: At the study, in full years since the first one.
        seed: Seed of the archive.
        site: Whose names, places and wording.
        language: Of these; None names nobody.
    """
    if language is None:
        return People(_no_headers(identity, age_years), text, ())
    persona = draw_persona(
        identity,
        stream(seed, "persona", identity.patient),
        stream(seed, "persona study", identity.index),
        site=site,
        language=language,
        age_years=age_years - identity.years,
    )
    rng = stream(seed, "planted", identity.index)
    found: tuple[Planted, ...] = ()
    if rng.random() < REPORTS_THAT_NAME:
        text, found = plant_identifiers(text, persona, rng, site=site, language=language)
    placed = (*_placed_in_headers(persona), *(("report", one) for one in found))
    return People(_headers(persona), text, placed)


def _no_headers(identity: StudyIdentity, age_years: int) -> dict[str, str]:
    return {
        "PatientName": f"Simulated^{identity.patient_id}",
        "PatientBirthDate": f"{identity.day.year - age_years}0101",
        "ReferringPhysicianName": "",
        "InstitutionName": "Simulated hospital",
    }


def _headers(persona: Persona) -> dict[str, str]:
    return {
        "PatientName": persona.dicom_name,
        "PatientBirthDate": f"{persona.born:%Y%m%d}",
        "ReferringPhysicianName": persona.dicom_referrer,
        "PerformingPhysicianName": "^".join(reversed(persona.performer)),
        "OperatorsName": "^".join(reversed(persona.operator)),
        "InstitutionName": persona.institution,
        "InstitutionAddress": persona.address,
        "StationName": persona.station,
        PRIVATE_NOTE: f"{persona.dicom_name} {persona.patient_id}",
    }


def _placed_in_headers(persona: Persona) -> list[tuple[str, Planted]]:
    """Keyword and identifier of everything in the headers that names somebody, some place or a day."""
    headers = _headers(persona)
    numbers = {
        "PatientID": persona.patient_id,
        "AccessionNumber": persona.accession,
        "StudyInstanceUID": persona.study_uid,
        "StationName": persona.station,
    }
    days = {"PatientBirthDate": persona.born, "StudyDate": persona.day}
    names = ("PatientName", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", PRIVATE_NOTE)
    written = {name: headers[name] for name in names}
    found = [
        (name, Planted("name", True, text, telling_words(text.replace("^", " ")))) for name, text in written.items()
    ]
    found += [(name, Planted("id", True, text, (text,))) for name, text in numbers.items()]
    found += [
        (name, Planted("date", True, f"{day:%Y%m%d}", (f"{day:%Y%m%d}", f"{day:%Y-%m-%d}")))
        for name, day in days.items()
    ]
    place, address = persona.institution, persona.address
    found.append(("InstitutionName", Planted("institution", True, place, (place,))))
    found.append(("InstitutionAddress", Planted("address", True, address, (address, *address.split(", ", 1)))))
    return found
