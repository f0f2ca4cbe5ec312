"""What a study's volumes cover, and what of a reading is left."""

import pandas as pd
import pytest

from preprocess.reading import ReportReading
from preprocess.report_coverage import covered_anatomies, restrict_reading
from preprocess.report_reader import read_report
from preprocess.vocabulary_files import load_vocabulary

VOCABULARY = load_vocabulary("ct54")
EXTENTS = [
    ("shown", {"lung": ["complete"]}, "lung", True),
    ("cut", {"liver": ["truncated"]}, "liver", True),
    ("in one volume of two", {"liver": ["absent", "truncated"]}, "liver", True),
    ("in none of two", {"liver": ["absent", "absent"]}, "liver", False),
    ("missed beside a whole liver", {"liver": ["complete"], "gallbladder": ["absent"]}, "gallbladder", True),
    ("below a cut liver", {"liver": ["truncated"], "gallbladder": ["absent"]}, "gallbladder", False),
    ("not cropped", {"liver": ["complete"]}, "bladder", True),
]


@pytest.mark.parametrize(
    ("extents", "anatomy", "covered"), [case[1:] for case in EXTENTS], ids=[case[0] for case in EXTENTS]
)
def test_coverage(extents: dict[str, list[str]], anatomy: str, covered: bool) -> None:
    rows = [("s", name, extent) for name, found in extents.items() for extent in found]
    manifest = pd.DataFrame(rows, columns=["study_id", "anatomy", "extent"])
    assert (anatomy in covered_anatomies(manifest, VOCABULARY.anatomies)["s"]) is covered


@pytest.fixture(scope="module")
def reading() -> ReportReading:
    text = "The liver is normal. 12 mm cyst in the left kidney. The gallbladder was removed. Emphysema."
    return read_report(text, VOCABULARY)


def test_what_is_not_covered_is_unmentioned(reading: ReportReading) -> None:
    restricted, left_out = restrict_reading(reading, {"lung", "liver"}, VOCABULARY)
    assert left_out == ("kidney",)
    status = {name: one.status for name, one in restricted.anatomies.items() if one.status != "unmentioned"}
    assert status == {"gallbladder": "removed", "liver": "normal", "lung": "abnormal"}
    assert restricted.anatomies["kidney"].text == ""
    assert (restricted.labels["kidney.cyst"], restricted.labels["lung.emphysema"]) == (None, 1)
    assert [one.finding for one in restricted.evidence] == ["lung.emphysema"]
    assert restricted.sentences == reading.sentences


def test_full_coverage_changes_nothing(reading: ReportReading) -> None:
    assert restrict_reading(reading, VOCABULARY.anatomies, VOCABULARY) == (reading, ())


def test_findings_outside_all_anatomies_stay() -> None:
    words = load_vocabulary("ct_rate18")
    reading = read_report("Enlarged mediastinal lymph nodes. Cardiomegaly.", words)
    restricted, left_out = restrict_reading(reading, (), words)
    assert (restricted.labels["Lymphadenopathy"], restricted.labels["Cardiomegaly"]) == (1, None)
    assert left_out == ("heart",)
