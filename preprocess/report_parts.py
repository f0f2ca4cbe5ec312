"""What is read of each study: the texts of its reports, older ones first, without identifiers where that is asked."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

import pandas as pd

from preprocess.deidentify import Deidentifier
from preprocess.known_identifiers import KnownIdentifiers, identifiers_of_row
from preprocess.reading import ReportPart
from preprocess.report_links import split_keys
from preprocess.report_versions import WITHDRAWN


class Texts(Protocol):
    """Texts by number."""

    def __getitem__(self, number: int, /) -> str:
        """One of them."""


class ReportedStudy(NamedTuple):
    """A study with reports.

    Attributes:
        study_id: Its name.
        patient_id: Its patient's, None where unknown.
        rows: Rows of the reports that are read, older ones first.
    """

    study_id: str
    patient_id: str | None
    rows: tuple[int, ...]


class ReportedStudies:
    """The studies with reports, by name; one that has only withdrawn reports is left out.

    Args:
        linked: As `report_links.link_reports` gives them.
    """

    def __init__(self, linked: pd.DataFrame) -> None:
        names = ("study_id", "patient_id", "part", "turn", "reason")
        self._studies, self._patients, self._parts, turns, reasons = (list(linked[name]) for name in names)
        rows = (
            row for row, study_id in enumerate(self._studies) if isinstance(study_id, str) and reasons[row] != WITHDRAWN
        )
        self._rows = sorted(rows, key=lambda row: (self._studies[row], turns[row]))
        self._count = len({self._studies[row] for row in self._rows})

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ReportedStudy]:
        for study_id, of_study in groupby(self._rows, key=lambda row: self._studies[row]):
            rows = tuple(of_study)
            patients = [patient for row in rows if isinstance(patient := self._patients[row], str) and patient]
            read = tuple(row for row in rows if isinstance(self._parts[row], str))
            yield ReportedStudy(study_id, min(patients, default=None), read)


class PartReader:
    """Gives the texts of reports as they are read, and counts what was replaced in them so far.

    Args:
        linked: As `report_links.link_reports` gives them. A column known holds the `KnownIdentifiers` of each report;
            without it, those in the other columns count.
        texts: The texts, by the numbers in the column place.
        deidentifier: Removes identifiers; None leaves the texts as they are.
    """

    def __init__(self, linked: pd.DataFrame, texts: Texts, deidentifier: Deidentifier | None) -> None:
        self.replaced: Counter[str] = Counter()
        self._texts = texts
        self._deidentifier = deidentifier
        names = [str(name) for name in linked.columns] if deidentifier is not None else ["place", "part"]
        self._columns = {name: list(linked[name]) for name in names}

    def parts(self, rows: Sequence[int]) -> list[ReportPart]:
        """Return the texts of these rows of the table, in this order."""
        kinds = self._columns["part"]
        return [ReportPart(self._text(row), "addendum" if kinds[row] == "addendum" else "report") for row in rows]

    def _text(self, row: int) -> str:
        text = self._texts[self._columns["place"][row]]
        if self._deidentifier is None:
            return text
        values = {name: column[row] for name, column in self._columns.items()}
        known = values.get("known")
        if not isinstance(known, KnownIdentifiers):
            known = identifiers_of_row(values) | KnownIdentifiers(numbers=tuple(split_keys(str(values["link_id"]))))
        clean = self._deidentifier.apply(text, known)
        self.replaced.update(clean.replaced)
        return clean.text
