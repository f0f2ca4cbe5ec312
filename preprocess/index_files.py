"""What the index keeps of one file: what it is, which study it belongs to, and its header in two parts.

The part that the slices of a series share is text, kept once; the file's own part is its instance UID and the places of
its frames.
"""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from preprocess.dicom_headers import DicomHeader, SharedHeader, read_header
from preprocess.readers import volume_files, volume_kind, volume_stem
from preprocess.study_source import folder_key, text_of

Kind = Literal["dicom", "nifti", "itk"]


class FileFacts(NamedTuple):
    """What is kept of one file of a study.

    Attributes:
        kind: How it is read.
        key: Of its study.
        shared: The header's shared part as JSON; of an image file the names of all its files.
        instance_uid: SOPInstanceUID, or empty.
        positions: See `DicomHeader`.
    """

    kind: Kind
    key: str
    shared: str
    instance_uid: str = ""
    positions: bytes = b""


class Unreadable(NamedTuple):
    """A file that could not be read at all.

    Attributes:
        reason: What the file system said.
    """

    reason: str


Facts = FileFacts | Unreadable | None
"""None: the file is neither DICOM nor an image."""


def read_facts(root: Path, relative: str) -> Facts:
    """What a file of the archive is; opens it unless its name says enough.

    Args:
        root: Folder below which the archive lies.
        relative: Path below it.
    """
    path = root / relative
    kind = volume_kind(path)
    try:
        if kind is not None:
            stem = (PurePosixPath(relative).parent / volume_stem(path)).as_posix()
            return FileFacts(kind, text_of(stem), json.dumps([file.name for file in volume_files(path)]))
        header = read_header(path)
    except OSError as error:
        return Unreadable(error.strerror or type(error).__name__)
    return None if header is None else facts_of(header, root)


def facts_of(header: DicomHeader, root: Path) -> FileFacts:
    """A DICOM header as the index keeps it."""
    folder = Path(header.path).parent.relative_to(root).as_posix()
    key = header.shared.study_uid or header.shared.accession or folder_key("" if folder == "." else folder, root)
    shared = json.dumps(vars(header.shared), default=_as_json, separators=(",", ":"))
    return FileFacts("dicom", text_of(key), shared, text_of(header.instance_uid), header.positions)


def read_many(root: Path, relatives: Sequence[str]) -> list[Facts]:
    """`read_facts` of several files; equal texts are one object, so that they travel between processes once."""
    texts: dict[str, str] = {}
    found: list[Facts] = []
    for relative in relatives:
        facts = read_facts(root, relative)
        if isinstance(facts, FileFacts):
            facts = facts._replace(
                key=texts.setdefault(facts.key, facts.key), shared=texts.setdefault(facts.shared, facts.shared)
            )
        found.append(facts)
    return found


def shared_of(text: str) -> SharedHeader:
    """The shared part of a header from its JSON."""
    values = json.loads(text, object_hook=_from_json)
    return SharedHeader(**{name: _as_tuple(value) for name, value in values.items()})


def image_files(path: Path, shared: str) -> tuple[Path, ...]:
    """The files of an image, sorted: itself, and what its header named when it was read."""
    return tuple(sorted({path, *(path.with_name(name) for name in json.loads(shared))}))


def _as_json(value: object) -> dict[str, str]:
    if isinstance(value, date):
        return {"date": value.isoformat()}
    raise TypeError(f"a header holds a {type(value).__name__}, which the index cannot keep")


def _from_json(value: dict[str, Any]) -> Any:
    return date.fromisoformat(value["date"]) if value.keys() == {"date"} else value


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
