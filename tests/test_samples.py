"""Which anatomies of which studies are learned from, and with whose report."""

import numpy as np
import pytest
from small_store import small_store, small_vocabulary

from ctvlp.samples import read_samples, shuffled_reports
from preprocess.errors import InputError
from preprocess.report_reader import build_reader

VOCABULARY = small_vocabulary()


def change(rows, study, anatomy, **values):
    for row in rows:
        if row["study_id"] == study and row["anatomy"] == anatomy:
            row.update(values)


def keys(samples):
    return [(sample.study_id, sample.anatomy) for sample in samples]


def words(sample):
    return [wording.text for wording in sample.texts]


def test_only_the_asked_split_is_read_in_one_order():
    store = small_store(4, test=2)
    assert keys(read_samples(store, VOCABULARY)) == [(f"s{i:03d}", a) for i in range(4) for a in ("kidney", "liver")]
    assert {sample.study_id for sample in read_samples(store, VOCABULARY, split="test")} == {"s004", "s005"}
    store.rows.reverse()
    store.texts.reverse()
    assert keys(read_samples(store, VOCABULARY)) == [(f"s{i:03d}", a) for i in range(4) for a in ("kidney", "liver")]


@pytest.mark.parametrize(
    ("table", "values", "there"),
    [
        ("rows", {"extent": "absent"}, False),
        ("rows", {"extent": "truncated"}, True),
        ("rows", {"primary": False}, False),
        ("texts", {"status": "unmentioned", "text": ""}, False),
        ("texts", {"status": "removed"}, False),
        ("texts", {"status": "uncertain"}, True),
    ],
    ids=["absent", "truncated", "second volume", "unmentioned", "removed", "uncertain"],
)
def test_what_is_a_sample(table, values, there):
    store = small_store(2)
    change(getattr(store, table), "s001", "liver", **values)
    samples = {(s.study_id, s.anatomy): s for s in read_samples(store, VOCABULARY)}
    assert (("s001", "liver") in samples) == there
    assert len(samples) == 3 + there
    if there:
        assert samples["s001", "liver"].whole == (values.get("extent") != "truncated")
        assert samples["s001", "liver"].uncertain == (values.get("status") == "uncertain")


def test_an_unmentioned_anatomy_can_count_as_normal():
    store = small_store(2)
    change(store.texts, "s001", "liver", status="unmentioned", text="")
    sample = next(s for s in read_samples(store, VOCABULARY, unmentioned="normal") if keys([s]) == [("s001", "liver")])
    assert (sample.normal, sample.abnormal, words(sample)) == (True, False, ["The liver is unremarkable."])


def test_labels_keep_their_four_states_in_the_order_of_the_findings():
    store = small_store(1)
    store.labels[0].update({"liver.fatty_liver": None, "liver.cyst": -1, "kidney.calculus": 1})
    kidney, liver = read_samples(store, VOCABULARY)
    np.testing.assert_array_equal(kidney.labels, [1])
    np.testing.assert_array_equal(
        liver.labels, [-1 if f.id == "liver.cyst" else np.nan for f in VOCABULARY.of("liver")]
    )


@pytest.fixture(scope="module")
def readers():
    return {language: build_reader(VOCABULARY, language) for language in ("en", "de")}


@pytest.mark.parametrize(
    ("language", "text", "names"),
    [
        ("en", "Hepatic steatosis.", True),
        ("en", "Cyst in the liver, unchanged.", True),
        ("en", "No liver cyst.", True),
        ("en", "Liver: Enlarged.", True),
        ("en", "Liver: stable.", False),
        ("en", "The liver is unchanged.", False),
        ("en", "The liver is abnormal.", False),
        ("de", "Fettleber.", True),
        ("de", "Zyste der Leber, 12 mm.", True),
        ("de", "Keine Leberzyste.", True),
        ("de", "Leberparenchym inhomogen.", True),
        ("de", "Leber: Stabil.", False),
        ("de", "Leber unverändert.", False),
    ],
)
def test_a_text_names_something_if_it_says_what_is_found_in_whatever_language(readers, language, text, names):
    store, reading = small_store(1), readers[language].read(text)
    said = reading.anatomies["liver"]
    change(store.texts, "s000", "liver", text=said.text, status=said.status)
    store.labels[0].update(reading.labels)
    (wording,) = read_samples(store, VOCABULARY)[1].texts
    assert (wording.text, wording.names_something) == (text, names)


