"""Brings the index up to date with the archive: what changed is read, what is gone is removed, all in small commits.

Folders are visited in the order of their rows. A folder whose time of modification is the known one is not listed. A
listed folder is compared with its rows inside the database, so that no list of files is ever held; its time is written
down only after all its files are, so that a run that is killed lists it again and reads only what is missing.
"""

import logging
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from errno import ENOENT
from itertools import islice
from typing import Literal

from preprocess.errors import InputError
from preprocess.index_files import Facts
from preprocess.index_readers import Submit
from preprocess.index_rows import File, Folder, Settled, forget_files, forget_folder, write_batch
from preprocess.index_trees import UNSETTLED, Entry, Tree

logger = logging.getLogger(__name__)

RefreshMode = Literal["folders", "files"]
BATCH = 4096
"""Files that are read and committed together."""
RACY_NS = 2_000_000_000
"""What changed within this time before it was looked at may change once more unseen: clocks of file systems are
coarse."""
_PAGE = 500


@dataclass
class RefreshCounts:
    """What a refresh did so far.

    Attributes:
        visited: Folders that were looked at.
        listed: Folders whose content was listed.
        read: Files that were new or had changed.
        removed: Files that are gone or had changed.
        studies: Studies that were new or had changed.
    """

    visited: int = 0
    listed: int = 0
    read: int = 0
    removed: int = 0
    studies: int = 0


def refresh_files(
    database: sqlite3.Connection,
    tree: Tree,
    submit: Submit,
    *,
    mode: RefreshMode = "folders",
    batch: int = BATCH,
    progress: Callable[[RefreshCounts], None] | None = None,
) -> RefreshCounts:
    """Makes the rows of folders and files those of the archive; studies that were touched are left open.

    Args:
        database: The index's.
        tree: The archive.
        submit: Reads files.
        mode: `folders` lists only folders whose time of modification changed, which shows that entries came or went;
            `files` lists all, and so finds files that were overwritten in place.
        batch: Files that are read and committed together; the next ones are gathered while they are read.
        progress: Called after each batch.

    Raises:
        InputError: Where the archive's top folder cannot be read, or is empty though the index knows its files.
    """
    counts = RefreshCounts()
    number = _begin(database, tree.place)
    under_way: deque[tuple[list[File], list[Settled], Callable[[], list[Facts]]]] = deque()

    def write() -> None:
        files, settled, result = under_way.popleft()
        write_batch(database, files, result(), settled)
        counts.read += len(files)
        if progress is not None:
            progress(counts)

    for files, settled in _batches(_steps(database, tree, number, mode, counts), batch):
        under_way.append((files, settled, submit([file.path for file in files])))
        while len(under_way) > 1:
            write()
    while under_way:
        write()
    return counts


def _begin(database: sqlite3.Connection, place: str) -> int:
    """Number of this pass over the folders; all of them are listed where the archive is another than last time."""
    known = database.execute("SELECT value FROM meta WHERE name = 'place'").fetchone()
    if known is None or known[0] != place:
        database.execute("UPDATE folder SET mtime_ns = NULL")
    database.execute("INSERT OR REPLACE INTO meta VALUES ('place', ?), ('complete', 0)", (place,))
    database.execute("INSERT OR IGNORE INTO folder (path, pass) VALUES (?, 0)", (b"",))
    number = int(database.execute("SELECT max(pass) FROM folder").fetchone()[0]) + 1
    database.commit()
    return number


def _batches(steps: Iterable[File | Settled], size: int) -> Iterator[tuple[list[File], list[Settled]]]:
    files: list[File] = []
    settled: list[Settled] = []
    for step in steps:
        if isinstance(step, File):
            files.append(step)
        else:
            settled.append(step)
        if len(files) == size or len(settled) == size:
            yield files, settled
            files, settled = [], []
    yield files, settled


def _steps(
    database: sqlite3.Connection, tree: Tree, number: int, mode: RefreshMode, counts: RefreshCounts
) -> Iterator[File | Settled]:
    """Visits every folder once, and gives the files that have to be read."""
    while page := database.execute(
        "SELECT id, path, mtime_ns FROM folder WHERE pass < ? ORDER BY pass, id LIMIT ?", (number, _PAGE)
    ).fetchall():
        for row in page:
            folder = Folder(row[0], os.fsdecode(row[1]), row[2])
            visit = "UPDATE folder SET pass = ?, problem = NULL WHERE id = ?"
            if not database.execute(visit, (number, folder.id)).rowcount:
                continue  # it was forgotten meanwhile
            counts.visited += 1
            try:
                yield from _visit(database, tree, folder, mode, counts)
            except OSError as error:
                _note_problem(database, tree, folder, error)
        database.commit()


