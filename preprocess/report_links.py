"""Link reports to studies, many to many: by the study's key, else by patient and day of the examination."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import pandas as pd

from preprocess.report_versions import READ, Version, choose_versions, read_state
from preprocess.reports import LINKED, NO_ID, read_time

NO_STUDY, SEVERAL_STUDIES, SEVERAL_PATIENTS = "no study", "several studies of the day", "key of several patients"
BY_KEY, BY_DAY = "key", "patient and date"
KEYS = re.compile(r"[;|\n]")
KEYS_IN_ARCHIVE = re.compile(r"[;|\n,&+\s]+")
"""What stands between the keys of a cell: more where each can be looked up."""


@dataclass(frozen=True, slots=True)
class LinkTarget:
    """A study as reports name it.

    Attributes:
        study_id: Its name in the store.
        keys: All under which a report may name it.
        patient: Its patient's own identifier, None where unknown.
        day: Day of the examination, None where unknown.
    """

    study_id: str
    keys: tuple[str, ...]
    patient: str | None = None
    day: date | None = None


class Link(NamedTuple):
    """One study of a report, or why it has none.

    Attributes:
        study_id: The study.
        key: What fitted.
        by: Whether that was the study's key, or patient and date.
        reason: Why there is no study; None where there is one.
    """

    study_id: str | None
    key: str | None = None
    by: str | None = None
    reason: str | None = None


def link_reports(reports: pd.DataFrame, studies: Iterable[LinkTarget]) -> pd.DataFrame:
    """Link reports to studies.

    A report belongs to every study that its key, or each of several keys in one cell, names. Where several studies have
    a key, those of the report's patient and of its day count, if there are any; and none of them, if they still are of
    several patients. A report whose key names no study belongs to its patient's study of its day, if there is just one.

    Args:
        reports: The table of `reports.read_reports`.
        studies: All to which a report may belong.

    Returns:
        `reports` with study_id (None where there is none), key (what fitted), by ("key" or "patient and date"), part
        (see `choose_parts`) and reason, in which stands why a report has no study or is not read. One row a report and
        study, in the order of the file.
    """
    finder = _Finder(studies)
    columns = zip(*(reports[name] for name in ("link_id", "patient_id", "day")), strict=True)
    return choose_parts(
        _repeated(
            reports,
            (finder.find(key, patient if isinstance(patient, str) else None, day) for key, patient, day in columns),
        )
    )


def link_by_own_keys(reports: pd.DataFrame) -> pd.DataFrame:
    """Take each report's own keys for its studies, where there is no archive; see `link_reports`."""
    links = (
        [Link(key, key, BY_KEY) for key in dict.fromkeys(split_keys(cell))] or [Link(None, reason=NO_ID)]
        for cell in reports["link_id"]
    )
    return choose_parts(_repeated(reports, links))


def split_keys(cell: str) -> list[str]:
    """The keys in a cell that may hold several, separated by a semicolon, a bar or a line break."""
    return [key for part in KEYS.split(cell) if (key := part.strip())]


def choose_parts(linked: pd.DataFrame) -> pd.DataFrame:
    """Say of each linked report how it is read together with the study's others.

    Args:
        linked: One row a report and study, with study_id, status, time, order, empty and reason.

    Returns:
        The same rows, the study's reports in the order in which they are read, with part (report or addendum; None for
        those that are not read) and the reason for those.
    """
    rows: dict[str, list[int]] = {}
    for place, study_id in enumerate(linked["study_id"]):
        if isinstance(study_id, str):
            rows.setdefault(study_id, []).append(place)
    columns = (linked["status"], linked["time"], linked["order"], linked["empty"])
    states, times, orders, empty = (list(column) for column in columns)
    reasons, turns = list(linked["reason"]), [0] * len(linked)
    parts: list[str | None] = [None] * len(linked)
    for places in rows.values():
        versions = [Version(read_state(states[p]), read_time(times[p]), orders[p], empty[p]) for p in places]
        read, outcomes = choose_versions(versions)
        for turn, chosen in enumerate(read, start=1):
            parts[places[chosen]] = "addendum" if versions[chosen].state == "addendum" else "report"
            turns[places[chosen]] = turn
        for place, outcome in zip(places, outcomes, strict=True):
            reasons[place] = reasons[place] if outcome == READ else outcome
    table = linked.copy()
    table["part"] = pd.Series(parts, index=linked.index, dtype=object)
    table["reason"], table["turn"] = reasons, turns
    return table


