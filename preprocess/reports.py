"""Read a table of reports as hospitals export them, and link its rows to studies."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from preprocess.errors import InputError

ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")
DELIMITERS = ",;\t|"
SNIFFED_CHARACTERS = 65_536
LINKED, ROWS_JOINED, EMPTY_TEXT, NO_STUDY, NO_ID = "linked", "rows joined", "empty text", "no study", "no id"


def read_report_table(
    path: str | Path,
    *,
    id_column: str = "study_id",
    text_column: str = "report_text",
    patient_column: str | None = "patient_id",
) -> pd.DataFrame:
    """Read reports from CSV (comma, semicolon, tab; UTF-8 with or without mark, Windows-1252) or Parquet.

    Rows with the same id are one report: their texts are joined by a line break in the order of the file.

    Args:
        path: The table.
        id_column: Column with the report's (or study's) key.
        text_column: Column with the free text.
        patient_column: Column with the patient's id; None, or the default where the table has none, leaves patients
            unknown.

    Returns:
        One row a report, in the order of the file: report_id, patient_id (None where unknown), text, reason (linked,
        rows joined, empty text or no id), and the table's other columns as in the report's first row. Values are
        strings as they stand in the file.

    Raises:
        InputError: The file is missing, unreadable or empty, or a column does not exist; the message names those that
        do.
    """
    path = Path(path)
    table = _read_table(path)
    wanted = [id_column, text_column]
    if patient_column is not None and (patient_column in table.columns or patient_column != "patient_id"):
        wanted.append(patient_column)
    for column in wanted:
        if column not in table.columns:
            raise InputError(f"{path}: no column {column!r}; its columns: {', '.join(map(repr, table.columns))}")
    reports = table.copy()
    reports["report_id"] = table[id_column].map(_as_text)
    reports["text"] = table[text_column].map(_as_text)
    known = patient_column in wanted
    reports["patient_id"] = [(_as_text(v) or None) for v in table[patient_column]] if known else None
    renamed = {id_column, text_column, patient_column} - {"report_id", "text", "patient_id"}
    return _join_rows(reports.drop(columns=[column for column in renamed if column in reports.columns]))


def _join_rows(reports: pd.DataFrame) -> pd.DataFrame:
    """Join the rows of one id, keep those without id apart, and say what happened in `reason`."""
    rows: dict[str, dict[Any, Any]] = {}
    for number, row in enumerate(reports.to_dict("records")):
        key = str(row["report_id"]) or f"\0{number}"
        if key not in rows:
            rows[key] = {**{str(name): value for name, value in row.items()}, "reason": LINKED}
            continue
        first = rows[key]
        first["text"] = "\n".join(part for part in (str(first["text"]), str(row["text"])) if part)
        first["patient_id"] = next((p for p in (first["patient_id"], row["patient_id"]) if isinstance(p, str)), None)
        first["reason"] = ROWS_JOINED
    for row in rows.values():
        if not str(row["text"]).strip():
            row["reason"] = EMPTY_TEXT
        if not row["report_id"]:
            row["reason"] = NO_ID
    leading = ["report_id", "patient_id", "text", "reason"]
    others = [column for column in reports.columns if column not in leading]
    joined = pd.DataFrame(list(rows.values()), columns=[*leading, *others])
    patients = [p if isinstance(p, str) else None for p in joined["patient_id"]]
    joined["patient_id"] = pd.Series(patients, index=joined.index, dtype=object)
    return joined


def link_reports(reports: pd.DataFrame, studies: Mapping[str, Iterable[str]]) -> pd.DataFrame:
    """Link reports to studies by any of a study's keys.

    Args:
        reports: As `read_report_table` gives them.
        studies: Study id to the keys under which its report may be found, the preferred first.

    Returns:
        `reports` with study_id (None where no study has the report's id among its keys) and key (the one that fit);
        reason says why not.
    """
    owners: dict[str, str] = {}
    for study_id, keys in sorted(studies.items()):
        for key in keys:
            if key:
                owners.setdefault(str(key).strip(), study_id)
    found = [owners.get(report_id) for report_id in reports["report_id"]]
    linked = reports.copy()
    linked["study_id"] = pd.Series(found, index=reports.index, dtype=object)
    fitting = [key if study_id else None for key, study_id in zip(reports["report_id"], found, strict=True)]
    linked["key"] = pd.Series(fitting, index=reports.index, dtype=object)
    linked["reason"] = [
        NO_STUDY if study_id is None and reason != NO_ID else reason
        for study_id, reason in zip(found, reports["reason"], strict=True)
    ]
    return linked


def _as_text(value: object) -> str:
    """A cell as text: numbers without a false ".0", nothing for missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix.lower() in (".parquet", ".pq"):
        try:
            table = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read as Parquet: {_one_line(error)}") from error
    else:
        table = _read_csv(path)
    if table.empty:
        raise InputError(f"{path}: the table has no rows")
    return table.rename(columns=lambda name: str(name).strip())


def _read_csv(path: Path) -> pd.DataFrame:
    """Read delimited text whose encoding and delimiter are found by trying."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {_one_line(error)}") from error
    encoding = next(name for name in ENCODINGS if _decodes(raw, name))
    text = raw.decode(encoding)
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    if "\0" in text:
        raise InputError(f"{path}: not a text table (it contains null bytes)")
    header = text.lstrip().split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=lambda mark: (_outside_quotes(header, mark), -DELIMITERS.index(mark)))
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    rows = list(csv.reader(text.splitlines(keepends=True), delimiter=delimiter))
    rows = [row for row in rows if row]
    names, body = rows[0], rows[1:]
    uneven = next((number for number, row in enumerate(body, start=2) if len(row) > len(names)), None)
    if uneven is not None:
        raise InputError(
            f"{path}: row {uneven} has {len(body[uneven - 2])} fields, the header {len(names)}; "
            f"is a text with {delimiter!r} not quoted?"
        )
    return pd.DataFrame([row + [""] * (len(names) - len(row)) for row in body], columns=names)


def _outside_quotes(header: str, mark: str) -> int:
    return sum(part.count(mark) for part in header.split('"')[::2])


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
