"""A store's tables after a run, derived from what lies in it: manifest, failures, series, and the record of the run."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from preprocess.errors import InputError
from preprocess.manifest import preferences_of, write_manifest
from preprocess.pieces import Piece, read_pieces
from preprocess.publish import publish
from preprocess.store_place import StorePath
from preprocess.study import Settings
from preprocess.tables import build_table

_VERSIONED = (
    "ctvlp",
    "numpy",
    "scipy",
    "pydicom",
    "python-gdcm",
    "nibabel",
    "zarr",
    "dask",
    "totalsegmentator",
    "nnunetv2",
    "torch",
)
_SERIES_TYPES = {
    "study_id": "string",
    "series": "string",
    "chosen": "bool",
    "volume": "string",
    "reason": "string",
    "kind": "string",
    "slices": "Int64",
    "step_mm": "Float64",
    "coverage_mm": "Float64",
    "plane": "string",
    "original": "boolean",
    "kernel": "string",
    "phase": "string",
}


def rebuild_manifest(settings: Settings, *, leave_damaged: bool = False) -> pd.DataFrame:
    """Write the manifest, made anew from the studies' files, and return it.

    Args:
        settings: Of the run.
        leave_damaged: See `manifest.build_manifest`.

    Raises:
        InputError: Where the store cannot be written.
    """
    with _writing(settings.store):
        return write_manifest(settings.store, preferences_of(settings.anatomies), leave_damaged=leave_damaged)


def write_tables(settings: Settings, *, counts: Mapping[str, Any], seconds: float) -> None:
    """Failures and series, made anew from the studies' pieces, and `run.json`.

    Args:
        settings: Of the run.
        counts: What the run found and did.
        seconds: How long it took.

    Raises:
        InputError: Where the store cannot be written.
    """
    store = settings.store
    pieces = read_pieces(store / "studies")
    stages: dict[str, float] = {}
    for piece in pieces:
        for stage, taken in piece.seconds.items():
            stages[stage] = round(stages.get(stage, 0.0) + taken, 3)
    run = {
        "versions": {name: _version(name) for name in _VERSIONED},
        "settings": {
            "segmenter": dict(settings.segmenter),
            "series": settings.series,
            "keep": list(settings.keep),
            "anatomies": list(settings.anatomies),
            "preferences": preferences_of(settings.anatomies),
            "digest": settings.digest,
        },
        "counts": dict(counts),
        "seconds": round(seconds, 3),
        "seconds_by_stage": stages,
    }
    with _writing(store):
        _write_failures(store / "failures.jsonl", pieces)
        _write_series(store / "series.parquet", pieces)
        publish(store / "run.json", (json.dumps(run, indent=1, sort_keys=True) + "\n").encode())


@contextmanager
def _writing(store: StorePath) -> Iterator[None]:
    """What the file system refuses, in words of our own."""
    try:
        yield
    except OSError as error:
        raise InputError(f"store {store} cannot be written: {error.strerror or error}") from error


def _write_failures(path: StorePath, pieces: Iterable[Piece]) -> None:
    """One JSON line a failed study: study, stage, reason, message."""
    lines = [
        json.dumps(
            {"study": piece.study_id, "stage": piece.stage, "reason": piece.reason, "message": piece.message},
            ensure_ascii=False,
        )
        for piece in pieces
        if piece.status == "failed"
    ]
    publish(path, "".join(f"{line}\n" for line in lines).encode())


def _write_series(path: StorePath, pieces: Iterable[Piece]) -> None:
    """Table of every series seen, chosen or not, and why; sorted by study and series."""
    table = build_table(
        ({"study_id": piece.study_id, **row} for piece in pieces for row in piece.series), _SERIES_TYPES
    )
    table = table.sort_values(["study_id", "series"], kind="stable").reset_index(drop=True)
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    publish(path, buffer.getvalue())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
