"""Hands studies to worker processes on this machine, or does them here, one after the other."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from preprocess.errors import Reason
from preprocess.pieces import Piece
from preprocess.study import Settings, StudyTask, process_study, record

logger = logging.getLogger(__name__)

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_QUIET = {
    "distributed.logging": {"distributed": "critical"},
    "distributed.scheduler.allowed-failures": 1,
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
    """Pieces as they come; a study whose worker process dies is recorded too."""
    from distributed import as_completed

    with _cluster(workers) as client:
        shared = client.scatter(settings, broadcast=True)
        futures = {client.submit(process_study, task, shared, pure=False, retries=0): task for task in tasks}
        for future in as_completed(list(futures)):
            task = futures[future]
            if future.status == "finished":
                yield future.result()
            else:
                yield _lost(future.exception(), task, settings)
            future.release()


def _lost(error: BaseException, task: StudyTask, settings: Settings) -> Piece:
    """Records a study whose worker died, most often for want of memory; other errors go on to the caller."""
    from distributed.scheduler import KilledWorker

    if not isinstance(error, KilledWorker):
        raise error
    message = "its worker process was killed, most likely for want of memory: use fewer workers"
    piece = Piece(
        task.study_id,
        task.patient_id,
        "failed",
        task.digest,
        stage="worker",
        reason=str(Reason.OUT_OF_MEMORY),
        message=message,
    )
    record(piece, settings)
    return piece


@contextmanager
def _cluster(workers: int) -> Iterator[Any]:
    """A dask cluster of single-threaded processes that speak over loopback alone."""
    import dask
    from distributed import Client, LocalCluster

    environment = dict.fromkeys(_THREADS, "1")
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)  # worker processes inherit it
    try:
        with (
            dask.config.set(_QUIET),
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
