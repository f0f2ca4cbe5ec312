"""Which language a report is written in."""

import json
from pathlib import Path

import pytest

from preprocess.language import detect_language, resolve_languages
from preprocess.reading import ReportPart
from preprocess.report_reader import read_study
from preprocess.vocabulary_files import load_vocabulary

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Die Leber ist unauffällig.", "de"),
        ("Milz o. B.", "de"),
        ("LEBER UNAUFFAELLIG, NIEREN OHNE STAUUNG", "de"),
        ("Kein Pleuraerguss.", "de"),
        ("The liver is normal.", "en"),
        ("No pleural effusion.", "en"),
        ("FINDINGS: LIVER UNREMARKABLE", "en"),
        ("CT Abdomen. Leber und Milz unauffällig. Colon, Pankreas regelrecht.", "de"),
        ("", "en"),
        ("12345 +++", "en"),
    ],
)
def test_detection(text: str, language: str) -> None:
    assert detect_language(text) == language


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_invented_report_is_told(language: str) -> None:
    reports = json.loads((BENCHMARKS / f"invented_reports_{language}.json").read_text(encoding="utf-8"))
    assert {detect_language(report["text"]) for report in reports.values()} == {language}


GERMAN, ENGLISH = "Die Leber ist unauffällig.", "The liver is normal."


def test_each_text_has_its_own_language_unless_one_is_set() -> None:
    assert resolve_languages([GERMAN, ENGLISH]) == ["de", "en"]
    assert resolve_languages([GERMAN, ENGLISH], "en") == ["en", "en"]
    assert resolve_languages([GERMAN, ENGLISH], Path("own")) == [Path("own"), Path("own")]


def test_a_text_that_does_not_tell_is_in_the_language_of_the_others() -> None:
    assert resolve_languages([GERMAN, "Idem."]) == ["de", "de"]


def test_reports_of_one_study_are_read_each_in_its_own_language() -> None:
    parts = [ReportPart("Die Gallenblase ist steinfrei. Milz unauffällig."), ReportPart("A renal cyst.", "addendum")]
    reading = read_study(parts, load_vocabulary("ct54"))
    assert reading.labels["gallbladder.gallstone"] == 0
    assert reading.labels["kidney.cyst"] == 1
    assert reading.anatomies["spleen"].status == "normal"
