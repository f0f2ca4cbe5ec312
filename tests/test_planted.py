"""Planted identifiers stand in the report, and the rules find nearly all of them."""

import numpy as np
import pytest

from preprocess.deidentify import Deidentifier
from preprocess.known_identifiers import KnownIdentifiers
from preprocess.simulate.identity import draw_identities, stream
from preprocess.simulate.persona import draw_persona
from preprocess.simulate.planted import Planted, left_over, plant_identifiers
from preprocess.simulate.site import load_site

REPORT = "FINDINGS:\nThe liver is normal. There is a cyst in the left kidney. No ascites.\nIMPRESSION:\n1. Renal cyst."
DEIDENTIFIER = Deidentifier()


def planted_reports(count, site, language):
    for identity in draw_identities(count, 3, load_site(site)):
        persona = draw_persona(
            identity, stream(3, identity.patient), stream(3, "study", identity.index), site=site, language=language
        )
        rng = stream(3, "planted", identity.index)
        yield persona, *plant_identifiers(REPORT, persona, rng, site=site, language=language)


def known_of(persona):
    return KnownIdentifiers(
        (persona.dicom_name, persona.dicom_referrer),
        (persona.patient_id, persona.accession, persona.study_uid),
        (persona.born,),
        (persona.institution,),
    )


@pytest.mark.parametrize("site", ["A", "B"])
@pytest.mark.parametrize("language", ["en", "de"])
def test_recall_on_planted_identifiers(site, language):
    kinds, missed, total = set(), 0, 0
    for persona, text, planted in planted_reports(150, site, language):
        cleaned = DEIDENTIFIER.apply(text, known_of(persona)).text
        kinds |= {(one.kind, one.known) for one in planted}
        total += len(planted)
        missed += sum(bool(left_over(one, cleaned, REPORT)) for one in planted)
        assert all(one.written in text for one in planted)
        assert "cyst in the left kidney." in cleaned
    assert {kind for kind, _ in kinds} == {"name", "date", "id", "contact", "address", "institution"}
    assert ("name", True) in kinds
    assert ("name", False) in kinds
    assert total > 500
    assert 1 - missed / total >= 0.99


def test_the_same_seed_plants_the_same():
    assert list(planted_reports(5, "A", "de")) == list(planted_reports(5, "A", "de"))


def test_a_patient_keeps_name_and_birthday_in_all_studies():
    identities = draw_identities(60, 1, load_site("A"))
    people = {}
    for identity in identities:
        persona = draw_persona(identity, stream(1, identity.patient), np.random.default_rng(identity.index))
        people.setdefault(identity.patient, set()).add((persona.given, persona.family, persona.dicom_name))
    assert len(people) < len(identities)
    assert all(len(names) == 1 for names in people.values())


@pytest.mark.parametrize(
    ("cleaned", "original", "left"),
    [
        ("[name] came", "", ()),
        ("Doe came", "", ("Doe",)),
        ("DOE came", "", ("Doe",)),
        ("a doe came", "a doe came", ()),
        ("Does", "", ()),
    ],
    ids=["gone", "left", "other case", "was there before", "part of a word"],
)
def test_what_is_left_over(cleaned, original, left):
    assert left_over(Planted("name", True, "Jane Doe", ("Doe", "Jane")), cleaned, original) == left