def _visit(
    database: sqlite3.Connection, tree: Tree, folder: Folder, mode: RefreshMode, counts: RefreshCounts
) -> Iterator[File | Settled]:
    now = time.time_ns()
    mtime_ns = tree.mtime_ns(folder.path)
    if mtime_ns is None and not folder.path:
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT))
    if mtime_ns is None:
        counts.removed += forget_folder(database, folder.path)
    elif mode == "files" or mtime_ns == UNSETTLED or mtime_ns != folder.mtime_ns:
        counts.listed += 1
        newest = max(mtime_ns, _list(database, tree, folder))
        _refuse_empty(database, tree, folder)
        counts.removed += _forget_missing(database, folder)
        yield from _changed(database, folder)
        yield Settled(folder, mtime_ns if mtime_ns != UNSETTLED and newest < now - RACY_NS else None)


def _list(database: sqlite3.Connection, tree: Tree, folder: Folder) -> int:
    """Lists a folder into the scratch tables; the newest time among its files."""
    database.execute("UPDATE folder SET mtime_ns = NULL WHERE id = ?", (folder.id,))
    database.execute("DELETE FROM listed")
    database.execute("DELETE FROM listed_folder")
    newest = 0
    entries = tree.entries(folder.path)
    while chunk := list(islice(entries, BATCH)):
        files = [entry for entry in chunk if not entry.folder]
        newest = max([newest, *(entry.mtime_ns for entry in files)])
        rows = [(os.fsencode(entry.name), entry.size, entry.mtime_ns) for entry in files]
        database.executemany("INSERT OR REPLACE INTO listed VALUES (?, ?, ?)", rows)
        paths = [(os.fsencode(_below(folder, entry)),) for entry in chunk if entry.folder]
        database.executemany("INSERT OR IGNORE INTO listed_folder VALUES (?)", paths)
    return newest


def _below(folder: Folder, entry: Entry) -> str:
    return f"{folder.path}/{entry.name}" if folder.path else entry.name


def _refuse_empty(database: sqlite3.Connection, tree: Tree, folder: Folder) -> None:
    """An archive that was full and is empty now is rather not mounted."""
    if folder.path:
        return
    for table in ("listed", "listed_folder"):
        if database.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():  # noqa: S608 - two names of our own
            return
    if database.execute("SELECT 1 FROM file LIMIT 1").fetchone():
        database.rollback()
        raise InputError(f"archive {tree.root} is empty, but its index knows files of it: is it mounted?")


def _forget_missing(database: sqlite3.Connection, folder: Folder) -> int:
    """Removes what is no longer listed, and files that changed; adds new subfolders. How many files went."""
    gone = database.execute(
        "SELECT path FROM folder WHERE parent = ? AND path NOT IN (SELECT path FROM listed_folder)", (folder.id,)
    ).fetchall()
    removed = sum(forget_folder(database, os.fsdecode(path)) for (path,) in gone)
    database.execute(
        "INSERT OR IGNORE INTO folder (path, parent, pass) SELECT path, ?, 0 FROM listed_folder", (folder.id,)
    )
    same = (
        "EXISTS (SELECT 1 FROM listed WHERE listed.name = file.name AND listed.size = file.size "
        "AND listed.mtime_ns = file.mtime_ns AND file.problem IS NULL)"
    )
    removed += forget_files(database, f"folder = ? AND NOT {same}", (folder.id,))
    database.execute(
        "DELETE FROM listed WHERE EXISTS (SELECT 1 FROM file WHERE file.folder = ? AND file.name = listed.name)",
        (folder.id,),
    )
    if removed or database.execute("SELECT 1 FROM listed LIMIT 1").fetchone():
        _open_images(database, folder)
    return removed


def _open_images(database: sqlite3.Connection, folder: Folder) -> None:
    """Opens the studies of images whose values may lie in another file of a folder that changed."""
    database.execute(
        "UPDATE study SET digest = NULL WHERE id IN (SELECT study FROM header JOIN file ON file.header = header.id "
        "WHERE file.folder = ? AND header.kind = 'itk')",
        (folder.id,),
    )


def _changed(database: sqlite3.Connection, folder: Folder) -> Iterator[File]:
    """What is left in the scratch table: files that are not in the index."""
    last = b""
    while page := database.execute(
        "SELECT name, size, mtime_ns FROM listed WHERE name > ? ORDER BY name LIMIT ?", (last, BATCH)
    ).fetchall():
        last = page[-1][0]
        for name, size, mtime_ns in page:
            yield File(folder, os.fsdecode(name), size, mtime_ns)


def _note_problem(database: sqlite3.Connection, tree: Tree, folder: Folder, error: OSError) -> None:
    """A folder that cannot be read keeps what is known of it, and is tried again next time."""
    reason = error.strerror or str(error)
    if not folder.path:
        raise InputError(f"archive {tree.root} cannot be read: {reason}") from error
    database.execute("UPDATE folder SET mtime_ns = NULL, problem = ? WHERE id = ?", (reason, folder.id))
