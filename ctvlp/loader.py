"""Batches made ahead in processes of their own: the same ones, in the same order, for any number of them."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from threading import Thread, current_thread, main_thread
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Dataset

from ctvlp.batches import Batch
from ctvlp.packing import Packed, pack, unpack
from ctvlp.samples import Sample
from ctvlp.sampling import Step
from preprocess.errors import CtvlpError

PATIENCE_S = 5.0
"""Seconds that processes get to end by themselves."""

StartMethod = Literal["spawn", "forkserver", "fork"]
Studies = Mapping[str, Sequence[Sample]]
"""Study to its samples."""
BuildBatch = Callable[[int, Studies], Batch]
"""Builds the batch of a step, by number, from studies; see `ctvlp.data.build_batch`."""


class _Steps(Dataset[Packed | Exception]):
    """What a process does: it builds the batch of a step that comes with all it takes."""

    def __init__(self, build: BuildBatch) -> None:
        self.build = build

    def __getitem__(self, work: tuple[int, Studies]) -> Packed | Exception:
        """Build a batch; an error that has a clear message of its own is handed over as it is."""
        try:
            return pack(self.build(*work))
        except (CtvlpError, OSError) as error:
            return error


@contextmanager
def open_batches(
    steps: Iterable[Step],
    samples: Studies,
    build: BuildBatch,
    *,
    workers: int = 0,
    start: StartMethod = "forkserver",
    ahead: int = 2,
    timeout_s: float = 300.0,
    rank: int = 0,
    ranks: int = 1,
    pin_memory: bool = False,
) -> Generator[Iterator[tuple[Step, Batch]]]:
    """Give the steps' batches, one after the other; processes end with the `with` block.

    Samples travel with each step's number, so that processes stay small and are the same size after a thousand steps.

    Args:
        steps: Which studies each step takes.
        samples: Of all studies.
        build: Builds a batch; has to be picklable for processes that are not forked.
        workers: Processes that build batches; 0 builds each when it is asked for, in the training process.
        start: How they start: "spawn" and "forkserver" are safe beside threads and CUDA, "fork" is quickest.
        ahead: Batches that each of them keeps ready.
        timeout_s: Seconds after which a batch that does not come is an error.
        rank: This one builds studies `rank`, `rank + ranks`, ... of each step.
        ranks: Number of training processes.
        pin_memory: Put batches of such processes into page-locked memory; takes a GPU. One that the training process
            builds stays as it is: that process would wait for the copy into such memory as for the one to the GPU.

    Raises:
        CtvlpError: A process died, or a batch did not come in time; also what `build` raises. Within the block.
    """
    if workers == 0:
        yield ((step, build(step.number, _mine(step, samples, rank, ranks))) for step in steps)
        return
    sent: deque[Step] = deque()
    loader = DataLoader(
        _Steps(build),
        batch_size=None,
        sampler=_work(steps, sent, samples, rank, ranks),
        num_workers=workers,
        prefetch_factor=ahead,
        collate_fn=_as_it_is,
        worker_init_fn=_follow_parent,
        multiprocessing_context=_context(start),
        timeout=timeout_s,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # torch's own random state stays as it is
    )
    others = set(multiprocessing.active_children())
    try:
        received: Any = iter(loader)
    except OSError as error:
        raise CtvlpError(f"loader processes (start={start}) cannot be started: {error.strerror or error}") from error
    processes = [process for process in multiprocessing.active_children() if process not in others]
    try:
        yield _unpacked(received, sent)
    except RuntimeError as error:  # from wherever the block was: torch raises it when a process's end is signalled
        raise _explained(error, timeout_s) from error
    finally:
        _end(received._shutdown_workers, processes)


def _mine(step: Step, samples: Studies, rank: int, ranks: int) -> Studies:
    return {study: samples[study] for study in step.studies[rank::ranks]}


def _work(
    steps: Iterable[Step], sent: deque[Step], samples: Studies, rank: int, ranks: int
) -> Iterator[tuple[int, Studies]]:
    for step in steps:
        sent.append(step)
        yield step.number, _mine(step, samples, rank, ranks)


def _unpacked(received: Iterable[Packed | Exception], sent: deque[Step]) -> Iterator[tuple[Step, Batch]]:
    for item in received:
        if isinstance(item, Exception):
            raise item
        yield sent.popleft(), unpack(item)


def _context(start: StartMethod) -> Any:
    context = multiprocessing.get_context(start)
    if start == "forkserver":
        context.set_forkserver_preload(["torch"])  # imported once for all processes, which takes most of their start
    return context


def _end(ask: Callable[[], None], processes: Sequence[BaseProcess]) -> None:
    """End processes: they are asked to, and killed where they do not heed it, for they hang, or died holding a lock.

    Args:
        ask: Asks them; can itself wait for ever.
        processes: All of them.
    """
    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE_S)
    heard = current_thread() is main_thread()
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if heard else None  # torch makes an error of each end
    for process in processes:
        process.kill()
    for process in processes:
        process.join(PATIENCE_S)
    asking.join(PATIENCE_S)
    if heard:
        signal.signal(signal.SIGCHLD, before)


def _follow_parent(_: int) -> None:
    """Leave signals to the parent, which may still want a batch, and end as soon as it has, however that came about.

    Torch's own watch asks for the id of the parent, which to a process of a fork server is that of the server.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()


def _as_it_is(item: Any) -> Any:
    return item


def _explained(error: RuntimeError, timeout_s: float) -> Exception:
    """Return a loader's error in words of ours; any other as it is."""
    message = str(error).partition("\n")[0]
    if message.startswith("DataLoader timed out"):
        return CtvlpError(
            f"no batch came for {timeout_s:g} s: a loader process hangs, or the store is too slow; check the "
            "store's disk, or raise loader_timeout_s"
        )
    if message.startswith(("DataLoader worker", "Pin memory thread")):
        return CtvlpError(
            f"a loader process died ({message}); often memory or /dev/shm ran out: lower loader_workers or loader_ahead"
        )
    return error
