"""A store's tables after a run, derived from what lies in it: manifest, failures, series, and the record of the run."""

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from preprocess.errors import InputError
from preprocess.manifest import preferences_of, write_manifest
from preprocess.pieces import read_pieces, write_failures, write_series
from preprocess.publish import publish
from preprocess.study import Settings

_VERSIONED = ("ctvlp", "numpy", "scipy", "pydicom", "python-gdcm", "nibabel", "zarr", "dask", "totalsegmentator")


def write_tables(settings: Settings, *, counts: Mapping[str, Any], seconds: float, leave_damaged: bool = False) -> None:
    """Manifest, failures and series, made anew from the studies' files and pieces, and `run.json`.

    Args:
        settings: Of the run.
        counts: What the run found and did.
        seconds: How long it took.
        leave_damaged: See `manifest.build_manifest`.

    Raises:
        InputError: Where the store cannot be written.
    """
    store, preferences = settings.store, preferences_of(settings.anatomies)
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
            "preferences": preferences,
            "digest": settings.digest,
        },
        "counts": dict(counts),
        "seconds": round(seconds, 3),
        "seconds_by_stage": stages,
    }
    try:
        write_manifest(store, preferences, leave_damaged=leave_damaged)
        write_failures(store / "failures.jsonl", pieces)
        write_series(store / "series.parquet", pieces)
        publish(store / "run.json", (json.dumps(run, indent=1, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise InputError(f"store {store} cannot be written: {error.strerror or error}") from error


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