class _Finder:
    """Finds the studies of a report."""

    def __init__(self, studies: Iterable[LinkTarget]) -> None:
        self._by_key: dict[str, list[LinkTarget]] = {}
        self._by_day: dict[tuple[str, date], list[LinkTarget]] = {}
        for study in sorted(studies, key=lambda one: one.study_id):
            for key in dict.fromkeys(key.strip() for key in study.keys):
                if key:
                    self._by_key.setdefault(key, []).append(study)
            if study.patient and study.day is not None:
                self._by_day.setdefault((study.patient, study.day), []).append(study)

    def find(self, cell: str, patient: str | None, day: str) -> list[Link]:
        """The links of a report, or one that says why there is none."""
        links: dict[str, Link] = {}
        reason = None
        written = read_time(day) if day else None
        when = None if written is None else written.date()
        for key in self._keys(cell):
            fitting = _narrowed(self._by_key.get(key, []), patient, when)
            if len({study.patient for study in fitting}) > 1:
                reason = SEVERAL_PATIENTS
                continue
            for study in fitting:
                links.setdefault(study.study_id, Link(study.study_id, key, BY_KEY))
        if links:
            return list(links.values())
        return [self._of_day(patient, when) or Link(None, reason=reason or (NO_STUDY if cell else NO_ID))]

    def _keys(self, cell: str) -> Sequence[str]:
        """The whole cell where it is a key, else those of its parts that are."""
        if not cell or cell in self._by_key:
            return [cell] if cell else []
        whole = split_keys(cell)
        if any(key in self._by_key for key in whole):
            return whole
        return KEYS_IN_ARCHIVE.split(cell)

    def _of_day(self, patient: str | None, day: date | None) -> Link | None:
        """The link to the patient's study of the day; one without study where there are several, None where none."""
        if patient is None or day is None:
            return None
        found = self._by_day.get((patient, day), [])
        if len(found) > 1:
            return Link(None, reason=SEVERAL_STUDIES)
        return Link(found[0].study_id, f"{patient} {day}", BY_DAY) if found else None


def _narrowed(studies: list[LinkTarget], patient: str | None, day: date | None) -> list[LinkTarget]:
    """Those of the patient, and of them those of the day, where there are any."""
    if len(studies) > 1 and patient is not None:
        studies = [study for study in studies if study.patient == patient] or studies
    if len(studies) > 1 and day is not None:
        studies = [study for study in studies if study.day == day] or studies
    return studies


def _repeated(reports: pd.DataFrame, links: Iterable[Sequence[Link]]) -> pd.DataFrame:
    """Each report once for each of its links, which become columns."""
    places: list[int] = []
    columns: tuple[list[str | None], ...] = ([], [], [], [])
    for place, (of_report, reason) in enumerate(zip(links, reports["reason"], strict=True)):
        for link in of_report:
            places.append(place)
            told = link.reason or (LINKED if reason == NO_ID else reason)
            for column, value in zip(columns, (link.study_id, link.key, link.by, told), strict=True):
                column.append(value)
    linked = reports.iloc[places].reset_index(drop=True)
    for name, column in zip(("study_id", "key", "by", "reason"), columns, strict=True):
        linked[name] = pd.Series(column, dtype=object)
    return linked


def count_links(linked: pd.DataFrame) -> dict[str, int]:
    """How many links there are of each kind, and how many reports without one for each reason."""
    counts: dict[str, int] = {}
    for name in _kinds(linked):
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def _kinds(linked: pd.DataFrame) -> Iterator[str]:
    for study_id, by, part, reason in zip(
        *(linked[name] for name in ("study_id", "by", "part", "reason")), strict=True
    ):
        linked_and_read = isinstance(study_id, str) and isinstance(part, str)
        yield f"{'addendum ' if part == 'addendum' else ''}linked by {by}" if linked_and_read else str(reason)
