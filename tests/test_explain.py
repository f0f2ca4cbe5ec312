"""`ctvlp reports explain=...`: in the terminal, as a page, from standard input, in either language."""

import io

import pytest

from ctvlp.cli import main

REPORT = "There is a cyst of 12 mm in the left kidney. No gallstone."


def test_a_report_is_explained_in_the_terminal_and_as_a_page(tmp_path, capsys):
    out = tmp_path / "new folder"
    assert main(["reports", f"explain={REPORT}", f"out={out}"]) == 0
    shown = capsys.readouterr().out
    assert "kidney.cyst: positive, left, 12 mm" in shown
    assert "gallbladder.gallstone: negative" in shown
    assert "\x1b" not in shown
    assert shown.splitlines()[-1] == str(out / "explain.html")
    assert "kidney.cyst: positive, left, 12 mm" in (out / "explain.html").read_text(encoding="utf-8")
    assert [path.name for path in out.iterdir()] == ["explain.html"]


def test_without_a_folder_nothing_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["reports", f"explain={REPORT}"]) == 0
    assert "kidney" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_minus_reads_standard_input(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Findings:\nCholelithiasis, key=value.\n"))
    assert main(["reports", "explain=-"]) == 0
    assert "gallbladder.gallstone: positive" in capsys.readouterr().out


def test_identifiers_are_removed_where_asked_for(capsys):
    assert main(["reports", "explain=Dr. John Smith, 03.04.2019: liver normal.", "deidentify=true"]) == 0
    shown = capsys.readouterr().out
    assert "2019" not in shown
    assert "liver" in shown


def test_the_language_is_told_by_the_text(capsys):
    assert main(["reports", "explain=Die Leber ist unauffällig. Kein Nachweis einer Nierenzyste."]) == 0
    assert "language de" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["explain=x", "vocabulary=ct99"], "ct99"),
        (["explain=x", "language=nowhere"], "nowhere: neither a folder nor a shipped language"),
        (["out=x"], "reports: reports= is required; see ctvlp reports --help"),
        (["reports=x.csv"], "reports: out= is required; see ctvlp reports --help"),
    ],
    ids=["vocabulary", "language", "no reports", "no out"],
)
def test_wrong_words_give_one_line_and_status_2(words, message, capsys):
    assert main(["reports", *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
