"""One process a GPU that holds the networks and labels what the other processes of this machine hand over.

Reading, resampling, crops and writing stay in the processes that ask, which load no network and no torch; between
them goes an image at the networks' spacing, some megabytes, through a socket file in a private folder. A process has
at most one image under way, so that what waits is bounded by the number of processes. While the network runs for one,
the others work on their next studies.
"""

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import cache
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from preprocess.errors import CtvlpError, Reason, StudyError
from preprocess.networks import Inference, networks_loaded, run_network
from preprocess.volume import Labels
from preprocess.weights import Network
from preprocess.worker import CallEnded, Worker, WorkerClosed

logger = logging.getLogger(__name__)

_ATTEMPTS = 3
_START_SECONDS = 300.0
_LOOK_SECONDS = 0.05
_NO_LIMIT = 1 << 62


@contextlib.contextmanager
def network_service() -> Iterator[Path]:
    """A process for the networks, started again whenever it dies, until the block ends.

    Yields:
        Its address, for `run_network_at` in any process of this machine and user.
    """
    with tempfile.TemporaryDirectory(prefix="ctvlp-networks-", ignore_cleanup_errors=True) as folder:
        address = Path(folder) / "socket"
        worker = Worker("preprocess.network_service:serve")
        keeper = threading.Thread(target=_keep_alive, args=(worker, address), name="networks", daemon=True)
        keeper.start()
        try:
            yield address
        finally:
            worker.close()
            keeper.join()


def _keep_alive(worker: Worker, address: Path) -> None:
    while True:
        try:
            worker.call(str(address), seconds=None, memory_bytes=_NO_LIMIT)
        except CallEnded as ended:
            logger.warning("the process that holds the networks died (%s); another is started", ended.detail)
        except WorkerClosed:
            return
        except CtvlpError:
            logger.exception("the process that holds the networks cannot start")
            shutil.rmtree(address.parent)  # nobody need wait for it
            return


def serve(address: str, *, tell: Any) -> None:
    """Answers all processes that connect, one image after another, for as long as this process lives.

    Args:
        address: Path of the socket file to make.
        tell: Hears, as a keyword, that the service is `ready`.
    """
    Path(address).unlink(missing_ok=True)
    turn = threading.Lock()
    with Listener(address, family="AF_UNIX", backlog=128) as listener:
        tell(ready=True)
        while True:
            connection = listener.accept()
            threading.Thread(target=_answer_all, args=(connection, turn), daemon=True).start()


def _answer_all(connection: "Connection[Any, Any]", turn: threading.Lock) -> None:
    """Labels or the error for each image; the number of networks loaded for None."""
    with connection, contextlib.suppress(EOFError, OSError):
        while True:
            request = connection.recv()
            with turn:
                answer = networks_loaded() if request is None else _run(*request)
            connection.send(answer)


def _run(network: Network, image: npt.NDArray[Any], spacing_mm: tuple[float, float, float], how: Inference) -> Any:
    try:
        return run_network(network, image, spacing_mm, how)
    except CtvlpError as error:
        if getattr(error, "reason", None) is Reason.SEGMENTER and "cuda error" in str(error).lower():
            logger.critical("the GPU cannot be used by this process any more: %s", error)
            os._exit(1)  # a fresh process can use it
        return error


def run_network_at(
    address: Path | None,
    network: Network,
    image: npt.NDArray[Any],
    spacing_mm: tuple[float, float, float],
    how: Inference,
) -> Labels:
    """What `run_network` gives: from the process behind an address, or without one from this process.

    Raises:
        InputError: The network cannot be loaded, or not on this device.
        StudyError: `OUT_OF_MEMORY`, `SEGMENTER`, or the service died again and again.
    """
    if address is None:
        return run_network(network, image, spacing_mm, how)
    answer = _ask(address, (network, np.ascontiguousarray(image), spacing_mm, how))
    if isinstance(answer, CtvlpError):
        raise answer
    labels: Labels = answer
    return labels


def service_networks_loaded(address: Path) -> int:
    """How many networks the process behind an address has read from disk."""
    return int(_ask(address, None))


def _ask(address: Path, request: Any) -> Any:
    """The answer; where the service dies meanwhile, that of the next one."""
    last: Exception | None = None
    for _ in range(_ATTEMPTS):
        try:
            connection = _connection(address, os.getpid(), threading.get_ident())
            connection.send(request)
            return connection.recv()
        except (EOFError, OSError) as error:
            _connection.cache_clear()
            last = error
    raise StudyError(Reason.SEGMENTER, f"the process that holds the networks died {_ATTEMPTS} times over") from last


@cache
def _connection(address: Path, process: int, thread: int) -> "Connection[Any, Any]":
    """This thread's own connection to a service; one that is being started is waited for."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            return Client(str(address), family="AF_UNIX")
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > deadline or not address.parent.is_dir():
                raise
            time.sleep(_LOOK_SECONDS)
