"""Rows of the index: batches of files and folders that are written, and files and folders that are forgotten."""

import hashlib
import os
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from preprocess.index_files import Facts, FileFacts, Unreadable


class Folder(NamedTuple):
    """A folder's row.

    Attributes:
        id: Of the row.
        path: Below the archive; empty for the archive itself.
        mtime_ns: Time of modification at which all its files were known, or None.
    """

    id: int
    path: str
    mtime_ns: int | None


class File(NamedTuple):
    """A new or changed file of a folder.

    Attributes:
        folder: Where it lies.
        name: Its name there.
        size: Bytes.
        mtime_ns: Time of modification.
    """

    folder: Folder
    name: str
    size: int
    mtime_ns: int

    @property
    def path(self) -> str:
        """Path below the archive."""
        return f"{self.folder.path}/{self.name}" if self.folder.path else self.name


class Settled(NamedTuple):
    """All files of a folder have been handed out.

    Attributes:
        folder: The folder.
        mtime_ns: Its time of modification, or None where it has to be listed again next time.
    """

    folder: Folder
    mtime_ns: int | None


def forget_folder(database: sqlite3.Connection, path: str) -> int:
    """Removes a folder below the archive with all that lay in it; how many files went."""
    name = os.fsencode(path)
    below = (name, name + b"/", name + b"0")  # "0" is what follows "/"
    inside = "SELECT id FROM folder WHERE path = ? OR (path > ? AND path < ?)"
    removed = forget_files(database, f"folder IN ({inside})", below)
    database.execute(f"DELETE FROM folder WHERE id IN ({inside})", below)  # noqa: S608 - no value of anybody else
    return removed


def forget_files(database: sqlite3.Connection, where: str, values: Sequence[object]) -> int:
    """Removes files and opens their studies; how many files went."""
    owners = f"SELECT study FROM header WHERE id IN (SELECT header FROM file WHERE {where})"  # noqa: S608
    database.execute(f"UPDATE study SET digest = NULL WHERE id IN ({owners})", values)  # noqa: S608
    return database.execute(f"DELETE FROM file WHERE {where}", values).rowcount  # noqa: S608


def write_batch(
    database: sqlite3.Connection, files: Sequence[File], facts: Sequence[Facts], settled: Sequence[Settled]
) -> None:
    """Commits a batch: studies, headers, files, and the folders that are now known in full."""
    find = "SELECT 1 FROM folder WHERE id = ?"
    folders = {one for one in {file.folder.id for file in files} if database.execute(find, (one,)).fetchone()}
    headers = _header_ids(database, [one for one in facts if isinstance(one, FileFacts)])
    rows = []
    for file, one in zip(files, facts, strict=True):
        if file.folder.id not in folders:
            continue  # it was forgotten meanwhile
        known = one if isinstance(one, FileFacts) else None
        rows.append(
            (
                file.folder.id,
                os.fsencode(file.name),
                file.size,
                file.mtime_ns,
                None if known is None else headers[_header(known)],
                None if known is None else known.instance_uid,
                None if known is None else known.positions,
                one.reason if isinstance(one, Unreadable) else None,
            )
        )
    database.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    database.executemany(
        "UPDATE folder SET mtime_ns = ? "
        "WHERE id = ? AND NOT EXISTS (SELECT 1 FROM file WHERE folder = folder.id AND problem IS NOT NULL)",
        [(one.mtime_ns, one.folder.id) for one in settled],
    )
    database.commit()


def _header(facts: FileFacts) -> tuple[str, str, str]:
    return facts.key, facts.kind, facts.shared


def _header_ids(database: sqlite3.Connection, facts: Sequence[FileFacts]) -> dict[tuple[str, str, str], int]:
    """Row of each distinct header; its study is there afterwards, and open."""
    keys = sorted({one.key for one in facts})
    database.executemany(
        "INSERT INTO study (key) VALUES (?) ON CONFLICT (key) DO UPDATE SET digest = NULL", [(key,) for key in keys]
    )
    find_study = "SELECT id FROM study WHERE key = ?"
    studies = {key: int(database.execute(find_study, (key,)).fetchone()[0]) for key in keys}
    ids = {}
    for key, kind, shared in dict.fromkeys(map(_header, facts)):
        row = (studies[key], kind, hashlib.sha256(shared.encode()).digest()[:16])
        database.execute("INSERT OR IGNORE INTO header (study, kind, hash, shared) VALUES (?, ?, ?, ?)", (*row, shared))
        found = database.execute("SELECT id FROM header WHERE study = ? AND kind = ? AND hash = ?", row).fetchone()
        ids[key, kind, shared] = int(found[0])
    return ids
