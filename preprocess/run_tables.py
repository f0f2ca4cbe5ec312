"""A store's tables after a run, derived from what lies in it: manifest, failures, series, and the record of the run."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from preprocess.errors import InputError
from preprocess.manifest import preferences_of, write_manifest
from preprocess.pieces import read_pieces, write_failures, write_series
from preprocess.publish import publish
from preprocess.store_place import StorePath
from preprocess.study import Settings

_VERSIONED = ("ctvlp", "numpy", "scipy", "pydicom", "python-gdcm", "nibabel", "zarr", "dask", "totalsegmentator")


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
        write_failures(store / "failures.jsonl", pieces)
        write_series(store / "series.parquet", pieces)
        publish(store / "run.json", (json.dumps(run, indent=1, sort_keys=True) + "\n").encode())


@contextmanager
def _writing(store: StorePath) -> Iterator[None]:
    """What the file system refuses, in words of our own."""
    try:
        yield
    except OSError as error:
        raise InputError(f"store {store} cannot be written: {error.strerror or error}") from error


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
