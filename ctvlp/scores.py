"""The tables of screening on disk: `scores.parquet`, `scores.csv`, labels to judge them by, and their digests."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from preprocess.errors import InputError
from preprocess.publish import publish
from preprocess.store_place import StorePath, store_place

Table = pd.DataFrame | StorePath | str

SCORE_COLUMNS = (
    "study_id",
    "patient_id",
    "split",
    "anatomy",
    "finding",
    "probability",
    "assessable",
    "partial",
    "reason",
    "abnormal_probability",
)
"""One row a (study, finding). `probability` is empty where `assessable` is false, and `reason` says why; `partial`:
only part of the anatomy is in view; `abnormal_probability`: the plain question whether it is abnormal at all."""

_NOTES = b"ctvlp"
_TEXT_COLUMNS = dict.fromkeys(("study_id", "patient_id", "key", "reason"), str)


def read_table(table: Table) -> pd.DataFrame:
    """Read a parquet or csv file; a table in memory is returned as it is.

    Raises:
        InputError: The file is missing or unreadable.
    """
    if isinstance(table, pd.DataFrame):
        return table
    path = store_place(table)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        file = path if isinstance(path, Path) else io.BytesIO(path.read_bytes())
        if path.name.endswith(".parquet"):
            return pd.read_parquet(file)
        return pd.read_csv(file, dtype=_TEXT_COLUMNS, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a table: {' '.join(str(error).split())}") from error


def read_scores(scores: Table) -> pd.DataFrame:
    """Read scores and check them.

    Returns:
        The table with text ids, boolean flags and empty texts as "".

    Raises:
        InputError: A column is missing, a (study, finding) stands twice, or a probability is none.
    """
    name = "scores" if isinstance(scores, pd.DataFrame) else str(scores)
    frame = read_table(scores)
    required = [column for column in SCORE_COLUMNS if column != "abnormal_probability"]
    if missing := [column for column in required if column not in frame]:
        raise InputError(f"{name}: no column {missing[0]}; a table of scores has {', '.join(required)}")
    frame = frame.copy()
    for column in ("study_id", "patient_id", "split", "anatomy", "finding", "reason"):
        frame[column] = frame[column].astype(object).where(frame[column].notna(), "").astype(str)
    frame[["assessable", "partial"]] = frame[["assessable", "partial"]].astype(bool)
    if "abnormal_probability" not in frame:
        frame["abnormal_probability"] = float("nan")
    if (twice := frame.duplicated(["study_id", "finding"])).any():
        first = frame[twice].iloc[0]
        raise InputError(f"{name}: study {first['study_id']} has two scores of {first['finding']}")
    wrong = frame["assessable"] & ~frame["probability"].between(0, 1)
    if wrong.any():
        first = frame[wrong].iloc[0]
        raise InputError(
            f"{name}: study {first['study_id']}, {first['finding']}: {first['probability']} is no probability"
        )
    return frame[list(SCORE_COLUMNS)]


def read_labels(labels: Table, ids: Table | None = None) -> pd.DataFrame:
    """Read labels as a table indexed by study, one Int8 column a finding.

    Args:
        labels: `study_id`, perhaps `patient_id`, and one column a finding: 1, 0, -1 or empty.
        ids: Table with columns `key` (the labels' ids) and `study_id` (what to call them); others are left out.

    Raises:
        InputError: The table is missing, has no `study_id`, names a study twice, or a value is not 1, 0, -1 or empty.
    """
    frame = read_table(labels)
    name = "labels" if isinstance(labels, pd.DataFrame) else str(labels)
    if "study_id" not in frame:
        raise InputError(f"{name}: no column study_id")
    studies = frame["study_id"].astype(str)
    if studies.duplicated().any():
        raise InputError(f"{name}: study {studies[studies.duplicated()].iloc[0]} stands in two rows")
    values = frame.drop(columns=["study_id", "patient_id"], errors="ignore").set_axis(studies, axis=0)
    values = values if ids is None else _renamed(values, ids)
    numeric = values.apply(pd.to_numeric, errors="coerce").astype("Float64")
    wrong = (numeric.isna() & values.notna()) | (numeric.notna() & ~numeric.isin([1, 0, -1]))
    if wrong.to_numpy(dtype=bool).any():
        study = wrong.index[wrong.any(axis=1)][0]
        finding = wrong.columns[wrong.loc[study]][0]
        found = values.at[study, finding]
        raise InputError(f"{name}: study {study}, {finding}: expected 1, 0, -1 or empty, got {found!r}")
    checked: pd.DataFrame = numeric.astype("Int8")
    return checked


def _renamed(values: pd.DataFrame, ids: Table) -> pd.DataFrame:
    """Rows under the name that `ids` gives them."""
    table = read_table(ids)
    for column in ("key", "study_id"):
        if column not in table:
            raise InputError(f"{'ids' if isinstance(ids, pd.DataFrame) else ids}: no column {column}")
    names = dict(zip(table["key"].astype(str), table["study_id"].astype(str), strict=True))
    kept = values[values.index.isin(list(names))]
    renamed: pd.DataFrame = kept.set_axis([names[str(study)] for study in kept.index], axis=0)
    return renamed


def write_scores(scores: pd.DataFrame, out: Path, notes: Mapping[str, Any]) -> None:
    """Write `scores.parquet` and `scores.csv` under temporary names, then rename.

    Args:
        scores: Table with the columns of `SCORE_COLUMNS`.
        out: Folder; made if missing.
        notes: What made the scores (digests, names); travels in the parquet file's metadata.

    Raises:
        InputError: The folder cannot be written.
    """
    ordered = scores[list(SCORE_COLUMNS)]
    table = pa.Table.from_pandas(ordered, preserve_index=False)
    described = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), _NOTES: json.dumps(dict(notes)).encode()}
    )
    parquet, csv = io.BytesIO(), io.StringIO()
    pq.write_table(described, parquet)
    ordered.to_csv(csv, index=False)
    try:
        out.mkdir(parents=True, exist_ok=True)
        publish(out / "scores.parquet", parquet.getvalue())
        publish(out / "scores.csv", csv.getvalue().encode())
    except OSError as error:
        raise InputError(f"{out}: cannot write the scores: {error.strerror or error}") from error


def score_notes(scores: Table) -> dict[str, Any]:
    """What made the scores, as `write_scores` noted it; empty for a table in memory or a csv file."""
    if isinstance(scores, pd.DataFrame) or not str(scores).endswith(".parquet"):
        return {}
    path = store_place(scores)
    file = path if isinstance(path, Path) else io.BytesIO(path.read_bytes())
    metadata = pq.read_schema(file).metadata or {}
    notes: dict[str, Any] = json.loads(metadata.get(_NOTES, b"{}"))
    return notes


def table_digest(frame: pd.DataFrame) -> str:
    """SHA-256 of a table's content, 16 hex digits; the same for parquet and csv."""
    text = frame.to_csv(index=False, float_format="%.9g", lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()[:16]
