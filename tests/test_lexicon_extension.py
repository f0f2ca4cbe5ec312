"""A folder of additions to a shipped language: it adds, takes away, and complains about what nobody would read."""

import pytest

from preprocess.errors import InputError
from preprocess.lexicon_extension import base_of, merge_words
from preprocess.report_reader import read_report
from preprocess.report_sex import SexWords
from preprocess.vocabulary_files import load_vocabulary

VOCABULARY = load_vocabulary("ct54")


@pytest.fixture
def words(tmp_path):
    """Write a folder that extends English; returns a function from file name and text to the folder."""
    folder = tmp_path / "our words"
    folder.mkdir()
    (folder / "language.yaml").write_text("extends: en\n")

    def write(name="", text=""):
        if name:
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        return folder

    return write


def read(text, folder):
    return read_report(text, VOCABULARY, language=folder)


def test_a_folder_that_adds_nothing_reads_as_the_language(words):
    text = "Findings: Cholelithiasis. No renal cyst. The liver is fatty."
    assert read(text, words()) == read_report(text, VOCABULARY)


@pytest.mark.parametrize(
    ("file", "added", "text", "label"),
    [
        ("findings", "findings: {gallbladder.gallstone: {own: rolling stone}}", "Rolling stones.", 1),
        ("findings", "findings: {gallbladder.gallstone: {own: [rolling stone]}}", "Rolling stone.", 1),
        ("anatomies", "words: {gallbladder: bile bag}", "A calculus in the bile bag.", 1),
        (
            "assertion",
            "cues: [{assertion: negative, side: after, phrases: is for the birds}]",
            "Cholelithiasis is for the birds.",
            0,
        ),
        ("sections", "headers: {history: our story so far}", "Our story so far: cholelithiasis.", None),
    ],
    ids=["own phrase", "as a list", "word of an anatomy", "cue", "header"],
)
def test_what_a_file_adds_is_read(words, file, added, text, label):
    folder = words(file, added)
    assert read(text, folder).labels["gallbladder.gallstone"] == label
    assert read_report(text, VOCABULARY).labels["gallbladder.gallstone"] != label


def test_a_phrase_can_be_taken_away(words):
    text = "Cholelithiasis was not observed."
    folder = words("findings", "findings: {gallbladder.gallstone: {own: '!cholelith*'}}")
    found = read(text, folder).evidence
    assert all(not entry.rule.startswith("cholelith*") for entry in found)
    assert any(entry.rule.startswith("cholelith*") for entry in read_report(text, VOCABULARY).evidence)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("findings", "findings: {liver.cyts: {own: x}}", r"findings.yaml: findings: liver.cyts: neither the language"),
        ("findings", "findings: {liver.cyst: {owm: x}}", r"findings.liver.cyst: unknown key 'owm'"),
        ("findings", "findings: {liver.cyst: {own: '!nobody says this'}}", r"'!nobody says this' takes away a phrase"),
        ("findings", "findings: {liver.cyst: {own: {a: b}}}", r"liver.cyst: own: \{'a': 'b'\} does not fit"),
        ("anatomies", "words: {livr: x}", r"anatomies.yaml: words: livr: neither the language"),
        ("anatomies", "wrods: {liver: x}", r"anatomies.yaml: expected the keys anaphora, .*words, got \['wrods'\]"),
        ("finding", "findings: {}", r"finding.yaml: no file of a language has this name; they are anatomies.yaml"),
        ("language", "extends: xx", r"xx: neither a folder nor a shipped language \(de, en\)"),
        ("language", "extend: en", r"language.yaml: expected one line such as `extends: en`"),
        ("language", "a: [", r"language.yaml: cannot be read as YAML"),
        ("status", "normal: (fine", r"phrase '\(fine'"),
    ],
    ids=["finding", "kind", "not there", "shape", "anatomy", "key", "file", "base", "extends", "yaml", "notation"],
)
def test_what_nobody_would_read_is_one_clear_error(words, file, text, message):
    folder = words(file, text)
    with pytest.raises(InputError, match=message) as caught:
        read("Liver.", folder)
    assert "\n" not in str(caught.value)


def test_a_folder_without_the_file_stands_alone(tmp_path):
    assert base_of(tmp_path) is None


@pytest.mark.parametrize(
    ("base", "added", "merged"),
    [
        ("a; b", "c;  b", ["a", "b", "c"]),
        ("a; b c", ["!b c", "d"], ["a", "d"]),
        (None, "a", ["a"]),
        ({"x": "a"}, {"x": "b", "y": "c"}, {"x": ["a", "b"], "y": ["c"]}),
        ([{"p": "a"}], [{"p": "b"}], [{"p": "a"}, {"p": "b"}]),
        (4, 5, 5),
        ("a", None, "a"),
    ],
    ids=["phrases", "taken away", "new", "nested", "groups", "number", "nothing"],
)
def test_merging(base, added, merged):
    assert merge_words(base, added, "file.yaml") == merged


def test_marks_are_added_as_they_are():
    assert merge_words({"summary_bullets": '"'}, {"summary_bullets": ";"}, "x") == {"summary_bullets": '";'}


def test_words_of_the_sexes_are_added_too(words):
    assert SexWords(words()).find(["Uterus"]) == {"female": "Uterus"}
    folder = words("sexes", "male: gentleman caller\nfemale: []\n")
    assert SexWords(folder).find(["Uterus", "a gentleman caller"]) == {"female": "Uterus", "male": "gentleman caller"}
