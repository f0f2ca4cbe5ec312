"""Answers of a language model kept on disk."""

from pathlib import Path

import pytest

from preprocess.answer_book import AnswerBook
from preprocess.errors import InputError
from preprocess.model_answers import Answer, Choice, Failure

CYST = Answer(Choice("liver", "liver.cyst", "positive"), 0.75, "m")
NOTHING = Answer(Choice(None, None, ""), 1.0, "m")


def test_answers_come_back_in_another_run(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    book = AnswerBook(path, "a")
    book.record({"x": CYST, "Lücke ?'\"": NOTHING, "z": Failure("broken")}, "m")
    book.close()
    again = AnswerBook(path, "a")
    assert again.find(["x", "Lücke ?'\"", "z", "never"]) == {"x": CYST, "Lücke ?'\"": NOTHING}
    assert again.failures() == {"z": "broken"}


def test_answers_of_another_model_or_question_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    AnswerBook(path, "a").record({"x": CYST}, "m")
    assert AnswerBook(path, "b").find(["x"]) == {}


@pytest.mark.parametrize("last", [CYST, Failure("again")], ids=["answered", "failed"])
def test_last_outcome_counts(last: Answer | Failure) -> None:
    book = AnswerBook(None, "a")
    book.record({"x": Failure("first")}, "m")
    book.record({"x": last}, "m")
    assert book.find(["x"]) == ({"x": CYST} if last is CYST else {})
    assert book.failures() == ({} if last is CYST else {"x": "again"})


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    AnswerBook(path, "a").record({"x": CYST}, "m")
    assert path.stat().st_mode & 0o777 == 0o600


def _no_folder(path: Path) -> Path:
    return path / "missing" / "answers.sqlite"


def _no_database(path: Path) -> Path:
    (path / "answers.sqlite").write_text("something else entirely, and long enough to be looked at" * 20)
    return path / "answers.sqlite"


@pytest.mark.parametrize("place", [_no_folder, _no_database], ids=lambda f: f.__name__)
def test_unusable_file_is_named(tmp_path: Path, place: object) -> None:
    with pytest.raises(InputError, match=r"answers .*answers.sqlite cannot be opened"):
        AnswerBook(place(tmp_path), "a")  # type: ignore[operator]
