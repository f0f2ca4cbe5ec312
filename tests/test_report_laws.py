"""Laws that hold for every report: nothing fails, nothing is lost, statements do not disturb each other."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.clauses import split_clauses
from preprocess.phrases import fold
from preprocess.reading import ReportPart
from preprocess.report_reader import Reader, build_reader
from preprocess.sentences import split_sentences
from preprocess.vocabulary import Finding
from preprocess.vocabulary_files import load_vocabulary

VOCABULARY = load_vocabulary("ct54")
STATUSES = {"normal", "abnormal", "uncertain", "unmentioned", "removed"}
LANGUAGES = ("en", "de")
PIECES = [
    *(
        "FINDINGS:",
        "Impression:",
        "IMPRESSION",
        "Liver:",
        "Befund:",
        "Beurteilung:",
        "1.",
        "2)",
        "-",
        "\u2022",
        '"',
        "?",
    ),
    *("the liver", "both kidneys", "spleen", "upper abdominal organs", "it", "they", "aorta", "Leber", "Nieren", "sie"),
    *("is", "are", "was not seen", "no", "without", "except for", "but", "and", ",", ";", ":", "(", ")", "kein", "und"),
    *("cyst", "nodule of 1.2 x 3,4 cm", "12 mm", "normal", "enlarged", "removed", "operated", "cannot be excluded"),
    *(
        "Nierenzyste",
        "unauff\u00e4llig",
        "V. a.",
        "Z. n.",
        "ausgeschlossen",
        "\n",
        "\n\n",
        ". ",
        ".",
        " ",
        "\t",
        "\x00",
    ),
]
TEXTS = st.text(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join)
SOUP = TEXTS | st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=40).map("".join)

NORMAL = {
    "liver": "The liver is normal.",
    "spleen": "The spleen is normal in size.",
    "kidney": "Both kidneys are unremarkable.",
    "lung": "No nodule is seen in the lungs.",
    "heart": "The heart is not enlarged.",
    "pancreas": "The pancreas is normal.",
}
ABNORMAL = {
    "liver": "There is a cyst in the liver.",
    "spleen": "The spleen is enlarged.",
    "kidney": "A stone is seen in the left kidney.",
    "lung": "There is atelectasis in the right lung.",
    "heart": "There is pericardial effusion.",
    "pancreas": "The pancreas is atrophic.",
}
STATEMENTS = [(name, text) for table in (NORMAL, ABNORMAL) for name, text in table.items()]

POSITIVE = ("There is {}.", "{} is seen.", "{} was observed.", "{}.")
NEGATIVE = (
    "There is no {}.",
    "There is no evidence of {}.",
    "No {} is seen.",
    "No {}.",
    "No sign of {} was detected.",
    "{} is not seen.",
    "{} was not observed.",
    "{} was not detected.",
    "Without {}.",
    "No findings in favor of {}.",
    "Negative for {}.",
)


@pytest.fixture(scope="module", params=LANGUAGES)
def reader(request: pytest.FixtureRequest) -> Reader:
    return build_reader(VOCABULARY, request.param)


@pytest.fixture(scope="module")
def english() -> Reader:
    return build_reader(VOCABULARY, "en")


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(SOUP, max_size=3), rule=st.sampled_from(["any", "impression"]), added=st.booleans())
def test_no_text_raises(reader: Reader, texts: list[str], rule: str, added: bool) -> None:
    parts = [ReportPart(text, "addendum" if added and place else "report") for place, text in enumerate(texts)]
    reading = reader.read_parts(parts, abnormal_rule="impression" if rule == "impression" else "any")
    assert {anatomy.status for anatomy in reading.anatomies.values()} <= STATUSES
    assert list(reading.anatomies) == list(VOCABULARY.anatomies)
    assert list(reading.labels) == [finding.id for finding in VOCABULARY.findings]
    assert [sentence.index for sentence in reading.sentences] == list(range(len(reading.sentences)))
    assert reading == reader.read_parts(parts, abnormal_rule="impression" if rule == "impression" else "any")


@settings(max_examples=300, deadline=None)
@given(text=SOUP)
def test_splitting_into_sentences_loses_no_character(reader: Reader, text: str) -> None:
    sentences = split_sentences(text, reader.lexicon.sentences)
    if not any(char.isalnum() for char in text):
        assert sentences == []
    if sentences:
        assert (sentences[0].start, sentences[-1].end) == (0, len(text))
    assert all(before.end == after.start for before, after in pairwise(sentences))
    assert all(sentence.text in text[sentence.start : sentence.end] for sentence in sentences)


@pytest.mark.parametrize("header", ["Impression:", "Beurteilung:", "Impression:\n\nFindings:"])
def test_a_header_without_text_takes_no_sentence_away(reader: Reader, header: str) -> None:
    text = f"Liver and kidneys are normal.\n{header}"
    assert "".join(s.text for s in split_sentences(text, reader.lexicon.sentences)).startswith(text.split("\n")[0])


@settings(max_examples=200, deadline=None)
@given(text=SOUP.filter(bool))
def test_splitting_into_clauses_loses_no_character(reader: Reader, text: str) -> None:
    folded = fold(text)
    clauses = split_clauses(folded, reader.lexicon.phrases.find_all(folded))
    assert "".join(folded[start:end] for start, end in clauses) == folded


@settings(max_examples=150, deadline=None)
@given(told=st.lists(st.sampled_from(STATEMENTS), max_size=5), data=st.data())
def test_another_anatomys_sentence_changes_no_status(
    english: Reader, told: list[tuple[str, str]], data: st.DataObject
) -> None:
    anatomy, added = data.draw(st.sampled_from(STATEMENTS))
    place = data.draw(st.integers(0, len(told)))
    glue = data.draw(st.sampled_from([" ", "\n", "\n\n"]))
    texts = [text for _, text in told]
    before = english.read(glue.join(texts)).anatomies
    after = english.read(glue.join([*texts[:place], added, *texts[place:]])).anatomies
    for name in VOCABULARY.anatomies:
        if name != anatomy:
            assert after[name] == before[name]


@settings(max_examples=100, deadline=None)
@given(text=SOUP, statement=st.sampled_from(STATEMENTS))
def test_a_new_paragraph_on_another_anatomy_changes_no_status(
    english: Reader, text: str, statement: tuple[str, str]
) -> None:
    anatomy, added = statement
    before = english.read(text + "\n\nFindings:\n").anatomies
    after = english.read(text + "\n\nFindings:\n" + added).anatomies
    for name in VOCABULARY.anatomies:
        if name != anatomy:
            assert after[name].status == before[name].status


@pytest.mark.parametrize("finding", VOCABULARY.findings, ids=lambda finding: str(finding.id))
def test_a_negated_finding_is_not_positive(english: Reader, finding: Finding) -> None:
    anatomy = str(finding.anatomy)
    for said in POSITIVE:
        stated = english.read(_sentence(said, finding.name))
        assert stated.labels[finding.id] == 1, said
        assert stated.anatomies[anatomy].status == "abnormal", said
    for denied in NEGATIVE:
        reading = english.read(_sentence(denied, finding.name))
        assert not [name for name, value in reading.labels.items() if value == 1], denied
        assert reading.anatomies[anatomy].status != "abnormal", denied


@settings(max_examples=150, deadline=None)
@given(
    findings=st.lists(st.sampled_from(VOCABULARY.findings), min_size=1, max_size=4, unique_by=lambda f: f.id),
    denied=st.sampled_from(NEGATIVE),
    glue=st.sampled_from([" or ", ", "]),
)
def test_one_negation_denies_a_whole_list(english: Reader, findings: list[Finding], denied: str, glue: str) -> None:
    names = [finding.name for finding in findings]
    listed = names[0] if len(names) == 1 else ", ".join(names[:-1]) + glue + names[-1]
    reading = english.read(_sentence(denied, listed))
    assert [name for name, value in reading.labels.items() if value == 1] == []


def _sentence(template: str, names: str) -> str:
    text = template.format(names)
    return text[0].upper() + text[1:]


BLOCKED = '''
"""No Python process of the run may use a socket."""
import sys

def refuse(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":
        raise PermissionError(event)

sys.addaudithook(refuse)
'''
CHAIN = """
from preprocess.text_tables import reports_to_tables

if __name__ == "__main__":
    reports_to_tables("reports.csv", "out", deidentify=True, workers=2)
"""


def test_the_whole_chain_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKED, encoding="utf-8")
    (tmp_path / "chain.py").write_text(CHAIN, encoding="utf-8")
    rows = [f'{number},"The liver is normal. Cyst in the left kidney. Die Milz ist normal."' for number in range(50)]
    (tmp_path / "reports.csv").write_text("\n".join(["study_id,report_text", *rows]), encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path}
    refused = subprocess.run(
        [sys.executable, "-c", "import socket; socket.socket()"], env=environment, capture_output=True, check=False
    )
    assert b"PermissionError" in refused.stderr
    subprocess.run([sys.executable, "chain.py"], cwd=tmp_path, env=environment, check=True, timeout=120)
    assert pq.read_table(tmp_path / "out" / "labels.parquet").num_rows == 50
