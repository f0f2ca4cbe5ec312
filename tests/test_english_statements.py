"""What English reports say of each anatomy, statement by statement: all sentences are invented."""

from pathlib import Path

import pytest

from preprocess.report_reader import read_report
from preprocess.vocabulary_files import load_vocabulary

VOCABULARY = load_vocabulary("ct54")
STATUS = {"n": "normal", "a": "abnormal", "u": "uncertain", "r": "removed"}
CASES = [
    line.rsplit("|", 1)
    for line in (Path(__file__).parent / "english_statements.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[text[:40] for text, _ in CASES])
def test_status_of_every_anatomy(text: str, expected: str) -> None:
    anatomies = read_report(text.replace("\\n", "\n"), VOCABULARY).anatomies
    found = {name: anatomy.status for name, anatomy in anatomies.items() if anatomy.status != "unmentioned"}
    pairs = (pair.split("=") for pair in expected.split())
    assert found == {name: STATUS[status] for name, status in pairs}
