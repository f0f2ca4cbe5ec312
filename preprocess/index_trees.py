"""Where an archive's files stand: a folder tree, one file, or the files that a DICOMDIR names."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

import pydicom

from preprocess.errors import InputError
from preprocess.readers_dicom import DECODE_ERRORS

logger = logging.getLogger(__name__)

UNSETTLED = -1
"""Time of modification of a folder that has to be listed every time."""
STAT_THREADS = 8
"""Entries looked at side by side: on network file systems each look waits for the server."""
_CHUNK = 4096
_FEW = 32
"""Entries for which another thread does not pay off."""


class Entry(NamedTuple):
    """One entry of a folder.

    Attributes:
        name: Its name there.
        folder: Whether it is a folder; size and time are 0 then.
        size: Bytes.
        mtime_ns: Time of modification.
    """

    name: str
    folder: bool
    size: int = 0
    mtime_ns: int = 0


class Tree(Protocol):
    """Folders below a root; a folder is named by its path below the root, the root itself by an empty one.

    Attributes:
        root: The folder.
        place: Says which part of which folder the tree is.
    """

    root: Path
    place: str

    def mtime_ns(self, folder: str) -> int | None:
        """Time of modification of a folder, or None where it is gone.

        Raises:
            OSError: Where it cannot be looked at.
        """

    def entries(self, folder: str) -> Iterator[Entry]:
        """Files and folders in a folder, in any order.

        Raises:
            OSError: Where it cannot be listed.
        """


class DiskTree:
    """All files below a folder without hidden ones and DICOMDIR files; links to folders are not followed.

    Args:
        root: The folder.
        leave_out: Files and folders below it that are something else.
    """

    def __init__(self, root: Path, leave_out: Sequence[Path] = ()) -> None:
        self.root = root
        self._leave_out = {str(path.resolve()) for path in leave_out}
        self.place = json.dumps([str(root), *sorted(self._leave_out)])

    def mtime_ns(self, folder: str) -> int | None:
        """See `Tree`."""
        try:
            return (self.root / folder).stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return None

    def entries(self, folder: str) -> Iterator[Entry]:
        """See `Tree`."""
        with os.scandir(self.root / folder) as scan, ThreadPoolExecutor(STAT_THREADS) as threads:
            while chunk := list(islice(scan, _CHUNK)):
                kept = [entry for entry in chunk if self._counts(entry)]
                step = max(-(-len(kept) // STAT_THREADS), _FEW)
                parts = [kept[at : at + step] for at in range(0, len(kept), step)]
                looks = map(_entries, parts) if len(parts) <= 1 else threads.map(_entries, parts)
                yield from chain.from_iterable(looks)

    def _counts(self, entry: "os.DirEntry[str]") -> bool:
        return entry.name[0] != "." and entry.name.upper() != "DICOMDIR" and entry.path not in self._leave_out


class FileTree:
    """Given files alone, all below one root; their folders are listed every time.

    Args:
        root: Folder below which they lie.
        files: Their paths below it.
    """

    def __init__(self, root: Path, files: Sequence[str]) -> None:
        self.root = root
        self.place = json.dumps([str(root)])
        self._folders: dict[str, dict[str, bool]] = {"": {}}
        for file in files:
            self._add(PurePosixPath(file), folder=False)

    def _add(self, path: PurePosixPath, *, folder: bool) -> None:
        parent = "" if str(path.parent) == "." else str(path.parent)
        if parent not in self._folders:
            self._folders[parent] = {}
            self._add(path.parent, folder=True)
        self._folders[parent][path.name] = folder

    def mtime_ns(self, folder: str) -> int | None:
        """See `Tree`."""
        return UNSETTLED if folder in self._folders else None

    def entries(self, folder: str) -> Iterator[Entry]:
        """See `Tree`."""
        for name, is_folder in self._folders[folder].items():
            status = (self.root / folder / name).stat()
            yield Entry(name, True) if is_folder else Entry(name, False, status.st_size, status.st_mtime_ns)


def build_tree(archive: Path, leave_out: Sequence[Path] = ()) -> DiskTree | FileTree:
    """The tree of an archive: a folder, a file, or a file named DICOMDIR, which stands for the files that it names.

    Raises:
        InputError: Where it does not exist, or is a DICOMDIR that cannot be read.
    """
    if not archive.exists():
        raise InputError(f"archive {archive} does not exist")
    root = archive.resolve()
    if root.is_dir():
        return DiskTree(root, leave_out)
    if root.name.upper() == "DICOMDIR":
        return FileTree(root.parent, _files_of_dicomdir(root))
    return FileTree(root.parent, [root.name])


def _files_of_dicomdir(path: Path) -> list[str]:
    """Paths of the files that a DICOMDIR names, below its folder; media mounted in lower case are understood."""
    try:
        records = pydicom.dcmread(path).get("DirectoryRecordSequence") or []
    except (*DECODE_ERRORS, OSError) as error:
        raise InputError(f"archive {path} cannot be read as DICOMDIR: {' '.join(str(error).split())}") from error
    named = [record.get("ReferencedFileID") for record in records]
    parts = [[name] if isinstance(name, str) else list(name) for name in named if name]
    found = sorted({place for place in (_find(path.parent, one) for one in parts) if place is not None})
    if len(found) < len(parts):
        logger.warning("%d of the %d files that DICOMDIR names are not there", len(parts) - len(found), len(parts))
    return found


def _find(root: Path, parts: Sequence[str]) -> str | None:
    for spelling in (parts, [part.lower() for part in parts]):
        if ".." not in spelling and root.joinpath(*spelling).is_file():
            return "/".join(spelling)
    return None


def _entries(scanned: Sequence["os.DirEntry[str]"]) -> list[Entry]:
    """What stands in a part of a folder; what is gone, a link to a folder or no file at all is passed over."""
    found = []
    for entry in scanned:
        if entry.is_dir(follow_symlinks=False):
            found.append(Entry(entry.name, True))
        elif entry.is_file():
            status = entry.stat()
            found.append(Entry(entry.name, False, status.st_size, status.st_mtime_ns))
    return found
