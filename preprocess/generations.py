"""What becomes of a study's earlier file: kept beside the new one where the source changed, until `collect_garbage`."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from preprocess.errors import StoreError
from preprocess.pieces import file_sha256, read_piece
from preprocess.publish import publish, remove_leftovers
from preprocess.store import study_path
from preprocess.store_place import StorePath
from preprocess.study_file import SUFFIX, StudyFile

ENDINGS = (".old", ".older")
"""Added to the name of a study's file, the latest first: with file and record at most four files a study."""


@dataclass(frozen=True)
class Garbage:
    """What `collect_garbage` removed.

    Attributes:
        files: Number of files.
        size_bytes: Their size.
    """

    files: int
    size_bytes: int


def keep_generation(store: StorePath, study_id: str, source_digest: str | None) -> None:
    """Keep a study's file under another name before it is replaced or removed.

    Kept is a file that is whole and was made from another source. The file stays in its place too, so that the study
    is never without one; calling this again changes nothing.

    Args:
        store: Place of the store.
        study_id: Name of the study in it.
        source_digest: Of the source that the new file is made from; None where there will be no new file.

    Raises:
        OSError: The file system refuses.
    """
    current = study_path(store, study_id)
    if not _is_whole(store, study_id) or (source_digest is not None and _source(current, study_id) == source_digest):
        return
    latest, before = (current.with_name(current.name + ending) for ending in ENDINGS)
    if latest.exists():
        if file_sha256(latest) == file_sha256(current):
            return
        _rename(latest, before)
    _give_second_name(current, latest)


def _rename(path: StorePath, name: StorePath) -> None:
    if isinstance(path, Path) and isinstance(name, Path):
        path.replace(name)
    else:  # the file of the earlier name is about to be replaced
        publish(name, path.read_bytes())


def _give_second_name(path: StorePath, name: StorePath) -> None:
    if isinstance(path, Path) and isinstance(name, Path):
        with contextlib.suppress(OSError):  # a file system without hard links
            os.link(path, name)
            return
    publish(name, path.read_bytes())


def drop_twin(path: StorePath, sha256: str) -> None:
    """Remove the kept file where a study's new file has the same bytes, as after a failure that went away."""
    latest = path.with_name(path.name + ENDINGS[0])
    with contextlib.suppress(FileNotFoundError):
        if latest.stat().st_size == path.stat().st_size and file_sha256(latest) == sha256:
            latest.unlink()


def collect_garbage(store: StorePath) -> Garbage:
    """Remove all kept files of earlier sources, and what killed runs left behind.

    Args:
        store: Place of the store; no run may be under way.

    Raises:
        OSError: The file system refuses.
    """
    folder = store / "studies"
    files = size_bytes = 0
    for ending in ENDINGS:
        for path in folder.glob(f"*{SUFFIX}{ending}"):
            size_bytes += path.stat().st_size
            path.unlink()
            files += 1
    return Garbage(files + remove_leftovers(folder), size_bytes)


def _is_whole(store: StorePath, study_id: str) -> bool:
    """Whether a study's file is the one that its record names."""
    piece = read_piece(store / "studies", study_id)
    if piece is None or piece.status != "done":
        return False
    try:
        return file_sha256(study_path(store, study_id)) == piece.file_sha256
    except FileNotFoundError:
        return False


def _source(path: StorePath, study_id: str) -> str | None:
    """Digest of the source that a file was made from; None where an other version wrote it."""
    try:
        with StudyFile(path, study_id) as study:
            found = study.attributes["source_digest"]
    except StoreError:
        return None
    return None if found is None else str(found)
