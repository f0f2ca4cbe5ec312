"""Files appear whole or not at all: written beside their place, flushed to disk, then renamed; or uploaded whole."""

import io
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from preprocess.store_place import StorePath, StoreUrl

_ABANDONED_SECONDS = 24 * 3600


def publish(path: StorePath, data: bytes) -> None:
    """Write a file in one step that no reader and no kill can see half of; see `publishing`."""
    if isinstance(path, StoreUrl):
        path.write_bytes(data)
        return
    with publishing(path) as stream:
        stream.write(data)


@contextmanager
def publishing(path: StorePath, *, private: bool = False) -> Iterator[BinaryIO]:
    """Give a stream whose content becomes the file when the block ends without an error.

    Args:
        path: The file; replaced if it is there. At a URL it is uploaded at the end of the block.
        private: Only its owner may read it.

    Raises:
        OSError: The file system refuses; nothing is left behind.
    """
    if isinstance(path, StoreUrl):
        buffer = io.BytesIO()
        yield buffer
        path.write_bytes(buffer.getvalue())
        return
    prefix = f".{path.name[:80]}.{_host()}-{os.getpid()}-"
    descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if not private:
            temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def remove_leftovers(folder: StorePath) -> int:
    """Delete what killed writers left in a folder; files of writers that still run are kept. A URL has no leftovers.

    Args:
        folder: Folder that `publish` wrote into.

    Returns:
        Number of files deleted.
    """
    if isinstance(folder, StoreUrl):
        return 0
    removed = 0
    for path in sorted(folder.glob(".*.tmp")):
        host, _, rest = path.name.rsplit(".", 2)[1].rpartition(f"{_host()}-")
        process = rest.split("-", 1)[0]
        mine = not host and process.isdigit()
        abandoned = not _runs(int(process)) if mine else time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
        if abandoned:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _host() -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in socket.gethostname())[:40]


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
