"""The folder of a run: one run at a time works in it, and nothing half written stays."""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctvlp.ranks import Ranks
from preprocess.errors import InputError
from preprocess.publish import remove_leftovers

logger = logging.getLogger(__name__)

LOCK = "run.lock"
"""Names the host and the process that works in the folder; what holds is the lock on the file, not its presence."""


@contextmanager
def open_run(out: Path, ranks: Ranks) -> Iterator[None]:
    """Hold a run's folder until the block ends; it is made where there is none. All ranks call this.

    Raises:
        InputError: Another process trains there.
    """
    if not ranks.first:
        ranks.wait()
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            raise InputError(f"{out}: {stream.read().strip()} trains here; choose another folder") from error
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise
            logger.warning("%s: the file system has no locks; no other run may use this folder", out)
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        stream.flush()
        remove_leftovers(out)
        ranks.wait()
        yield