@pytest.mark.parametrize("extent", ["truncated", "complete"])
@pytest.mark.parametrize(("value", "speaks"), [(1, True), (-1, True), (0, True), (None, False)])
def test_a_truncated_crop_whose_report_speaks_of_a_finding_that_needs_the_whole_is_alone(extent, value, speaks):
    needs = {"liver.cyst": "whole", "liver.fatty_liver": "part"}
    findings = [f.model_copy(update={"needs": needs.get(f.id, "part")}) for f in VOCABULARY.findings]
    store = small_store(1)
    change(store.rows, "s000", "liver", extent=extent)
    store.labels[0]["liver.cyst"] = value
    kidney, liver = read_samples(store, VOCABULARY.model_copy(update={"findings": tuple(findings)}))
    assert (liver.beyond_view, liver.alone) == ((extent == "truncated" and speaks),) * 2
    assert not kidney.beyond_view


RAW, CANONICAL = "Zyste der Leber, 12 mm.", "The liver is abnormal: liver cyst (12 mm)."


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("raw", {}, [(RAW, True)]),
        ("canonical", {}, [(CANONICAL, True)]),
        ("mixed", {}, [(RAW, True), (CANONICAL, True)]),
        ("canonical", {"canonical": "The liver is abnormal."}, [("The liver is abnormal.", False)]),
        ("canonical", {"canonical": "The liver may be abnormal."}, [("The liver may be abnormal.", False)]),
        ("canonical", {"canonical": "The liver is unremarkable."}, [("The liver is unremarkable.", True)]),
        ("raw", {"text": ""}, []),
        ("mixed", {"text": ""}, [(CANONICAL, True)]),
    ],
    ids=["raw", "canonical", "mixed", "vague", "vague and doubtful", "normal", "no raw", "mixed without raw"],
)
def test_the_kind_of_text_decides_the_wordings(text, row, expected):
    store = small_store(1)
    change(store.texts, "s000", "liver", **({"status": "abnormal", "text": RAW, "canonical": CANONICAL} | row))
    found = [s for s in read_samples(store, VOCABULARY, text=text) if s.anatomy == "liver"]
    assert [(wording.text, wording.names_something) for sample in found for wording in sample.texts] == expected


def test_a_store_without_canonical_texts_is_one_clear_error():
    store = small_store(1)
    for row in store.texts:
        del row["canonical"]
    assert read_samples(store, VOCABULARY)
    with pytest.raises(InputError, match=r"text=mixed: the store's texts have no column 'canonical'; preprocess"):
        read_samples(store, VOCABULARY, text="mixed")


def test_an_unknown_kind_of_text_is_refused():
    with pytest.raises(InputError, match=r"text=short: expected one of raw, canonical, mixed"):
        read_samples(small_store(1), VOCABULARY, text="short")


def test_shuffled_reports_leave_no_study_its_own_and_lose_none():
    studies = [f"s{i}" for i in range(9)]
    report_of = shuffled_reports(studies, seed=0)
    assert sorted(report_of) == sorted(report_of.values()) == studies
    assert all(study != report for study, report in report_of.items())
    assert report_of == shuffled_reports(reversed(studies), seed=0) != shuffled_reports(studies, seed=1)


def test_with_shuffled_reports_crops_keep_their_study_and_texts_and_labels_change_together():
    store = small_store(6)
    report_of = shuffled_reports([row["study_id"] for row in store.rows], seed=1)
    straight = {key: s for s in read_samples(store, VOCABULARY) for key in keys([s])}
    for sample in read_samples(store, VOCABULARY, report_of=report_of):
        source = straight[report_of[sample.study_id], sample.anatomy]
        assert (sample.texts, sample.abnormal) == (source.texts, source.abnormal)
        np.testing.assert_array_equal(sample.labels, source.labels)
        assert sample.patient_id == straight[sample.study_id, sample.anatomy].patient_id


def test_nothing_to_learn_from_is_one_clear_error():
    store = small_store(2)
    with pytest.raises(InputError, match=r"no study of split 'val' has both a crop and a report: 0 crops in view, 2"):
        read_samples(store, VOCABULARY, split="val")
