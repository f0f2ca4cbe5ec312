"""Which language a report is written in."""

import json
from pathlib import Path

import pytest

from preprocess.language import detect_language, resolve_language

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


def test_a_set_language_stays() -> None:
    assert resolve_language("Die Leber ist unauffällig.", "en") == "en"
    assert resolve_language("Die Leber ist unauffällig.", "auto") == "de"
    assert resolve_language("Die Leber ist unauffällig.", Path("own")) == Path("own")
