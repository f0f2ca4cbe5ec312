"""Kills a process at the n-th time that it flushes a file or folder to disk: the instants between which state changes.

Of each file that is published, the first flush comes when it is whole under another name, the second when it has its
own name.
"""

import os
import signal
import sys
import time
from pathlib import Path

from preprocess import pipeline, publish, study
from preprocess.attempt import ANY_WAY, keep_silent
from preprocess.pipeline import preprocess_archive, run_tasks
from preprocess.recrop_store import recrop_store


def process_study(task, settings, attempt=ANY_WAY, *, tell=keep_silent):
    """`process_study`, killed once a plan says so; a plan is a file `<study>.kill` that holds `<who> <flush>`."""
    plan = settings.store.parent / f"{task.study_id}.kill"
    if plan.exists():
        who, flush = plan.read_text().split()
        plan.unlink()
        kill_at(int(flush), os.getpid() if who == "child" else os.getppid())
    return study.process_study(task, settings, attempt, tell=tell)


def kill_at(flush, process):
    """Ends a process in the middle of its n-th flush from now."""
    flushes, fsync = [], os.fsync

    def counted(descriptor):
        fsync(descriptor)
        flushes.append(descriptor)
        if len(flushes) == flush:
            os.kill(process, signal.SIGKILL)
            time.sleep(60)  # killed here, or as the parent is

    publish.os.fsync = counted


def run(root, workers):
    """Makes a store as the plans say."""
    pipeline.run_tasks = lambda *arguments, **options: run_tasks(*arguments, target="killing:process_study", **options)
    preprocess_archive(root / "archive", root / "store", masks=root / "masks", study_id="keep", workers=workers)


def recrop(root):
    """Crops a store anew."""
    options = {"masks": root / "masks", "study_id": "keep", "key_file": root / "key", "workers": 0}
    recrop_store(root / "archive", root / "store", **options, vocabulary=root / "mine.yaml")


def kill_one_run_after_the_other(do):
    """Kills a run at its first flush, the next at its second, and so on until one ends before; the number of kills."""
    status, kills = None, -1
    while status != 0:
        kills += 1
        process = os.fork()
        if not process:
            kill_at(kills + 1, os.getpid())
            do()
            os._exit(0)
        _, status = os.waitpid(process, 0)
        assert status in (0, signal.SIGKILL)
    return kills


if __name__ == "__main__":
    place = Path(sys.argv[2])
    if sys.argv[1] == "runs":
        sys.stdout.write(str(kill_one_run_after_the_other(lambda: run(place, 0))))
    elif sys.argv[1] == "recrops":
        sys.stdout.write(str(kill_one_run_after_the_other(lambda: recrop(place))))
    else:
        run(place, 1)
