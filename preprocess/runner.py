"""Does the studies of a run within limits, one after the other or on dask workers."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace

from preprocess.limits import Limits
from preprocess.network_service import named_devices, network_service
from preprocess.one_study import PROCESS_STUDY, Outcomes, try_study
from preprocess.pieces import Piece
from preprocess.publish import remove_leftovers
from preprocess.signals import raise_on_sigterm
from preprocess.study import Settings, StudyTask
from preprocess.worker import Worker

DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Children:
    """What a run needed.

    Attributes:
        started: Number of child processes started; each loads the networks once, unless one process serves a GPU.
        restarted: Those of them that took the place of one that was ended or died.
    """

    started: int
    restarted: int


def run_tasks(
    tasks: Sequence[StudyTask],
    settings: Settings,
    *,
    workers: int,
    on_piece: Callable[[Piece], None],
    limits: Limits = DEFAULT_LIMITS,
    cluster: str | None = None,
    target: str = PROCESS_STUDY,
) -> Children:
    """Does every task, in any order; the bytes written do not depend on it.

    SIGTERM and Ctrl-C end all children and leave no half-written file; what is recorded stays, and the next run goes
    on.

    Args:
        tasks: Studies to do.
        settings: Of the run.
        workers: Studies under way at a time on this machine, each in a process of its own; 0 does them here, without
            limits.
        on_piece: Called in this process as each study ends.
        limits: Of time and memory, for one attempt at a study.
        cluster: Address of a dask scheduler; its workers do the studies instead.
        target: `module:function` that is called for each study, with `process_study`'s arguments.

    Raises:
        InputError: The store can no longer be written, or the cluster is not there; what is under way is dropped.
        Terminated: The process was asked to end.
    """
    started = restarted = 0
    if not tasks:
        return Children(0, 0)
    if workers == 0 and cluster is None:
        module, name = target.split(":")
        do = getattr(importlib.import_module(module), name)
        for task in tasks:
            on_piece(do(task, settings))
        return Children(0, 0)
    try:
        with (
            raise_on_sigterm(),
            _with_networks(settings, limits, workers, cluster) as served,
            closing(_outcomes(tasks, served, limits, workers, cluster, target)) as outcomes,
        ):
            for outcome in outcomes:
                started += outcome.started
                restarted += outcome.restarted
                if outcome.piece is not None:
                    on_piece(outcome.piece)
    finally:
        with suppress(OSError):
            remove_leftovers(settings.store / "studies")
    return Children(started, restarted)


@contextmanager
def _with_networks(settings: Settings, limits: Limits, workers: int, cluster: str | None) -> Iterator[Settings]:
    """The settings; where processes share GPUs, with the address of one more for each GPU, which holds the networks."""
    network = settings.network
    devices = [] if network is None else named_devices(network.device)
    shared = len(devices) > 1 or (workers > 1 and network is not None and network.device.startswith("cuda"))
    if network is None or cluster is not None or not shared:
        yield settings
        return
    with network_service(devices, seconds=limits.seconds) as service:
        yield replace(settings, network=replace(network, service=service))


def _outcomes(
    tasks: Sequence[StudyTask], settings: Settings, limits: Limits, workers: int, cluster: str | None, target: str
) -> Outcomes:
    if cluster is None and (workers == 1 or len(tasks) == 1):
        return _one_by_one(tasks, settings, limits, target)
    from preprocess.dask_workers import run_on_dask

    return run_on_dask(tasks, settings, limits, workers=min(workers, len(tasks)), cluster=cluster, target=target)


def _one_by_one(tasks: Sequence[StudyTask], settings: Settings, limits: Limits, target: str) -> Outcomes:
    again = []
    with closing(Worker(target)) as worker:
        for task in tasks:
            outcome = try_study(worker, task, settings, limits)
            if outcome.piece is None:
                again.append(task)
            yield outcome
        for task in again:
            yield try_study(worker, task, settings, limits, alone=True)
