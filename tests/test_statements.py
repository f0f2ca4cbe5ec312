"""The reports of one study together: what addenda override, what headings carry, what counts in the end."""

import pytest

from preprocess.reading import ReportPart, ReportReading
from preprocess.report_reader import build_reader
from preprocess.vocabulary_files import load_vocabulary

READER = build_reader(load_vocabulary("ct54"))


def read(*texts: str) -> ReportReading:
    """Read a report and what was added to it."""
    report, *addenda = texts
    return READER.read_parts([ReportPart(report), *(ReportPart(text, "addendum") for text in addenda)])


OVERRIDING = {
    "denied": ("There is a liver metastasis.", "There is no liver metastasis.", "liver.metastasis", 0, "normal"),
    "found": ("No gallstones.", "There are gallstones.", "gallbladder.gallstone", 1, "abnormal"),
    "doubted": ("Liver cyst.", "The liver lesion is possibly a cyst.", "liver.cyst", -1, "abnormal"),
    "another finding": ("Liver cyst.", "No liver abscess.", "liver.cyst", 1, "abnormal"),
    "another side": ("Right renal cyst.", "No cyst in the left kidney.", "kidney.cyst", 1, "abnormal"),
    "hypothetical": ("Liver cyst.", "MRI to exclude a liver metastasis.", "liver.cyst", 1, "abnormal"),
}


@pytest.mark.parametrize(
    ("report", "addendum", "finding", "label", "status"), OVERRIDING.values(), ids=list(OVERRIDING)
)
def test_an_addendum_overrides_the_same_finding(
    report: str, addendum: str, finding: str, label: int, status: str
) -> None:
    reading = read(report, addendum)
    assert reading.labels[finding] == label
    assert reading.anatomies[finding.split(".")[0]].status == status


def test_overridden_evidence_is_kept_and_marked() -> None:
    reading = read("There is a 3 cm liver metastasis. No gallstones.", "There is no liver metastasis.")
    marks = [(e.finding, e.assertion, e.overridden) for e in reading.evidence]
    assert ("liver.metastasis", "positive", True) in marks
    assert ("liver.metastasis", "negative", False) in marks
    assert ("gallbladder.gallstone", "negative", False) in marks
    assert reading.anatomies["liver"].text == "There is no liver metastasis."


def test_what_an_addendum_confirms_keeps_its_text() -> None:
    assert read("Liver cyst.", "Liver cyst, 2 cm.").anatomies["liver"].text == "Liver cyst. Liver cyst, 2 cm."


@pytest.mark.parametrize("order", ["{report}\n{addendum}", "{addendum}\n{report}"], ids=["after", "before"])
def test_an_addendum_inside_a_report_overrides_it(order: str) -> None:
    text = order.format(report="FINDINGS: Gallstones.", addendum="ADDENDUM: No gallstones.")
    assert READER.read(text).labels["gallbladder.gallstone"] == 0


def test_a_second_report_overrides_nothing() -> None:
    reading = READER.read_parts([ReportPart("Gallstones."), ReportPart("No gallstones.")])
    assert reading.labels["gallbladder.gallstone"] == 1
    assert not any(e.overridden for e in reading.evidence)


def test_parts_count_their_sentences_on() -> None:
    reading = READER.read_parts([ReportPart("Liver normal. Spleen normal."), ReportPart(""), ReportPart("No stone.")])
    assert [s.index for s in reading.sentences] == [0, 1, 2]
    assert reading.anatomies["spleen"].text == "Spleen normal."


def test_one_part_reads_as_the_report_alone() -> None:
    text = "LIVER: Cyst. GALLBLADDER: Stone."
    assert READER.read_parts([ReportPart(text)]) == READER.read(text)


def test_nothing_to_read_mentions_nothing() -> None:
    reading = READER.read_parts([])
    assert {a.status for a in reading.anatomies.values()} == {"unmentioned"}


def test_an_addendum_counts_as_summary() -> None:
    parts = [ReportPart("FINDINGS: Liver cyst.\nIMPRESSION: Normal."), ReportPart("Gallstones.", "addendum")]
    anatomies = READER.read_parts(parts, abnormal_rule="impression").anatomies
    assert (anatomies["liver"].status, anatomies["gallbladder"].status) == ("normal", "abnormal")


HEADINGS = {
    "carries over": ("LIVER: Normal size. No focal mass.", {"liver": "LIVER: Normal size. No focal mass."}),
    "ends with the next": ("LIVER: Cyst.\nSPLEEN: Normal.", {"liver": "LIVER: Cyst.", "spleen": "SPLEEN: Normal."}),
    "dash": ("Pancreas - atrophic", {"pancreas": "Pancreas - atrophic"}),
    "line of its own": ("KIDNEYS\nNo calculi.", {"kidney": "KIDNEYS No calculi."}),
    "of another place": ("LIVER: Cyst.\nBONES:\nNo lesion.", {"liver": "LIVER: Cyst."}),
    "comes back": (
        "BOWEL: No dilatation. The appendix is normal. No wall thickening.",
        {
            "small_intestine": "No dilatation. No wall thickening.",
            "colon": "No dilatation. The appendix is normal. No wall thickening.",
        },
    ),
    "of several": (
        "KIDNEYS/BLADDER: Normal. 4 mm left stone.",
        {"kidney": "KIDNEYS/BLADDER: Normal. 4 mm left stone.", "bladder": "KIDNEYS/BLADDER: Normal."},
    ),
}


@pytest.mark.parametrize(("text", "texts"), HEADINGS.values(), ids=list(HEADINGS))
def test_headings(text: str, texts: dict[str, str]) -> None:
    assert {name: a.text for name, a in READER.read(text).anatomies.items() if a.text} == texts


SIZES = {
    "above": ("Spleen is 15 cm.", 1),
    "below": ("Spleen is 11 cm.", None),
    "of something in it": ("Spleen with a 14 cm cyst.", None),
    "in mm": ("The spleen measures 141 mm.", 1),
}


@pytest.mark.parametrize(("text", "label"), SIZES.values(), ids=list(SIZES))
def test_a_size_defines_a_finding(text: str, label: int | None) -> None:
    assert READER.read(text).labels["spleen.splenomegaly"] == label


LISTS = {
    "one denial": ("No gallstones, wall thickening or cholecystitis.", 0),
    "ends at the last item": ("No liver cyst or biliary dilatation, gallstones.", 1),
    "ends at an article": ("No liver cyst, a gallstone.", 1),
    "trailing": ("Liver cyst, gallstone or renal cyst was not observed.", 0),
}


@pytest.mark.parametrize(("text", "label"), LISTS.values(), ids=list(LISTS))
def test_lists_under_one_denial(text: str, label: int) -> None:
    assert READER.read(text).labels["gallbladder.gallstone"] == label
