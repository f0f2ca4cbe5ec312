"""The guide to extending the words (docs/reports.md), followed step by step with its own examples."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ctvlp.cli import main

PAGE = Path(__file__).parents[1] / "docs" / "reports.md"


@pytest.fixture(scope="module")
def blocks():
    """Blocks of the guide: (kind, text), in order."""
    guide = PAGE.read_text(encoding="utf-8").split("## Extending the words", 1)[1]
    return re.findall(r"```(\w+)\n(.*?)```", guide, flags=re.DOTALL)


def test_every_step_of_the_guide_works(blocks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words").mkdir()
    matched, contradictions = [], []
    for kind, text in blocks:
        if kind == "csv":
            (tmp_path / "reports.csv").write_text(text, encoding="utf-8")
        elif kind == "yaml":
            name = text.split("\n", 1)[0].removeprefix("# ")
            (tmp_path / name).write_text(text, encoding="utf-8")
        else:
            for line in text.splitlines():
                assert main(shlex.split(line)[1:]) == 0
                if "reports=" in line:
                    counts = json.loads(Path("text/quality.json").read_text(encoding="utf-8"))
                    matched.append(counts["matched"] / counts["sentences"])
                    with Path("text/contradictions.csv").open(encoding="utf-8", newline="") as stream:
                        contradictions.append({(row["study_id"], row["kind"]) for row in csv.DictReader(stream)})
    assert matched[0] < matched[-1] == 1.0
    assert contradictions == [{("a3", "sex")}, {("a3", "sex"), ("a2", "side")}]
    assert "kidney.cyst: positive, left, 20 mm   [water bubble]" in capsys.readouterr().out
    shown = explained("Cholecystolith. Gall pebble.")
    assert "[cholecystolith*]" not in shown
    assert "gallbladder.gallstone: positive   [gall pebble]" in shown


def explained(text):
    """What a new process, which reads the words anew, says of a text."""
    command = [sys.executable, "-m", "ctvlp.cli", "reports", f"explain={text}", "language=words"]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PAGE.parents[1]), *sys.path])}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=paths).stdout


def test_the_first_unmatched_sentence_is_the_one_the_guide_names(blocks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("reports.csv").write_text(dict(blocks)["csv"], encoding="utf-8")
    assert main(["reports", "reports=reports.csv", "out=text", "language=en"]) == 0
    with Path("text/unmatched.csv").open(encoding="utf-8", newline="") as stream:
        assert next(csv.DictReader(stream))["sentence"] == "Hepar homogeneous."
