"""What is known of each study after a run: one small file a study."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from preprocess.publish import publish
from preprocess.store_place import StorePath, StoreUrl, in_turn

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Piece:
    """One study's outcome.

    Attributes:
        study_id: Its name in the store.
        patient_id: Its patient's name in the store.
        status: Whether its file is in the store.
        digest: Of all that the outcome depends on; another digest means that it has to be done again.
        uncropped_digest: Of all of that but the study's names, the anatomies and whether the whole volume is kept:
            where it is the same, recropping is enough.
        file_sha256: Of the study's file; None for a failed study.
        stage: Where it failed: `find`, `admit`, `read`, `quality`, `masks`, `crops`, `write` or `worker`.
        reason: Why it failed, entry of the closed list.
        message: The same in a sentence, without identifiers.
        series: Rows of the table of series, without study_id.
        seconds: Time of each stage.
    """

    study_id: str
    patient_id: str
    status: Literal["done", "failed"]
    digest: str
    uncropped_digest: str | None = None
    file_sha256: str | None = None
    stage: str | None = None
    reason: str | None = None
    message: str | None = None
    series: tuple[Mapping[str, Any], ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


def write_piece(folder: StorePath, piece: Piece) -> None:
    """Writes `<study_id>.json` into a folder, that of the studies, in one step."""
    text = json.dumps(asdict(piece), indent=1, sort_keys=True, ensure_ascii=False)
    publish(folder / f"{piece.study_id}.json", f"{text}\n".encode())


def read_piece(folder: StorePath, study_id: str) -> Piece | None:
    """A study's piece, or None where there is none or it is damaged, so that the study is done again."""
    path = folder / f"{study_id}.json"
    try:
        content = json.loads(path.read_bytes())
        return Piece(**{**content, "series": tuple(content["series"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        logger.warning("%s is damaged; its study will be done again", path.name)
        return None


def read_pieces(folder: StorePath) -> list[Piece]:
    """All readable pieces of a folder, sorted by study."""
    names = sorted(path.name.removesuffix(".json") for path in folder.glob("*.json") if path.name[0] != ".")
    pieces = in_turn(folder, lambda name: read_piece(folder, name), names)
    return [piece for piece in pieces if piece is not None]


def file_sha256(path: StorePath) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        OSError: Where the file cannot be read.
    """
    if isinstance(path, StoreUrl):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
