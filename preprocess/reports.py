"""Read a table of reports as hospitals export them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from typing import Any

import pandas as pd

from preprocess.errors import InputError
from preprocess.known_identifiers import LONGEST_NAME, read_day
from preprocess.report_file import open_rows
from preprocess.text_spool import TextSpool

LINKED, ROWS_JOINED, EMPTY_TEXT, NO_ID = "linked", "rows joined", "empty text", "no id"
DEFAULT_COLUMNS = {
    "patient_id": "patient_id",
    "report_id": "report_id",
    "day": "study_date",
    "time": "report_time",
    "status": "report_status",
}
"""What else is read of a report, to the column in which it stands unless another is named."""
LEADING = ("report_id", "link_id", "patient_id", "day", "time", "status", "order", "place", "empty", "reason")
KEPT_VALUES = 10_000
COMPACT = re.compile(r"^(\d{8})(\d{4})")
CLOCK = re.compile(r"\s(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\.\d+)?\s*(?:([aApP])\.?[mM]|$|\s)")


@dataclass(frozen=True)
class Reports:
    """Reports as a table of what is known of them, and their texts apart, which may be larger than the memory.

    Attributes:
        table: One row a report, in the order of the file: report_id, link_id (as in `id_column`), patient_id (None
            where unknown), day, time and status (empty where unknown), order (number of the report's first row in the
            file), place (number of its text), empty (whether there is none), reason (linked, rows joined, empty text
            or no id), and the file's other columns as in the report's first row, without what is longer than an
            identifier. Values are strings as they stand in the file.
        texts: The texts.
    """

    table: pd.DataFrame
    texts: TextSpool


def read_reports(
    path: str | Path,
    *,
    id_column: str = "study_id",
    text_column: str = "report_text",
    patient_column: str | None = "patient_id",
    report_column: str | None = "report_id",
    date_column: str | None = "study_date",
    time_column: str | None = "report_time",
    status_column: str | None = "report_status",
) -> Reports:
    """Read reports from CSV (comma, semicolon, tab; UTF-8 with or without mark, Windows-1252) or Parquet.

    Rows with the same ids, time and status are one report: their texts are joined by a line break in the order of the
    file. The columns from `patient_column` on need not be there: None, or the default where the table has none, leaves
    unknown what they would say.

    Args:
        path: The table.
        id_column: Column with the key of the report's study, as its accession number; several keys are separated by a
            semicolon or a bar.
        text_column: Column with the free text.
        patient_column: Column with the patient's id.
        report_column: Column with the report's own id; by default the study's key stands for it.
        date_column: Column with the day of the examination.
        time_column: Column with the day or time at which the report was written or signed.
        status_column: Column that tells final reports, preliminary ones and addenda apart.

    Raises:
        InputError: The file is missing, unreadable or empty, or a column does not exist; the message names those that
        do.
    """
    path = Path(path)
    names, rows = open_rows(path)
    columns = (patient_column, report_column, date_column, time_column, status_column)
    named = {"link_id": id_column, "text": text_column}
    for ours, column in zip(DEFAULT_COLUMNS, columns, strict=True):
        if column is not None and (column in names or column != DEFAULT_COLUMNS[ours]):
            named[ours] = column
    for column in named.values():
        if column not in names:
            raise InputError(f"{path}: no column {column!r}; its columns: {', '.join(map(repr, names))}")
    places = {ours: names.index(column) for ours, column in named.items()}
    others = {
        f"{name}_as_given" if name in LEADING else name: place
        for place, name in enumerate(names)
        if name not in named.values()
    }
    gathered = _Gathered(places, others)
    for row in rows:
        gathered.add(row)
    if not gathered.rows:
        raise InputError(f"{path}: the table has no rows")
    return gathered.reports()


def read_report_table(path: str | Path, **columns: Any) -> pd.DataFrame:
    """Read reports into one table with a column text; see `read_reports`, as for the columns."""
    reports = read_reports(path, **columns)
    table = reports.table.copy()
    table.insert(list(table.columns).index("patient_id") + 1, "text", list(reports.texts))
    return table


def read_time(text: str) -> datetime | None:
    """A day, with the time of day if it is given, as databases, DICOM, Germans or Americans write it; else None."""
    try:
        return datetime.fromisoformat(COMPACT.sub(r"\1T\2", text)).replace(tzinfo=None)
    except ValueError:
        spaced = text.replace(",", " ")
    day = read_day(spaced.split(" ")[0])
    if day is None:
        return None
    clock = CLOCK.search(spaced)
    if clock is None:
        return datetime.combine(day, time())
    hour, minute, second = (int(part or 0) for part in clock.groups()[:3])
    if clock[4]:
        hour = hour % 12 + (12 if clock[4] in "pP" else 0)
    in_range = hour < 24 and minute < 60 and second < 60
    return datetime.combine(day, time(hour, minute, second) if in_range else time())


class _Gathered:
    """Reports while a file is read: rows with the same ids, time and status are one."""

    def __init__(self, places: dict[str, int], others: dict[str, int]) -> None:
        self.rows = 0
        self._places = places
        self._others = others
        self._columns: dict[str, list[Any]] = {name: [] for name in ("link_id", *DEFAULT_COLUMNS, "order", *others)}
        self._texts = TextSpool()
        self._known: dict[str, dict[str, str]] = {name: {} for name in ("day", "time", "status", *others)}
        self._first: dict[tuple[str, ...], int] = {}
        self._joined: set[int] = set()
        self._empty: set[int] = set()

    def add(self, row: Sequence[str]) -> None:
        """Add a row of the file."""
        found = {name: self._once(name, row[place]) for name, place in self._places.items() if name != "text"}
        if found.get("report_id", "") in ("", found["link_id"]):
            found["report_id"] = found["link_id"]
        text, order = row[self._places["text"]], self.rows
        self.rows += 1
        identity = tuple(found.get(name, "") for name in ("report_id", "link_id", "time", "status"))
        place = self._first.setdefault(identity, len(self._texts)) if identity[0] else len(self._texts)
        if place < len(self._texts):
            self._join(place, text, found.get("patient_id", ""))
            return
        self._texts.append(text)
        if not text:
            self._empty.add(place)
        for name in ("link_id", *DEFAULT_COLUMNS):
            self._columns[name].append(found.get(name, ""))
        self._columns["order"].append(order)
        for name, other in self._others.items():
            self._columns[name].append(self._once(name, row[other]) if len(row[other]) <= LONGEST_NAME else "")

    def reports(self) -> Reports:
        """What was read."""
        table = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in self._columns.items()})
        table["patient_id"] = pd.Series([value or None for value in self._columns["patient_id"]], dtype=object)
        table["order"] = table["order"].astype("int64")
        table["place"] = range(len(table))
        table["empty"] = [place in self._empty for place in table["place"]]
        table["reason"] = list(map(self._reason, table["link_id"], table["place"]))
        return Reports(table[[*LEADING, *self._others]], self._texts)

    def _join(self, place: int, text: str, patient: str) -> None:
        self._joined.add(place)
        if text:
            self._texts.extend(place, text)
            self._empty.discard(place)
        self._columns["patient_id"][place] = self._columns["patient_id"][place] or patient

    def _reason(self, key: str, place: int) -> str:
        if not key:
            return NO_ID
        return EMPTY_TEXT if place in self._empty else ROWS_JOINED if place in self._joined else LINKED

    def _once(self, name: str, value: str) -> str:
        """One object for equal values of a column that repeats itself, such as a day."""
        known = self._known.get(name)
        if known is None:
            return value
        return known.setdefault(value, value) if len(known) < KEPT_VALUES else known.get(value, value)
