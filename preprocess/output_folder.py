"""The folder that becomes a store: refused before work starts where it cannot or should not be one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from preprocess.errors import InputError
from preprocess.publish import publish, remove_leftovers
from preprocess.store_place import StorePath, StoreUrl

_PROBE_BYTES = 1 << 20


def check_out(archive: Path, out: StorePath) -> None:
    """Refuses a place where a store cannot or should not lie; writes nothing."""
    try:
        if out.exists() and not out.is_dir():
            raise InputError(f"out {out} is a file; the store needs a folder of its own")
        foreign = not _is_empty(out) and not (out / "studies").is_dir()
    except OSError as error:
        raise InputError(f"out {out} cannot be read: {error.strerror or error}") from error
    if isinstance(out, Path) and archive.exists() and archive.resolve().is_relative_to(out.resolve()):
        raise InputError(f"out {out} holds the archive; the store needs a folder of its own")
    if foreign:
        raise InputError(f"out {out} is not empty and is no store (it has no folder `studies`)")


def check_memory(out: StorePath, *, workers: int | None, cluster: str | None) -> None:
    """Refuses a store in this process's memory where other processes would do the work.

    Raises:
        InputError: They would.
    """
    if isinstance(out, StoreUrl) and out.in_memory and (workers != 0 or cluster is not None):
        raise InputError(f"out {out} lies in the memory of this process, which workers cannot reach: give workers=0")


def _is_empty(out: StorePath) -> bool:
    return not out.exists() or (isinstance(out, Path) and not any(out.iterdir()))


@contextmanager
def prepared_out(out: StorePath) -> Iterator[None]:
    """Makes the store's folder and tries whether a file of some size can be written there.

    Where that fails, or the block ends with an error, the folders made for it go again, unless something lies in them.

    Raises:
        InputError: Where it cannot be written.
    """
    folders = (out / "studies", out, *out.parents) if isinstance(out, Path) else ()
    made = [folder for folder in folders if not folder.exists()]
    try:
        _probe(out)
        yield
    except BaseException:
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise


def _probe(out: StorePath) -> None:
    probe = out / "studies" / f".probe.{os.getpid()}"
    try:
        (out / "studies").mkdir(parents=True, exist_ok=True)
        try:
            publish(probe, b"\0" * _PROBE_BYTES)
        finally:
            for left in probe.parent.glob(".probe.*"):  # of runs killed here, too
                left.unlink(missing_ok=True)
        for folder in (out, out / "studies", out / "text"):
            remove_leftovers(folder)
    except OSError as error:
        raise InputError(f"out {out} cannot be written: {error.strerror or error}") from error
