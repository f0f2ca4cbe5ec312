import os
from pathlib import Path

import pytest

from preprocess import runner
from preprocess.archive import StudySource
from preprocess.errors import InputError
from preprocess.pieces import Piece, read_pieces
from preprocess.study import Settings, StudyTask, record


def task(name):
    source = StudySource(Path("/"), name, (name,), None, ())
    return StudyTask(source, name, "p", "train", None, {}, None, {}, "digest")


def dies_on_bad(task, settings):
    """Stands for `process_study`; runs in a worker process."""
    if task.study_id == "bad":
        os._exit(1)
    piece = Piece(task.study_id, task.patient_id, "done", task.digest, file_sha256=str(os.getpid()))
    record(piece, settings)
    return piece


def finds_the_store_full(task, settings):
    raise InputError("store cannot be written: No space left on device")


def test_a_study_that_kills_its_process_is_recorded_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "process_study", dies_on_bad)
    (tmp_path / "studies").mkdir()
    seen = []
    tasks = [task(name) for name in ("a", "bad", "c", "d")]
    runner.run_tasks(tasks, Settings(tmp_path, {}), workers=2, on_piece=seen.append)
    assert {piece.study_id: piece.status for piece in seen} == {"a": "done", "bad": "failed", "c": "done", "d": "done"}
    (lost,) = [piece for piece in read_pieces(tmp_path / "studies") if piece.status == "failed"]
    assert (lost.study_id, lost.reason, lost.stage) == ("bad", "OUT_OF_MEMORY", "worker")
    assert str(os.getpid()) not in {piece.file_sha256 for piece in seen}


def test_a_store_that_fills_up_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "process_study", finds_the_store_full)
    with pytest.raises(InputError, match="No space left"):
        runner.run_tasks([task("a"), task("b")], Settings(tmp_path, {}), workers=2, on_piece=print)


def test_one_process_is_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "process_study", dies_on_bad)
    (tmp_path / "studies").mkdir()
    seen = []
    runner.run_tasks([task("a"), task("b")], Settings(tmp_path, {}), workers=1, on_piece=seen.append)
    assert [piece.file_sha256 for piece in seen] == [str(os.getpid())] * 2
