"""A run over studies that hang, grow, crash and are killed: each is in the store or recorded, and no other suffers."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing

import psutil
import pytest
from fake_studies import TARGET, FakeSettings, FakeTask

from preprocess.errors import InputError
from preprocess.limits import Limits
from preprocess.one_study import try_study
from preprocess.pieces import read_pieces
from preprocess.runner import run_tasks
from preprocess.worker import Worker

MIB = 1 << 20
LIMITS = Limits(seconds=1.0, memory_bytes=400 * MIB)
PATIENT = Limits(seconds=120.0, memory_bytes=400 * MIB)


def run(store, names, *, workers=1, limits=LIMITS, cluster=None):
    """Pieces by study, and the children that were needed."""
    (store / "studies").mkdir(exist_ok=True)
    pieces = {}
    children = run_tasks(
        [FakeTask(name) for name in names],
        FakeSettings(store),
        workers=workers,
        on_piece=lambda piece: pieces.update({piece.study_id: piece}),
        limits=limits,
        cluster=cluster,
        target=TARGET,
    )
    return pieces, children


def attempts(store, name):
    return [line.split() for line in (store / f"{name}.attempts").read_text().splitlines()]


ENDS = [
    ("hangs", "TIMEOUT", "it took more than the 1 s allowed, at the second attempt too"),
    ("grows", "OUT_OF_MEMORY", "it held more than the 0.39 GiB allowed, at the second attempt too"),
    ("crashes", "INTERNAL", "its process died (SIGSEGV), at the second attempt too"),
    ("killed", "OUT_OF_MEMORY", "its process was killed by the system"),
]


@pytest.mark.parametrize(("name", "reason", "message"), ENDS, ids=[end[0] for end in ENDS])
def test_a_study_that_fails_twice_is_recorded_with_shape_and_estimate(tmp_path, name, reason, message):
    pieces, _ = run(tmp_path, ["a", name, "b"], limits=LIMITS if name == "hangs" else PATIENT)
    assert (pieces[name].status, pieces[name].reason) == ("failed", reason)
    assert message in pieces[name].message
    assert pieces[name].stage == "masks"
    assert pieces[name].message.endswith("; 512 x 512 x 1000 voxels, estimated at 3.00 GiB")
    assert read_pieces(tmp_path / "studies") == [pieces[name]]
    assert [piece.status for piece in (pieces["a"], pieces["b"])] == ["done", "done"]
    assert [one[0] for one in attempts(tmp_path, name)] == ["False", "True"]


@pytest.mark.parametrize("name", [end[0] for end in ENDS])
def test_the_second_attempt_is_lighter_and_can_succeed(tmp_path, name):
    pieces, children = run(tmp_path, ["a", f"{name} at first"], limits=LIMITS if name == "hangs" else PATIENT)
    assert [piece.status for piece in pieces.values()] == ["done", "done"]
    first, second = attempts(tmp_path, f"{name} at first")
    assert first[0] == "False"
    assert second[0] == "True"
    assert first[2] != second[2]
    assert (children.started, children.restarted) == (2, 1)


def test_networks_are_loaded_once_a_child(tmp_path):
    names = ["crashes at first", *(f"ok-{number}" for number in range(10))]
    _, children = run(tmp_path, names)
    assert len(list(tmp_path.glob("loaded.*"))) == children.started == 3
    assert children.restarted == 2  # one that saves memory, for the second attempt, and a usual one after it


@pytest.mark.parametrize(("name", "status"), [("lost", "failed"), ("lost at first", "done")])
def test_a_process_that_lost_its_gpu_is_ended_and_the_next_study_has_another(tmp_path, name, status):
    pieces, children = run(tmp_path, ["a", name, "b", "c"], limits=PATIENT)
    assert {study: piece.status for study, piece in pieces.items()} == {
        "a": "done",
        name: status,
        "b": "done",
        "c": "done",
    }
    if status == "failed":
        assert (pieces[name].stage, pieces[name].reason) == ("masks", "SEGMENTER")
        assert "CUDA error: device-side assert triggered; the GPU is lost to this process" in pieces[name].message
    assert [one[0] for one in attempts(tmp_path, name)] == ["False", "True"]
    assert (children.started, children.restarted) == (3, 2)
    assert len(list(tmp_path.glob("loaded.*"))) == 3


def test_many_workers_do_all_studies_and_one_that_dies_takes_no_other_along(tmp_path):
    names = ["hangs", "crashes", "grows at first", "large", *(f"slow-{number}" for number in range(8))]
    pieces, children = run(tmp_path, names, workers=2)
    assert sorted(pieces) == sorted(names)
    assert {name for name, piece in pieces.items() if piece.status == "failed"} == {"hangs", "crashes", "large"}
    assert {len(attempts(tmp_path, f"slow-{number}")) for number in range(8)} == {1}
    assert children.started - children.restarted == 2
    assert len(list(tmp_path.glob("loaded.*"))) == children.started


def test_a_study_that_needs_more_than_its_share_is_tried_again_with_all_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("preprocess.limits.machine_memory", lambda: 1000 * MIB)
    worker, task, settings = Worker(TARGET), FakeTask("large at first"), FakeSettings(tmp_path)
    with closing(worker):
        first = try_study(worker, task, settings, Limits(), at_a_time=2)
        second = try_study(worker, task, settings, Limits(), at_a_time=2, alone=True)
    assert (first.piece, second.piece.status) == (None, "done")
    assert [one[:2] for one in attempts(tmp_path, "large at first")] == [
        ["False", str(450 * MIB)], ["True", str(900 * MIB)]
    ]  # fmt: skip


def test_a_study_that_could_get_no_more_memory_is_not_tried_again(tmp_path):
    pieces, _ = run(tmp_path, ["large", "a"], limits=PATIENT)
    assert {name: piece.status for name, piece in pieces.items()} == {"large": "failed", "a": "done"}
    assert len(attempts(tmp_path, "large")) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_that_fills_up_ends_the_run_and_its_children(tmp_path, workers):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(InputError, match="No space left"):
        run(tmp_path, ["full", "a"], workers=workers)
    time.sleep(0.1)
    after = {child.pid for child in psutil.Process().children(recursive=True) if "fake_studies" in str(child.cmdline())}
    assert after <= before


def test_no_study_needs_no_child(tmp_path):
    assert run(tmp_path, [])[1].started == 0


def test_a_cluster_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("preprocess.dask_workers._CONNECT_SECONDS", 1)
    with pytest.raises(InputError, match=r"cluster=tcp://127.0.0.1:9: no dask scheduler answers there"):
        run(tmp_path, ["a", "b"], cluster="tcp://127.0.0.1:9")


ENDED_RUN = """
import signal
import sys
from pathlib import Path
from fake_studies import TARGET, FakeSettings, FakeTask
from preprocess.limits import Limits
from preprocess.runner import run_tasks
from preprocess.signals import Terminated
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started without
try:
    tasks = [FakeTask(f"half-{number}") for number in range(5)]
    store = FakeSettings(Path(sys.argv[1]))
    run_tasks(tasks, store, workers=int(sys.argv[2]), on_piece=print, limits=Limits(seconds=None), target=TARGET)
