"""Hands studies to worker processes on this machine, or does them here, one after the other."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from preprocess.environment import environment
from preprocess.errors import Reason
from preprocess.pieces import Piece
from preprocess.study import Settings, StudyTask, process_study, record

logger = logging.getLogger(__name__)

PER_WORKER = 2
"""Studies handed out to each process at a time: the one it does, and the next."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_QUIET = {
    "distributed.logging": {"distributed": "critical"},
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.limit": "1 day",
}


def run_tasks(
    tasks: Sequence[StudyTask], settings: Settings, *, workers: int, on_piece: Callable[[Piece], None]
) -> None:
    """Does every task, in any order.

    Args:
        tasks: Studies to do.
        settings: Of the run.
        workers: Processes; 1 does the work in this one.
        on_piece: Called in this process as each study ends.

    Raises:
        InputError: Where the store can no longer be written; what is under way is dropped.
    """
    if workers <= 1 or len(tasks) <= 1:
        for task in tasks:
            on_piece(process_study(task, settings))
        return
    for piece in _on_cluster(tasks, settings, min(workers, len(tasks))):
        on_piece(piece)


def _on_cluster(tasks: Sequence[StudyTask], settings: Settings, workers: int) -> Iterator[Piece]:
    """Pieces as they come.

    A process that dies takes several studies with it: the one that killed it and those that waited for it. Each of
    them is tried once more, alone, and recorded if the process dies again.
    """
    with _cluster(workers) as client:
        lost: list[StudyTask] = []
        yield from _in_flight(client, tasks, settings, PER_WORKER * workers, lost)
        for task in lost:
            logger.warning("study %s was under way when a worker process died; it is tried once more", task.study_id)
            again: list[StudyTask] = []
            yield from _in_flight(client, [task], settings, 1, again)
            if again:
                yield _killed(task, settings)


def _in_flight(
    client: Any, tasks: Sequence[StudyTask], settings: Settings, most: int, lost: list[StudyTask]
) -> Iterator[Piece]:
    """Pieces of tasks, `most` handed out at a time; those whose process dies are added to `lost`."""
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    waiting = deque(tasks)
    running: dict[Any, StudyTask] = {}

    def hand_out() -> list[Any]:
        handed = []
        while waiting and len(running) < most:
            task = waiting.popleft()
            handed.append(client.submit(process_study, task, settings, pure=False, retries=0))
            running[handed[-1]] = task
        return handed

    ended = as_completed(hand_out())
    for future in ended:
        task = running.pop(future)
        error = future.exception()
        if isinstance(error, KilledWorker):
            lost.append(task)
        else:
            yield future.result()  # raises what the worker raised
        for handed in hand_out():
            ended.add(handed)


def _killed(task: StudyTask, settings: Settings) -> Piece:
    """Records a study whose process died twice."""
    piece = Piece(
        task.study_id,
        task.patient_id,
        "failed",
        task.digest,
        stage="worker",
        reason=str(Reason.OUT_OF_MEMORY),
        message="its worker process was killed twice, most likely for want of memory: use fewer workers",
    )
    record(piece, settings)
    return piece


@contextmanager
def _cluster(workers: int) -> Iterator[Any]:
    """A dask cluster of single-threaded processes that speak over loopback alone."""
    import dask
    from distributed import Client, LocalCluster

    with (
        environment(dict.fromkeys(_THREADS, "1")),  # worker processes inherit it
        dask.config.set(_QUIET),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # a free port for what dask calls its dashboard, which stays empty
            scheduler_kwargs={"dashboard": False},
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
