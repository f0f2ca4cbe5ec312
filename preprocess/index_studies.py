"""One study out of the index's rows."""

import hashlib
import os
import sqlite3
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Literal, NamedTuple

from preprocess.dicom_headers import DicomHeader
from preprocess.index_files import image_files, shared_of
from preprocess.series import SeriesSource
from preprocess.study_source import StudySource, build_study

_HEADERS = "SELECT id, kind, shared FROM header WHERE study = ? ORDER BY kind, hash"
_FILES = """
SELECT folder, name, size, mtime_ns, instance, positions FROM file WHERE header = ? ORDER BY folder, name
"""
_VALUES = """
SELECT folder.path, file.name, file.size, file.mtime_ns FROM file JOIN folder ON folder.id = file.folder
WHERE folder.path = ? AND file.name = ?
"""

_Stamp = tuple[bytes, bytes, int, int]
"""A file's folder below the archive, its name, size and time of modification."""


class StudyFound(NamedTuple):
    """A study with its files.

    Attributes:
        source: The study.
        files: Number of its files, copies included.
        bytes: Their size.
    """

    source: StudySource
    files: int
    bytes: int


def read_study(database: sqlite3.Connection, root: Path, study: int, key: str) -> StudyFound | None:
    """The study whose row has a number and a key, or None where it has no file left.

    Args:
        database: The index's.
        root: Folder below which the archive lies.
        study: Number of its row.
        key: Its key.
    """
    headers: list[DicomHeader] = []
    images: list[SeriesSource] = []
    stamps: list[_Stamp] = []
    beside: list[_Stamp] = []
    for header, kind, text in database.execute(_HEADERS, (study,)):
        shared = shared_of(text) if kind == "dicom" else None
        for folder, rows in groupby(database.execute(_FILES, (header,)), key=itemgetter(0)):
            below, files = _path(database, folder), list(rows)
            place = os.path.join(root, os.fsdecode(below), "")  # noqa: PTH118 - text: see `DicomHeader`
            stamps += [(below, name, size, mtime_ns) for _, name, size, mtime_ns, _, _ in files]
            paths = [place + os.fsdecode(file[1]) for file in files]
            if shared is not None:
                headers += [
                    DicomHeader(path, file[4], file[5], shared) for path, file in zip(paths, files, strict=True)
                ]
            else:
                found = [_image(Path(path), kind, text) for path in paths]
                beside += [row for image in found for row in _values_of(database, below, image)]
                images += found
    if not stamps:
        return None
    digest = hashlib.sha256(repr(sorted(stamps + beside)).encode()).hexdigest()
    size = sum(stamp[2] for stamp in stamps)
    return StudyFound(build_study(key, headers, images, root, digest), len(stamps), size)


def _path(database: sqlite3.Connection, folder: int) -> bytes:
    """A folder's path below the archive."""
    found: bytes = database.execute("SELECT path FROM folder WHERE id = ?", (folder,)).fetchone()[0]
    return found


def _image(path: Path, kind: Literal["nifti", "itk"], shared: str) -> SeriesSource:
    return SeriesSource(path.name, kind, tuple(map(str, image_files(path, shared))))


def _values_of(database: sqlite3.Connection, folder: bytes, image: SeriesSource) -> list[_Stamp]:
    """Row of the file beside an image's header that holds its values, where the archive has it."""
    others = [os.fsencode(path.name) for path in image.files if path.name != image.name]
    rows = [database.execute(_VALUES, (folder, name)).fetchone() for name in others]
    return [row for row in rows if row is not None]