except Terminated:
    sys.exit(143)
except KeyboardInterrupt:
    sys.exit(130)
"""


def in_subprocess(*words):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *words], env=environment, start_new_session=True, **pipes)


def wait_for(there, within=60.0):
    end = time.monotonic() + within
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


def children_of(store):
    """Children that ever did a study, and still run."""
    return [path.suffix for path in store.glob("loaded.*") if psutil.pid_exists(int(path.suffix[1:]))]


@pytest.mark.parametrize(
    ("workers", "number", "status"),
    [(1, signal.SIGTERM, 143), (1, signal.SIGINT, 130), (2, signal.SIGTERM, 143)],
    ids=["SIGTERM", "Ctrl-C", "SIGTERM, two workers"],
)
def test_a_run_that_is_asked_to_end_leaves_no_process_and_no_half_of_a_file(tmp_path, workers, number, status):
    """Terminals and batch systems send their signals to all processes of the run's group."""
    (tmp_path / "studies").mkdir()
    with in_subprocess("-c", ENDED_RUN, str(tmp_path), str(workers)) as process:
        try:
            wait_for((tmp_path / "writing").exists)
            assert list((tmp_path / "studies").iterdir())
            os.killpg(process.pid, number)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, errors) == (status, b"")
    assert list((tmp_path / "studies").iterdir()) == []
    assert children_of(tmp_path) == []


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A dask scheduler with one worker, as separate processes on loopback; its address."""
    folder = tmp_path_factory.mktemp("cluster")
    file = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    worker = ["--nthreads", "1", "--local-directory", str(folder)]
    with in_subprocess("-m", "dask", "scheduler", *options, "--port", "0") as scheduler:
        wait_for(file.exists)
        with in_subprocess("-m", "dask", "worker", *options, *worker) as process:
            yield json.loads(file.read_text())["address"]
            process.terminate()
        scheduler.terminate()


def test_a_cluster_that_is_there_does_the_studies_and_keeps_no_child(tmp_path, cluster):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        pieces, children = run(tmp_path / folder, ["a", "b", "crashes", "grows at first"], cluster=cluster, workers=7)
        assert {name: piece.status for name, piece in pieces.items()} == {
            "a": "done", "b": "done", "crashes": "failed", "grows at first": "done"
        }  # fmt: skip
        assert children.started - children.restarted == 1
        assert children_of(tmp_path / folder) == []
