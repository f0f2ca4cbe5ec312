"""What users see of how well their reports are understood."""

import csv
import json

import pytest

from preprocess import reading_quality
from preprocess.errors import InputError
from preprocess.quality_files import write_quality
from preprocess.reading import AnatomyReading, Evidence, ReadSentence, ReportReading
from preprocess.reading_quality import Contradiction, QualityCounter, Unmatched, side_contradictions
from preprocess.report_sex import SexWords


def reading(*sentences, evidence=(), anatomies=None):
    """A reading of (section, text, matched) sentences."""
    read = tuple(ReadSentence(i, section, text, (), matched) for i, (section, text, matched) in enumerate(sentences))
    return ReportReading(read, anatomies or {}, tuple(evidence), {})


def mention(index, side, assertion="positive", finding="kidney.cyst", overridden=False):
    return Evidence("kidney", finding, assertion, side, None, index, "cyst", overridden)


def counted(*readings, **options):
    counter = QualityCounter("en")
    for number, entry in enumerate(readings):
        counter.add(f"s{number}", entry, **options)
    return counter.result()


def test_coverage_is_counted_by_section():
    quality = counted(
        reading(("findings", "Liver normal.", True), ("findings", "Bien.", False), ("impression", "Normal.", False)),
        reading(("impression", "Liver normal.", True)),
        reading(),
    )
    assert quality.sections == {"findings": (2, 1), "impression": (2, 1)}
    assert (quality.sentences, quality.matched, quality.studies, quality.silent) == (4, 2, 3, 1)


def test_unmatched_sentences_count_together_whatever_their_case_blanks_and_numbers():
    texts = ["Slice 3, 1.5 mm", "slice 12,  5,0 MM", "Dictated twice", "Liver 5 mm"]
    quality = counted(*(reading(("findings", text, text.startswith("Liver"))) for text in texts))
    assert quality.unmatched == (Unmatched(2, "Slice 3, 1.5 mm", "s0"), Unmatched(1, "Dictated twice", "s2"))


def test_of_very_many_different_sentences_the_frequent_ones_are_kept(monkeypatch):
    monkeypatch.setattr(reading_quality, "MAX_PATTERNS", 5)
    words = [f"{'abcdefghijklmnopqrstuvwxyz'[i]}word" for i in range(26)]
    quality = counted(*(reading(("other", text, False)) for text in ["again", "again", *words]))
    assert quality.unmatched[0] == Unmatched(2, "again", "s0")
    assert len(quality.unmatched) <= 10
    assert quality.sentences == 28


def test_statuses_and_assertions_are_counted():
    normal, abnormal, silent = (AnatomyReading(status, "") for status in ("normal", "abnormal", "unmentioned"))
    quality = counted(
        reading(anatomies={"liver": normal, "lung": silent}),
        reading(
            ("findings", "x", True),
            anatomies={"liver": abnormal},
            evidence=[mention(0, None), mention(0, None), mention(0, None, "negative")],
        ),
    )
    assert quality.anatomies == {"liver": {"abnormal": 1, "normal": 1}, "lung": {"unmentioned": 1}}
    assert quality.findings == {"kidney.cyst": {"negative": 1, "positive": 2}}


@pytest.mark.parametrize(
    ("mentions", "detail"),
    [
        ([mention(0, "left"), mention(1, "right")], "left in sentence 1; summary: right in sentence 2"),
        ([mention(0, "left"), mention(1, "both")], None),
        ([mention(0, "left"), mention(1, "left")], None),
        ([mention(0, "both"), mention(1, "right")], None),
        ([mention(0, "left"), mention(0, "right"), mention(1, "right")], None),
        ([mention(0, "left"), mention(1, None)], None),
        ([mention(0, None), mention(1, "right")], None),
        ([mention(0, "left"), mention(1, "right", "negative")], None),
        ([mention(0, "left", overridden=True), mention(1, "right")], None),
        ([mention(0, "left"), mention(1, "right", finding="kidney.calculus")], None),
    ],
    ids=[
        "other",
        "one more",
        "same",
        "one of both",
        "one of two",
        "no side",
        "nowhere before",
        "denied",
        "overridden",
        "another",
    ],
)
def test_a_summary_that_names_another_side_contradicts(mentions, detail):
    read = reading(("findings", "a", True), ("impression", "b", True), evidence=mentions)
    expected = [] if detail is None else [Contradiction("s", "side", "kidney.cyst", detail)]
    assert list(side_contradictions("s", read)) == expected


@pytest.mark.parametrize(
    ("texts", "sex", "detail"),
    [
        (["Uterus is normal.", "Prostate is normal."], None, "female: Uterus; male: Prostate"),
        (["63-year-old man.", "No adnexal mass."], None, "female: adnexal; male: year-old man"),
        (["Hysterectomy."], "male", "female: Hysterectomy; header: male"),
        (["Hysterectomy."], "female", None),
        (["Hysterectomy."], None, None),
        (["The liver is normal."], "male", None),
        (["Management as before in many patients."], "female", None),
    ],
    ids=["both", "age and organ", "header", "header agrees", "one", "none", "a word inside another"],
)
def test_words_of_another_sex_contradict(texts, sex, detail):
    quality = counted(reading(*(("findings", text, True) for text in texts)), sex=sex)
    assert [entry.detail for entry in quality.contradictions] == ([] if detail is None else [detail])


@pytest.mark.parametrize("language", ["de", "auto"])
def test_german_words_give_the_sex_away(language):
    found = SexWords(language).find(["Die Prostata ist vergrößert. Man sieht 54-jährige Frau."])
    assert found == {"male": "Prostata", "female": "jährige Frau"}


def test_a_folder_without_words_of_the_sexes_finds_none(tmp_path):
    assert SexWords(tmp_path).find(["Uterus and prostate."]) == {}
    (tmp_path / "sexes.yaml").write_text("male: maschio\nfemale: femmina; donna\n")
    assert SexWords(tmp_path).find(["Una donna."]) == {"female": "donna"}
    (tmp_path / "sexes.yaml").write_text("male: maschio\n")
    with pytest.raises(InputError, match=r"sexes.yaml: expected the keys female, male"):
        SexWords(tmp_path)


def test_the_files_hold_what_was_counted(tmp_path):
    quality = counted(
        reading(("findings", 'Größe, "x"', False), ("findings", "Uterus, prostate", True)),
        reading(("other", 'größe, "X"', False)),
    )
    write_quality(tmp_path, quality)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["contradictions.csv", "quality.json", "unmatched.csv"]
    counts = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    assert (counts["studies"], counts["sentences"], counts["matched"]) == (2, 3, 1)
    assert counts["sections"]["findings"] == {"sentences": 2, "matched": 1}
    with (tmp_path / "unmatched.csv").open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [["count", "sentence", "study_id"], ["2", 'Größe, "x"', "s0"]]
    with (tmp_path / "contradictions.csv").open(encoding="utf-8", newline="") as stream:
        assert [row[:2] for row in csv.reader(stream)] == [["study_id", "kind"], ["s0", "sex"]]
    with pytest.raises(InputError, match="cannot be written"):
        write_quality(tmp_path / "quality.json", quality)
