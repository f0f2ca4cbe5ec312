"""The index of an archive: every file with its header, so that studies come one at a time and a second look is short.

It holds identifiers, lies beside the key file, and is never part of a store.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any

from preprocess.errors import InputError
from preprocess.index_files import Facts
from preprocess.index_readers import file_readers
from preprocess.index_refresh import BATCH, RefreshCounts, RefreshMode, refresh_files
from preprocess.index_schema import open_database
from preprocess.index_studies import read_study
from preprocess.index_trees import Tree
from preprocess.study_source import StudySource

_STUDIES_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class StudySummary:
    """What a plan needs of a study, without its files.

    Attributes:
        key: See `StudySource`; so are `keys`, `patient`, `day` and `digest`.
        series: Number of its series, usable or not.
        files: Number of its files.
        bytes: Their size.
        first: Path of the first one.
    """

    key: str
    keys: tuple[str, ...]
    patient: str | None
    day: date | None
    series: int
    files: int
    bytes: int
    first: Path
    digest: str


@dataclass(frozen=True)
class IndexCounts:
    """What an archive holds.

    Attributes:
        studies: Number of studies.
        files: Number of their files.
        bytes: Size of their files.
        other_files: Files that are neither DICOM nor images.
        unreadable: Files and folders that the file system refused to read.
    """

    studies: int
    files: int
    bytes: int
    other_files: int
    unreadable: int


class ArchiveIndex:
    """An archive's index, open; close it, or use it in a `with` block.

    Args:
        path: Its file, made where missing; None keeps it in memory.
        read_only: Only look into it: other processes may do the same.

    Attributes:
        path: Its file.
        root: Folder below which the archive lies.

    Raises:
        InputError: Where the file cannot be opened or made.
    """

    def __init__(self, path: Path | None = None, *, read_only: bool = False) -> None:
        self.path = path
        self._database = open_database(path, read_only=read_only)
        self.root = Path(os.fsdecode(self._meta("root", b"")))

    def __enter__(self) -> "ArchiveIndex":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; what was not committed is dropped."""
        self._database.close()

    def discard(self) -> None:
        """Closes the index and deletes its file."""
        self.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    @property
    def complete(self) -> bool:
        """Whether the last refresh came to its end."""
        return bool(self._meta("complete", 0))

    @property
    def place(self) -> str:
        """Which part of which folder it is an index of, see `index_trees.Tree`."""
        return str(self._meta("place", ""))

    def refresh(
        self,
        tree: Tree,
        *,
        mode: RefreshMode = "folders",
        workers: int = 1,
        read: Callable[[Sequence[str]], list[Facts]] | None = None,
        batch: int = BATCH,
        progress: Callable[[RefreshCounts], None] | None = None,
    ) -> RefreshCounts:
        """Brings the index up to date with the archive; a run that is killed loses what it read last, no more.

        Args:
            tree: Where its files stand.
            mode: See `index_refresh.refresh_files`.
            workers: Processes that read headers, once more than `batch` files are new.
            read: Reads files in place of `index_files.read_many`, given paths below the root.
            batch: Files read and committed together.
            progress: Called after each batch.

        Raises:
            InputError: Where the archive cannot be read, or another process is writing to the index.
        """
        try:
            self._set_meta("root", os.fsencode(tree.root))
            self.root = tree.root
            with file_readers(tree.root, workers=workers, batch=batch, read=read) as submit:
                counts = refresh_files(self._database, tree, submit, mode=mode, batch=batch, progress=progress)
            self._sum_up(counts, progress)
            self._set_meta("complete", 1)
        except sqlite3.Error as error:
            self._database.rollback()
            raise InputError(f"the archive's index {self.path} cannot be written: {error}") from error
        return counts

    def study_keys(self) -> Iterator[str]:
        """Keys of all studies, sorted."""
        return (str(row[0]) for row in self._database.execute("SELECT key FROM study ORDER BY key"))

    def study(self, key: str) -> StudySource:
        """The study with a key.

        Raises:
            KeyError: There is none.
            InputError: The index can no longer be read.
        """
        try:
            row = self._database.execute("SELECT id FROM study WHERE key = ?", (key,)).fetchone()
            found = None if row is None else read_study(self._database, self.root, row[0], key)
        except sqlite3.Error as error:
            raise InputError(f"the archive's index {self.path} cannot be read: {error}") from error
        if found is None:
            raise KeyError(key)
        return found.source

    def summaries(self) -> Iterator[StudySummary]:
        """All studies, sorted by key, without their files."""
        for key, keys, patient, day, series, files, size, first, digest in self._database.execute(
            "SELECT key, keys, patient, day, series, files, bytes, first, digest FROM study ORDER BY key"
        ):
            when = None if day is None else date.fromisoformat(day)
            place = self.root / os.fsdecode(first)
            yield StudySummary(key, tuple(json.loads(keys)), patient, when, series, files, size, place, digest)

    def counts(self) -> IndexCounts:
        """What the archive holds."""

        def number(query: str) -> int:
            return int(self._database.execute(query).fetchone()[0] or 0)

        return IndexCounts(
            studies=number("SELECT count(*) FROM study"),
            files=number("SELECT sum(files) FROM study"),
            bytes=number("SELECT sum(bytes) FROM study"),
            other_files=number("SELECT count(*) FROM file WHERE header IS NULL AND problem IS NULL"),
            unreadable=number("SELECT count(*) FROM file WHERE problem IS NOT NULL")
            + number("SELECT count(*) FROM folder WHERE problem IS NOT NULL"),
        )

    def _meta(self, name: str, default: Any) -> Any:
        row = self._database.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return default if row is None else row[0]

    def _set_meta(self, name: str, value: bytes | int) -> None:
        self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))
        self._database.commit()

    def _sum_up(self, counts: RefreshCounts, progress: Callable[[RefreshCounts], None] | None) -> None:
        """Fills the rows of studies whose files changed; studies without files go."""
        opened = "SELECT id, key FROM study WHERE digest IS NULL LIMIT ?"
        while page := self._database.execute(opened, (_STUDIES_AT_ONCE,)).fetchall():
            for study, key in page:
                self._sum_up_study(study, key)
            self._database.commit()
            counts.studies += len(page)
            if progress is not None:
                progress(counts)

    def _sum_up_study(self, study: int, key: str) -> None:
        self._database.execute(
            "DELETE FROM header WHERE study = ? AND NOT EXISTS (SELECT 1 FROM file WHERE file.header = header.id)",
            (study,),
        )
        found = read_study(self._database, self.root, study, key)
        if found is None:
            self._database.execute("DELETE FROM study WHERE id = ?", (study,))
            return
        source = found.source
        self._database.execute(
            "UPDATE study SET keys = ?, patient = ?, day = ?, series = ?, files = ?, bytes = ?, first = ?, digest = ? "
            "WHERE id = ?",
            (
                json.dumps(source.keys),
                source.patient,
                None if source.day is None else source.day.isoformat(),
                len(source.series),
                found.files,
                found.bytes,
                os.fsencode(source.first.relative_to(self.root)),
                source.digest,
                study,
            ),
        )
