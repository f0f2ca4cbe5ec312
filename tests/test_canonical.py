"""One English sentence an anatomy, whatever the report's words."""

from dataclasses import replace

import pytest

from preprocess.canonical import canonical_text, vague_texts
from preprocess.reading import AnatomyReading, Evidence, ReportReading
from preprocess.report_reader import read_report
from preprocess.vocabulary_files import load_vocabulary

VOCABULARY = load_vocabulary("ct54")


def mention(finding, assertion="positive", side=None, size_mm=None):
    return Evidence(finding.split(".")[0], finding, assertion, side, size_mm, 0, "rule")


def reading(status, labels=None, mentions=(), anatomy="kidney"):
    anatomies = {name: AnatomyReading("unmentioned", "") for name in VOCABULARY.anatomies}
    known = {finding.id: None for finding in VOCABULARY.findings}
    return ReportReading(
        (), {**anatomies, anatomy: AnatomyReading(status, "words")}, tuple(mentions), {**known, **(labels or {})}
    )


CYST, STONE, HYDRO = "kidney.cyst", "kidney.calculus", "kidney.hydronephrosis"


@pytest.mark.parametrize(
    ("status", "labels", "mentions", "sentence"),
    [
        ("unmentioned", {}, [], ""),
        ("normal", {}, [], "The kidney is unremarkable."),
        ("normal", {CYST: 0}, [mention(CYST, "negative")], "The kidney is unremarkable."),
        ("removed", {}, [], "The kidney has been removed."),
        ("abnormal", {}, [], "The kidney is abnormal."),
        ("uncertain", {}, [], "The kidney may be abnormal."),
        ("abnormal", {CYST: 1}, [mention(CYST)], "The kidney is abnormal: renal cyst."),
        (
            "abnormal",
            {CYST: 1, STONE: 0, HYDRO: -1},
            [mention(CYST, side="left", size_mm=11.6), mention(STONE, "negative"), mention(HYDRO, "uncertain", "left")],
            "The kidney is abnormal: renal cyst on the left (12 mm), possibly hydronephrosis on the left.",
        ),
        (
            "abnormal",
            {CYST: 1},
            [mention(CYST, side="left", size_mm=9), mention(CYST, side="right", size_mm=31), mention(CYST)],
            "The kidney is abnormal: renal cyst on both sides (up to 31 mm).",
        ),
        (
            "abnormal",
            {CYST: 1},
            [mention(CYST, side="both", size_mm=9), mention(CYST, size_mm=9.2)],
            "The kidney is abnormal: renal cyst on both sides (9 mm).",
        ),
        (
            "abnormal",
            {CYST: 1},
            [mention(CYST, side="left"), mention(CYST, "uncertain", "right", 40), mention(CYST, "historical", "right")],
            "The kidney is abnormal: renal cyst on the left.",
        ),
        (
            "uncertain",
            {STONE: -1},
            [mention(STONE, "uncertain", "right", 0.3)],
            "The kidney may be abnormal: possibly kidney stones on the right (1 mm).",
        ),
        (
            "abnormal",
            {CYST: 1},
            [replace(mention(CYST, side="right"), overridden=True), mention(CYST, side="left")],
            "The kidney is abnormal: renal cyst on the left.",
        ),
    ],
    ids=[
        "unmentioned",
        "normal",
        "a denied finding is left out",
        "removed",
        "abnormal, nothing of the vocabulary",
        "uncertain, nothing of the vocabulary",
        "plain",
        "side, size and doubt",
        "both sides, largest size",
        "the same size twice",
        "doubted and former mentions do not qualify a certain finding",
        "uncertain",
        "an overridden mention does not count",
    ],
)
def test_the_sentence(status, labels, mentions, sentence):
    assert canonical_text("kidney", reading(status, labels, mentions), VOCABULARY) == sentence


def test_findings_stand_in_the_vocabularys_order_whatever_the_reports():
    one = read_report("Kidneys: a cyst of 12 mm on the left. Renal calculus on the right.", VOCABULARY)
    other = read_report("Renal calculus on the right. In the left kidney a 1.2 cm cyst.", VOCABULARY)
    sentence = "The kidney is abnormal: renal cyst on the left (12 mm), kidney stones on the right."
    assert canonical_text("kidney", one, VOCABULARY) == canonical_text("kidney", other, VOCABULARY) == sentence


def test_another_anatomys_findings_never_enter():
    read = read_report("Cholelithiasis. The kidneys are normal. Cyst of 3 cm in the liver.", VOCABULARY)
    assert canonical_text("kidney", read, VOCABULARY) == "The kidney is unremarkable."
    assert canonical_text("liver", read, VOCABULARY) == "The liver is abnormal: liver cyst (30 mm)."
    assert canonical_text("spleen", read, VOCABULARY) == ""


@pytest.mark.parametrize(
    ("german", "english", "anatomy"),
    [
        ("In der linken Niere eine Zyste, 2,5 cm.", "A cyst of 25 mm in the left kidney.", "kidney"),
        ("Leber unauffällig.", "The liver is normal.", "liver"),
        ("Z. n. Cholezystektomie.", "Status post cholecystectomy.", "gallbladder"),
        ("V. a. Leberzyste.", "Possible liver cyst.", "liver"),
    ],
    ids=["side and size", "normal", "removed", "doubt"],
)
def test_both_languages_meet(german, english, anatomy):
    sentences = {
        canonical_text(anatomy, read_report(text, VOCABULARY, language=language), VOCABULARY)
        for text, language in ((german, "de"), (english, "en"))
    }
    assert len(sentences) == 1
    assert sentences != {""}


@pytest.mark.parametrize("status", ["abnormal", "uncertain"])
def test_a_sentence_that_gives_no_reason_is_vague(status):
    title = VOCABULARY.anatomies["kidney"].title
    assert canonical_text("kidney", reading(status), VOCABULARY) in vague_texts(title)
    assert canonical_text("kidney", reading(status, {CYST: 1}, [mention(CYST)]), VOCABULARY) not in vague_texts(title)
