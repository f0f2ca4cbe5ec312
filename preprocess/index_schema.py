"""The index's file: an SQLite database beside the key, readable by its owner alone, made anew where it does not fit.

It keeps a rollback journal (`journal_mode=DELETE`): a write-ahead log needs memory that all processes share, which
network file systems do not offer, and stores of this size lie on such systems.
"""

import hashlib
import logging
import os
import sqlite3
from pathlib import Path

from preprocess import dicom_headers
from preprocess.errors import InputError

logger = logging.getLogger(__name__)

_BUSY_SECONDS = 60.0
_CACHE_KIB = 65_536
_LAYOUT = "1"
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE folder (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE, parent INTEGER, mtime_ns INTEGER,
    pass INTEGER NOT NULL, problem TEXT
);
CREATE INDEX folder_parent ON folder (parent);
CREATE INDEX folder_pass ON folder (pass);
CREATE TABLE study (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, keys TEXT, patient TEXT, day TEXT, series INTEGER,
    files INTEGER, bytes INTEGER, first BLOB, digest TEXT
);
CREATE INDEX study_open ON study (id) WHERE digest IS NULL;
CREATE TABLE header (
    id INTEGER PRIMARY KEY, study INTEGER NOT NULL, kind TEXT NOT NULL, hash BLOB NOT NULL, shared TEXT NOT NULL,
    UNIQUE (study, kind, hash)
);
CREATE TABLE file (
    folder INTEGER NOT NULL, name BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, header INTEGER,
    instance TEXT, positions BLOB, problem TEXT, PRIMARY KEY (folder, name)
) WITHOUT ROWID;
CREATE INDEX file_header ON file (header) WHERE header IS NOT NULL;
CREATE INDEX file_other ON file (folder) WHERE header IS NULL AND problem IS NULL;
CREATE INDEX file_problem ON file (folder) WHERE problem IS NOT NULL;
"""
_SCRATCH = """
CREATE TEMP TABLE listed (name BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER) WITHOUT ROWID;
CREATE TEMP TABLE listed_folder (path BLOB PRIMARY KEY) WITHOUT ROWID;
"""


def open_database(path: Path | None, *, read_only: bool = False) -> sqlite3.Connection:
    """The index's database, with its tables.

    Args:
        path: Its file; made, mode 0600, where missing, and made anew where another version of this program wrote it
            or it is damaged. None keeps it in memory.
        read_only: Only look into it; it has to be there.

    Raises:
        InputError: Where the file cannot be opened or made, or cannot be used as it is and must not be made anew.
    """
    try:
        if path is None:
            return _with_tables(_connect(":memory:"))
        if read_only and not path.exists():
            raise InputError(f"the archive's index {path} is not there: run `ctvlp plan` first")
        if read_only:
            return _fitting(path, _connect(f"{path.resolve().as_uri()}?mode=ro"))
        _make_private(path)
        connection = _connect(str(path))
        if _version_of(connection) not in (None, _version()):
            logger.warning("the archive's index %s was made by another version, or is damaged; it is made anew", path)
            connection.close()
            path.unlink()
            _make_private(path)
            connection = _connect(str(path))
        return _with_tables(connection)
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"the archive's index {path} cannot be opened: {reason}") from error


def _connect(place: str) -> sqlite3.Connection:
    return sqlite3.connect(place, timeout=_BUSY_SECONDS, uri=place.startswith("file:"), check_same_thread=False)


def _make_private(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.chmod(0o600)


def _with_tables(connection: sqlite3.Connection) -> sqlite3.Connection:
    if _version_of(connection) is None:
        connection.executescript(_TABLES)
        connection.execute("INSERT INTO meta VALUES ('version', ?)", (_version(),))
        connection.commit()
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA temp_store = FILE")
    connection.executescript(_SCRATCH)
    return connection


def _fitting(path: Path, connection: sqlite3.Connection) -> sqlite3.Connection:
    if _version_of(connection) != _version():
        connection.close()
        raise InputError(f"the archive's index {path} is damaged or of another version: run `ctvlp plan` first")
    return connection


def _version_of(connection: sqlite3.Connection) -> str | None:
    """The version that made the database, empty where that cannot be told, None where it has no tables."""
    try:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        row = connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone() if tables else None
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return ""
        raise  # locked, read-only, full: not a matter of the content
    except sqlite3.DatabaseError:
        return ""
    return None if not tables else "" if row is None else str(row[0])


def _version() -> str:
    """Of the tables' layout, and of the code that reads headers: what it read when it was another does not fit."""
    code = Path(dicom_headers.__file__).read_bytes()
    return f"{_LAYOUT}-{hashlib.sha256(code).hexdigest()[:16]}"
