"""One process a GPU that holds the networks and labels what the other processes of this machine hand over.

Reading, resampling, crops and writing stay in the processes that ask, which load no network and no torch; between
them goes an image at the networks' spacing, some megabytes, through a socket file in a private folder. A process has
at most one image under way, so that what waits is bounded by the number of processes. While the network runs for one,
the others work on their next studies. Where a process of the networks dies, the image that it was at has one more turn;
images that waited lose nothing.
"""

import contextlib
import faulthandler
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from preprocess.errors import CtvlpError, InputError, Reason, StudyError
from preprocess.networks import Inference, gpu_is_lost, networks_loaded, run_network
from preprocess.volume import Labels
from preprocess.weights import Network
from preprocess.worker import CallEnded, Worker, WorkerClosed

logger = logging.getLogger(__name__)

SERVE = "preprocess.network_service:serve"
_TURNS = 2
_STARTS = 3
_START_SECONDS = 300.0
_LOOK_SECONDS = 0.05
_NO_LIMIT = 1 << 62
_LONGEST_FOLDER = 60  # a socket's path has at most 107 bytes


@dataclass(frozen=True)
class ServiceState:
    """What a process of the networks is at.

    Attributes:
        networks: Number of networks that it has read from disk.
        images: Number of images that it has, the one under way included.
    """

    networks: int
    images: int


@contextlib.contextmanager
def network_service(devices: Sequence[str], *, seconds: float | None = None, target: str = SERVE) -> Iterator[Path]:
    """A process for the networks on each device, started again whenever it dies, until the block ends.

    Args:
        devices: `cuda` or `cuda:<number>` each (or `cpu`).
        seconds: Time allowed for one image; a process that takes longer ends, and another takes its place.
        target: `module:function` to call instead of `serve`.

    Yields:
        Folder of their addresses, for `run_network_at` in any process of this machine and user.
    """
    usual = tempfile.gettempdir()
    with (
        tempfile.TemporaryDirectory(
            prefix="ctvlp-networks-",
            dir=usual if len(usual) <= _LONGEST_FOLDER else "/tmp",  # noqa: S108 - the folder made there is private
            ignore_cleanup_errors=True,
        ) as folder,
        contextlib.ExitStack() as stack,
    ):
        for device in devices:
            stack.enter_context(_kept_alive(target, Path(folder) / device, seconds))
        yield Path(folder)


