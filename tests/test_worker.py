"""One child process: it is kept, watched, ended with all that it started, and never outlives its parent."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from preprocess.errors import InputError
from preprocess.worker import CallEnded, Worker, WorkerClosed

GIB = 1 << 30
MIB = 1 << 20


@pytest.fixture
def worker():
    one = Worker("fake_calls:act")
    yield one
    one.close()


def call(worker, *arguments, seconds=60.0, memory_bytes=GIB, lighter=False):
    return worker.call(*arguments, seconds=seconds, memory_bytes=memory_bytes, lighter=lighter)


def gone(pid, within=10.0):
    """Whether a process ends within a time that only a process which stays reaches."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_one_child_does_many_calls(worker):
    answers = [call(worker, "echo", value) for value in ("a", {"b": 1}, None)]
    assert [answer[0] for answer in answers] == ["a", {"b": 1}, None]
    assert [answer[2] for answer in answers] == [1, 2, 3]
    assert len({answer[1] for answer in answers} - {os.getpid()}) == 1
    assert worker.started == 1


def test_no_child_is_started_before_it_is_needed():
    assert Worker("fake_calls:act").started == 0


@pytest.mark.parametrize(
    ("arguments", "limits", "how", "detail"),
    [
        (("sleep",), {"seconds": 0.2}, "time", "SIGKILL"),
        (("allocate",), {"memory_bytes": 150 * MIB}, "memory", "SIGKILL"),
        (("memory of children", 150 * MIB), {"memory_bytes": 120 * MIB}, "memory", "SIGKILL"),
        (("signal", signal.SIGSEGV), {}, "died", "SIGSEGV"),
        (("signal", signal.SIGKILL), {}, "died", "SIGKILL"),
        (("exit", 3), {}, "died", "exit status 3"),
        (("defect",), {}, "died", "exit status 1"),
    ],
    ids=["hangs", "grows", "its children grow", "crashes", "is killed", "exits", "defect"],
)
def test_a_call_that_cannot_end_well_is_told_apart_and_the_next_one_works(worker, arguments, limits, how, detail):
    with pytest.raises(CallEnded) as ended:
        call(worker, *arguments, **limits)
    assert (ended.value.how, ended.value.detail) == (how, detail)
    assert call(worker, "echo", 1)[0] == 1
    assert worker.started == 2


def test_what_a_call_told_before_it_ended_is_known(worker):
    call(worker, "echo", 1)
    with pytest.raises(CallEnded) as ended:
        call(worker, "sleep", seconds=0.3)
    assert ended.value.facts == {"stage": "masks", "shape": (4, 5, 6)}


@pytest.mark.parametrize(("what", "how"), [("spawn", "time"), ("fork", "died")])
def test_processes_that_a_child_started_end_with_it(worker, tmp_path, what, how):
    path = tmp_path / "pid"
    with pytest.raises(CallEnded) as ended:
        call(worker, what, path, seconds=2.0)
    assert ended.value.how == how
    assert gone(int(path.read_text()))


def test_an_error_of_ours_passes_through_and_the_child_stays(worker):
    with pytest.raises(InputError, match="No space left"):
        call(worker, "refuse")
    call(worker, "echo", 1)
    assert worker.started == 1


def test_a_child_that_ended_while_it_waited_is_replaced(worker):
    _, child, _ = call(worker, "echo", 1)
    os.kill(child, signal.SIGKILL)
    assert gone(child)
    assert call(worker, "echo", 2)[1] != child


def test_a_lighter_call_has_a_child_of_its_own(worker):
    names = ["MALLOC_ARENA_MAX", "OMP_NUM_THREADS"]
    for lighter, arenas in ((False, None), (True, "1"), (True, "1"), (False, None)):
        found = call(worker, "environment", names, lighter=lighter)
        assert found == {"MALLOC_ARENA_MAX": arenas, "OMP_NUM_THREADS": "1"}
    assert worker.started == 3


def test_every_library_has_one_thread(worker):
    threads = call(worker, "threads")
    assert {"itk", "numba", "blosc", "zarr"} < set(threads)
    assert set(threads.values()) == {1}


def test_signals_that_the_parent_ignores_are_not_ignored_by_what_a_child_starts(worker):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert call(worker, "handler", signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_child_prints_to_the_error_stream(worker, capfd):
    call(worker, "print")
    worker.close()
    out, error = capfd.readouterr()
    assert (out, error) == ("", "from a network\n")


def test_a_function_that_is_not_there_is_said(capfd):
    with pytest.raises(InputError, match=r"worker process cannot start \(exit status 1\): fake_calls:nothing"):
        call(Worker("fake_calls:nothing"), 1)


def test_a_worker_is_closed_from_another_thread(worker):
    threading.Timer(0.3, worker.close).start()
    with pytest.raises(WorkerClosed):
        call(worker, "sleep")
    with pytest.raises(WorkerClosed):
        call(worker, "echo", 1)


OWNER = """
import sys, threading
from pathlib import Path
from preprocess.worker import Worker
worker = Worker("fake_calls:act")
print(worker.call("echo", 1, seconds=None, memory_bytes=1 << 30)[1], flush=True)
if sys.argv[1] == "busy":
    worker.call("sleep", seconds=None, memory_bytes=1 << 30)
sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_child_ends_when_its_parent_is_killed(state):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", OWNER, state]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as parent:
        child = int(parent.stdout.readline())
        assert not gone(child, within=0.1)
        parent.kill()
    assert gone(child)
