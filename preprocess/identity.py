"""Pseudonyms: keyed hashes of identifiers, the key file, the map back, and the split that hangs on them."""

import csv
import hashlib
import hmac
import io
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pandas as pd

from preprocess.errors import InputError
from preprocess.publish import publishing

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
DEFAULT_FRACTIONS = (0.7, 0.1, 0.2)
MAP_COLUMNS = ("study_id", "patient_id", "key", "patient", "source")
_KEY_BYTES = 32
_SHORTEST_KEY = 16


def load_key(path: Path) -> bytes:
    """The secret key in a file, or a new one where there is no file; `save_key` writes it.

    Raises:
        InputError: Where the file cannot be read or is too short.
    """
    try:
        key = path.read_bytes().strip()
    except FileNotFoundError:
        return secrets.token_hex(_KEY_BYTES).encode()
    except OSError as error:
        raise InputError(f"key file {path} cannot be read: {error.strerror}") from error
    if len(key) < _SHORTEST_KEY:
        raise InputError(f"key file {path} holds {len(key)} characters; a key needs at least {_SHORTEST_KEY}")
    return key


def save_key(path: Path, key: bytes) -> None:
    """Writes a new key, readable by its owner alone; an existing file stays as it is.

    Raises:
        InputError: Where the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise InputError(f"key file {path} cannot be made: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(key + b"\n")


def pseudonym(key: bytes, identifier: str) -> str:
    """HMAC-SHA256 of an identifier, its first 16 hexadecimal digits."""
    return hmac.new(key, identifier.encode(), hashlib.sha256).hexdigest()[:16]


def file_name_of(identifier: str) -> str:
    """An identifier as a file name: what a name cannot hold is percent-encoded, so that no two become one."""
    encoded = quote(identifier, safe=" ()[]{}=,;@+!#$&'~^")
    return encoded.replace(".", "%2E", 1) if encoded.startswith(".") else encoded


def split_of(key: bytes, patient: str, fractions: tuple[float, float, float] = DEFAULT_FRACTIONS) -> Split:
    """Split of a patient by keyed hash: it never moves, however the archive grows.

    Args:
        key: The secret key.
        patient: The patient's own identifier.
        fractions: Shares of train, val and test; they sum to 1.

    Raises:
        InputError: Where the fractions do not sum to 1 or one is negative.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"split fractions must be at least 0 and sum to 1, not {fractions}")
    digest = hmac.new(key, b"split:" + patient.encode(), hashlib.sha256).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < fractions[0]:
        return "train"
    return "val" if place < fractions[0] + fractions[1] else "test"


def read_split_file(path: Path) -> dict[str, Split]:
    """Split of each study key from a table with columns study_id and split.

    Raises:
        InputError: Where the file cannot be read, lacks a column, names a study twice or another split.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"split file {path} cannot be read: {' '.join(str(error).split())}") from error
    missing = {"study_id", "split"} - set(table.columns)
    if missing:
        raise InputError(f"split file {path} has no column {sorted(missing)[0]}; it has {list(table.columns)}")
    unknown = sorted(set(table["split"]) - set(SPLITS))
    if unknown:
        raise InputError(f"split file {path} names {unknown[0]!r}; a split is one of {', '.join(SPLITS)}")
    if table["study_id"].duplicated().any():
        twice = table.loc[table["study_id"].duplicated(), "study_id"].iloc[0]
        raise InputError(f"split file {path} names study {twice!r} twice")
    return dict(zip(table["study_id"], table["split"], strict=True))


def write_id_map(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Writes the map from pseudonyms to identifiers, readable by its owner alone, keeping the studies of earlier runs.

    Args:
        path: The csv file; replaced in one step.
        rows: `MAP_COLUMNS` each.

    Raises:
        InputError: Where the file cannot be read or written.
    """
    try:
        _publish_map(path, rows)
    except (OSError, KeyError) as error:
        raise InputError(f"the map of identifiers {path} cannot be read or written: {error}") from error


def _publish_map(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    known: dict[str, dict[str, str]] = {}
    if path.exists():
        with path.open(newline="", encoding="utf-8") as stream:
            known = {row["study_id"]: row for row in csv.DictReader(stream)}
    known.update({row["study_id"]: {name: row[name] for name in MAP_COLUMNS} for row in rows})
    text = io.StringIO()
    writer = csv.DictWriter(text, MAP_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(known[name] for name in sorted(known))
    with publishing(path, private=True) as stream:
        stream.write(text.getvalue().encode())
