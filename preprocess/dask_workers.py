"""Hands studies to dask workers, on this machine or on a cluster that is already there; each owns one child process."""

import logging
import threading
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import dask
from distributed import Client, Scheduler, SpecCluster, WorkerPlugin, as_completed, get_worker
from distributed import Worker as DaskWorker
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from preprocess.errors import InputError
from preprocess.limits import Limits
from preprocess.one_study import Outcome, Outcomes, record_lost, try_study
from preprocess.study import Settings, StudyTask
from preprocess.worker import Worker

logger = logging.getLogger(__name__)

PER_WORKER = 2
"""Studies handed out to each worker at a time: the one it does, and the next."""
_CONNECT_SECONDS = 30
_WORKER_SECONDS = 120
_LOOPBACK = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""Nothing else is looked up or listened at; dask serves its (empty) pages all the same."""
_ONE_THREAD = {"nthreads": 1, "memory_limit": None}  # the children are watched
_QUIET = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.limit": "1 day",
    "distributed.admin.tick.interval": "1 s",
    "distributed.admin.system-monitor.interval": "10 s",
}


class StudyWorker(WorkerPlugin):  # type: ignore[misc]
    """What one dask worker has for the length of a run: a child process that does its studies.

    Args:
        target: What the child calls.
        settings: Of the run.
        limits: Of one attempt at a study.
    """

    def __init__(self, target: str, settings: Settings, limits: Limits) -> None:
        self.target = target
        self.settings = settings
        self.limits = limits

    def setup(self, worker: Any) -> None:
        """Called by dask where the worker is."""
        self.worker = Worker(self.target)
        self.turn = threading.Lock()

    def teardown(self, worker: Any) -> None:
        """Called by dask as the run, or the worker, ends."""
        self.worker.close()

    def do(self, task: StudyTask, at_a_time: int, alone: bool) -> Outcome:
        """One study at a time, however many threads the dask worker has."""
        with self.turn:
            return try_study(self.worker, task, self.settings, self.limits, at_a_time=at_a_time, alone=alone)


def run_on_dask(
    tasks: Sequence[StudyTask],
    settings: Settings,
    limits: Limits,
    *,
    workers: int,
    cluster: str | None,
    target: str,
) -> Outcomes:
    """Outcomes of all tasks, as they come; close the iterator to end all children.

    Studies that need more memory than their share come last, one at a time on each machine, while all other children
    are at rest.

    Args:
        tasks: Studies to do.
        settings: Of the run.
        limits: Of one attempt at a study.
        workers: Dask workers on this machine.
        cluster: Address of a scheduler to use instead.
        target: What the children call.

    Raises:
        InputError: The store can no longer be written, or the cluster is not there.
    """
    name = f"ctvlp-{uuid.uuid4().hex[:12]}"
    with (
        dask.config.set(_QUIET),
        _local(workers) if cluster is None else _existing(cluster) as client,
        _installed(client, StudyWorker(target, settings, limits), name),
    ):
        hosts = _hosts(client)
        crowd = max(map(len, hosts.values()))
        again = []
        for task, future in _ended(client, name, tasks, crowd):
            outcome = _outcome(future, task, settings, cluster)
            if outcome.piece is None:
                again.append(task)
            yield outcome
        if again:
            client.run(_rest, name)
            places = [addresses[0] for addresses in hosts.values()]
            for task, future in _ended(client, name, again, 1, places):
                yield _outcome(future, task, settings, cluster)


def _do(name: str, task: StudyTask, at_a_time: int, alone: bool) -> Outcome:
    """Runs in a dask worker."""
    plugin: StudyWorker = get_worker().plugins[name]
    return plugin.do(task, at_a_time, alone)


def _rest(name: str, dask_worker: Any) -> None:
    """Runs in a dask worker: its child ends, and gives its memory back; another starts when it is needed."""
    dask_worker.plugins[name].worker.stop()


def _ended(
    client: Any, name: str, tasks: Sequence[StudyTask], at_a_time: int, places: Sequence[str] | None = None
) -> Iterator[tuple[StudyTask, Any]]:
    """Tasks with their futures, as they end; a few are handed out at a time, so that the scheduler stays small.

    Args:
        client: Of the cluster.
        name: Of the plugin that does the work.
        tasks: To do.
        at_a_time: Studies under way on a machine at a time.
        places: Workers that get one study at a time, which is alone on its machine; None hands out to any.
    """
    waiting = iter(tasks)  # built as they are handed out
    running: dict[Any, tuple[StudyTask, str | None]] = {}
    free: deque[str | None] = deque(places or ())

    def hand_out() -> list[Any]:
        if places is None:
            free.extend([None] * (PER_WORKER * max(1, len(client.nthreads())) - len(running)))
        handed = []
        for task in islice(waiting, len(free)):
            place = free.popleft()
            where = {} if place is None else {"workers": [place], "allow_other_workers": True}
            key = f"{name}-{task.study_id}-{'again' if places else 'first'}"
            handed.append(client.submit(_do, name, task, at_a_time, bool(places), key=key, pure=False, **where))
            running[handed[-1]] = (task, place)
        if places is None:
            free.clear()
        return handed

    ended = as_completed(hand_out(), loop=client.loop)
    for future in ended:
        task, place = running.pop(future)
        if places is not None:
            free.append(place)
        yield task, future
        for handed in hand_out():
            ended.add(handed)


def _outcome(future: Any, task: StudyTask, settings: Settings, cluster: str | None) -> Outcome:
    try:
        outcome: Outcome = future.result()
    except KilledWorker:
        return Outcome(record_lost(task, settings), 0, 0)
    except (FutureCancelledError, CommClosedError) as error:
        where = "the cluster on this machine" if cluster is None else f"cluster={cluster}"
        raise InputError(f"{where} was lost; the same command goes on where it stopped") from error
    return outcome


def _hosts(client: Any) -> dict[str, list[str]]:
    """Machine to the addresses of its workers, sorted."""
    hosts: dict[str, list[str]] = {}
    for address in sorted(client.nthreads()):
        hosts.setdefault(str(urlsplit(address).hostname), []).append(address)
    return hosts


@contextmanager
def _installed(client: Any, plugin: StudyWorker, name: str) -> Iterator[None]:
    """Every dask worker, also one that joins later, has the plugin; its child ends with the block."""
    try:
        client.register_plugin(plugin, name=name)
    except ImportError as error:
        raise InputError(f"the dask workers cannot load this program: {error}") from error
    try:
        yield
    finally:
        with suppress(CommClosedError, OSError, TimeoutError, KeyError):  # a worker that is gone has no child
            client.unregister_worker_plugin(name)


@contextmanager
def _local(workers: int) -> Iterator[Any]:
    """Single-threaded workers on this machine; threads of this process, for they do nothing but wait for children."""
    with (
        _silence(),
        SpecCluster(
            scheduler={"cls": Scheduler, "options": _LOOPBACK},
            workers={number: {"cls": DaskWorker, "options": _LOOPBACK | _ONE_THREAD} for number in range(workers)},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def _silence() -> Iterator[None]:
    """Dask tells of each connection, which is not this program's log."""
    log = logging.getLogger("distributed")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


@contextmanager
def _existing(address: str) -> Iterator[Any]:
    """A cluster that is already there and has workers."""
    try:
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(f"cluster={address}: no dask scheduler answers there ({error})") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKER_SECONDS)
        except TimeoutError as error:
            raise InputError(f"cluster={address} has no worker") from error
        yield client
