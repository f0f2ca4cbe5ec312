"""Reads files for the index, here or in worker processes, a batch at a time."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from preprocess.errors import InputError
from preprocess.index_files import Facts, read_many

Submit = Callable[[Sequence[str]], Callable[[], list[Facts]]]
"""Begins to read the files at some paths; what it returns waits for them."""
_FILES_AT_ONCE = 128


@contextmanager
def file_readers(
    root: Path, *, workers: int, batch: int, read: Callable[[Sequence[str]], list[Facts]] | None = None
) -> Iterator[Submit]:
    """Reads files below a folder; processes start with the first whole batch, for they pay off only then.

    Args:
        root: The folder.
        workers: Processes; 1 reads in this one.
        batch: Size of a whole batch.
        read: Reads in place of `index_files.read_many`, in this process.

    Yields:
        See `Submit`; waiting raises InputError where a process was killed.
    """
    read_here = read or partial(read_many, root)
    pool: ProcessPoolExecutor | None = None

    def submit(paths: Sequence[str]) -> Callable[[], list[Facts]]:
        nonlocal pool
        if pool is None and (workers <= 1 or read is not None or len(paths) < batch):
            facts = read_here(paths)
            return lambda: facts
        if pool is None:
            pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        parts = [paths[at : at + _FILES_AT_ONCE] for at in range(0, len(paths), _FILES_AT_ONCE)]
        return partial(_gather, [pool.submit(read_many, root, part) for part in parts])

    try:
        yield submit
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _gather(futures: Sequence[Future[list[Facts]]]) -> list[Facts]:
    try:
        return [facts for future in futures for facts in future.result()]
    except BrokenProcessPool as error:
        raise InputError("a process that reads headers of the archive was killed: use fewer workers") from error