@contextlib.contextmanager
def _kept_alive(target: str, address: Path, seconds: float | None) -> Iterator[None]:
    worker = Worker(target)
    keeper = threading.Thread(target=_keep_alive, args=(worker, address, seconds), name=address.name, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        worker.close()
        keeper.join()


def _keep_alive(worker: Worker, address: Path, seconds: float | None) -> None:
    """Calls the service until the worker is closed; gives up, for all, where it does not even get ready."""
    failures = 0
    while failures < _STARTS:
        try:
            worker.call(str(address), seconds, seconds=None, memory_bytes=_NO_LIMIT)
        except CallEnded as ended:
            logger.warning("the networks' process on %s died (%s); another is started", address.name, ended.detail)
            failures = 0 if ended.facts.get("ready") else failures + 1
        except WorkerClosed:
            return
        except CtvlpError:
            logger.exception("the networks' process on %s cannot start", address.name)
            break
    shutil.rmtree(address.parent, ignore_errors=True)  # nobody need wait for it


@dataclass(frozen=True)
class _Work:
    """What the threads of a service share: whose turn it is, which connections have an image here, and its limit."""

    seconds: float | None
    turn: threading.Lock = field(default_factory=threading.Lock)
    waiting: set[int] = field(default_factory=set)


def serve(address: str, seconds: float | None, *, tell: Any) -> None:
    """Answers all processes that connect, one image after another, for as long as this process lives.

    Args:
        address: Path of the socket file to make.
        seconds: See `network_service`.
        tell: Hears, as a keyword, that the service is `ready`.
    """
    Path(address).unlink(missing_ok=True)
    work = _Work(seconds)
    with Listener(address, family="AF_UNIX", backlog=128) as listener:
        tell(ready=True)
        while True:
            connection = listener.accept()
            threading.Thread(target=_answer_all, args=(connection, work), daemon=True).start()


def _answer_all(connection: "Connection[Any, Any]", work: _Work) -> None:
    """For None the service's state; for an image `None` as its turn comes, and then labels or the error."""
    with connection, contextlib.suppress(EOFError, OSError):
        while True:
            request = connection.recv()
            if request is None:
                connection.send(ServiceState(networks_loaded(), len(work.waiting)))
                continue
            work.waiting.add(id(connection))
            try:
                with work.turn:
                    if connection.poll():  # nobody waits for this answer any more
                        return
                    connection.send(None)
                    _answer(connection, request, work.seconds)
            finally:
                work.waiting.discard(id(connection))


def _answer(
    connection: "Connection[Any, Any]",
    request: tuple[Network, npt.NDArray[Any], tuple[float, float, float], Inference],
    seconds: float | None,
) -> None:
    """Runs a network within the time allowed; ends this process where it can no longer use its GPU."""
    answer: Labels | CtvlpError
    if seconds is not None:
        faulthandler.dump_traceback_later(seconds, exit=True)  # even where a library hangs for ever
    try:
        answer = run_network(*request)
    except CtvlpError as error:
        answer = error
    finally:
        faulthandler.cancel_dump_traceback_later()
    try:
        connection.send(answer)
    finally:
        if isinstance(answer, StudyError) and gpu_is_lost(str(answer)):
            logger.critical("%s", answer)
            os._exit(1)  # before the next image has its turn


def run_network_at(
    service: Path | None,
    network: Network,
    image: npt.NDArray[Any],
    spacing_mm: tuple[float, float, float],
    how: Inference,
) -> Labels:
    """What `run_network` gives: from the process of a device of a service, or without one from this process.

    Args:
        service: Folder that `network_service` yields, or None.
        network: See `run_network`.
        image: See `run_network`.
        spacing_mm: See `run_network`.
        how: Its `device` may name several devices of the service, with commas between: the one with least to do is
            taken.

    Raises:
        InputError: The network cannot be loaded, or not on this device; or the service cannot be started.
        StudyError: `OUT_OF_MEMORY`, `SEGMENTER`, or the service died of this image twice.
    """
    if service is None:
        return run_network(network, image, spacing_mm, how)
    devices = named_devices(how.device)
    if len(devices) > 1:
        devices.sort(key=lambda device: service_state(service / device).images)
    request = (network, np.ascontiguousarray(image), spacing_mm, replace(how, device=devices[0]))
    answer = _ask(service / devices[0], request)
    if isinstance(answer, CtvlpError):
        raise answer
    labels: Labels = answer
    return labels


def named_devices(device: str) -> list[str]:
    """The devices that an option names, with commas between."""
    return list(dict.fromkeys(name.strip() for name in device.split(",")))


def service_state(address: Path) -> ServiceState:
    """What the process behind the address of one device is at."""
    state: ServiceState = _ask(address, None)
    return state


def _ask(address: Path, request: Any) -> Any:
    """The answer; where the service dies meanwhile, that of the next one."""
    turns = 0
    while True:
        connection = _connection(address, os.getpid(), threading.get_ident())
        try:
            connection.send(request)
            answer = connection.recv()
            if answer is None:
                turns += 1
                answer = connection.recv()
        except (EOFError, OSError) as error:
            _connection.cache_clear()
            if turns == _TURNS:
                message = f"the process that holds the networks died or hung {turns} times over at this image"
                raise StudyError(Reason.SEGMENTER, message) from error
        else:
            return answer


@cache
def _connection(address: Path, process: int, thread: int) -> "Connection[Any, Any]":
    """This thread's own connection to a service; one that is being started is waited for.

    Raises:
        InputError: The service is given up.
    """
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            return Client(str(address), family="AF_UNIX")
        except OSError as error:
            if time.monotonic() > deadline or not address.parent.is_dir():
                raise InputError(f"the process that holds the networks on {address.name} cannot be started") from error
            time.sleep(_LOOK_SECONDS)
