"""An archive's studies: a folder or file of DICOM and images, in any arrangement, brought into an index."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from preprocess.errors import InputError
from preprocess.index import ArchiveIndex
from preprocess.index_refresh import RefreshCounts, RefreshMode
from preprocess.index_trees import build_tree
from preprocess.study_source import StudySource

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listing:
    """What an archive holds.

    Attributes:
        studies: Sorted by key.
        other_files: Number of files that are neither DICOM nor images.
    """

    studies: tuple[StudySource, ...]
    other_files: int = field(default=0)


def index_archive(
    index: ArchiveIndex,
    archive: Path,
    *,
    leave_out: Sequence[Path] = (),
    mode: RefreshMode = "files",
    workers: int = 1,
    progress: Callable[[RefreshCounts], None] | None = None,
) -> RefreshCounts:
    """Brings an index up to date with an archive.

    Args:
        index: Open for writing.
        archive: Folder, file, or DICOMDIR file, which stands for the files that it names.
        leave_out: Files and folders below it that are something else: masks, the store.
        mode: `files` looks at every file, `folders` only into folders that changed; see `index_refresh`.
        workers: Processes that read headers.
        progress: Called after each batch of files.

    Raises:
        InputError: Where the archive does not exist, cannot be read or holds no study.
    """
    done = index.refresh(build_tree(archive, leave_out), mode=mode, workers=workers, progress=progress)
    counts = index.counts()
    if not counts.studies:
        raise InputError(f"archive {archive} holds no DICOM and no NIfTI image ({counts.other_files} files looked at)")
    if counts.other_files:
        logger.info("%d files of the archive are neither DICOM nor images", counts.other_files)
    if counts.unreadable:
        logger.warning("%d files or folders of the archive cannot be read; they count as missing", counts.unreadable)
    return done


def find_studies(archive: Path, *, leave_out: Sequence[Path] = (), workers: int = 1) -> Listing:
    """All studies of a small archive, by an index in memory.

    Args:
        archive: See `index_archive`; so is `leave_out`.
        leave_out: Files and folders that are something else.
        workers: Processes that read headers.

    Raises:
        InputError: Where it does not exist, cannot be read or holds no study.
    """
    with ArchiveIndex() as index:
        index_archive(index, archive, leave_out=leave_out, workers=workers)
        studies = tuple(index.study(key) for key in list(index.study_keys()))
        return Listing(studies, index.counts().other_files)
