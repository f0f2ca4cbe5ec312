"""The tables of `text/`: links, anatomies, sentences, labels, evidence, read from reports and written atomically."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from preprocess.deidentify import Deidentifier
from preprocess.errors import InputError
from preprocess.known_identifiers import KnownIdentifiers, identifiers_of_row
from preprocess.publish import publishing
from preprocess.reading import ReportReading
from preprocess.report_reader import AbnormalRule, build_reader
from preprocess.reports import NO_ID, read_report_table
from preprocess.store_place import StorePath, store_place
from preprocess.vocabulary import Vocabulary
from preprocess.vocabulary_files import load_vocabulary

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
TEXT = pa.string()
LINKS = pa.schema([("report_id", TEXT), ("study_id", TEXT), ("key", TEXT), ("reason", TEXT)])
ANATOMIES = pa.schema([("study_id", TEXT), ("anatomy", TEXT), ("status", TEXT), ("text", TEXT)])
SENTENCES = pa.schema(
    [("study_id", TEXT), ("index", pa.int32()), ("section", TEXT), ("text", TEXT), ("anatomies", pa.list_(TEXT))]
)
EVIDENCE = pa.schema(
    [
        ("study_id", TEXT),
        ("anatomy", TEXT),
        ("finding", TEXT),
        ("assertion", TEXT),
        ("side", TEXT),
        ("size_mm", pa.float64()),
        ("index", pa.int32()),
        ("rule", TEXT),
    ]
)


@dataclass(frozen=True)
class TextSummary:
    """What was read.

    Attributes:
        reports: Reports of the table.
        studies: Studies with text.
        empty: Reports without text.
        sentences: Sentences read.
        matched: Sentences that name an anatomy, a finding, or a known place outside all anatomies.
        unmatched: The other sentences to how often each occurs, most frequent first.
        replaced: Kind of identifier to how many were replaced, where identifiers were removed.
    """

    reports: int
    studies: int
    empty: int
    sentences: int
    matched: int
    unmatched: Mapping[str, int]
    replaced: Mapping[str, int] = field(default_factory=dict)


def labels_schema(vocabulary: Vocabulary) -> pa.Schema:
    """Return the schema of `labels.parquet`: one nullable Int8 column a finding."""
    return pa.schema([("study_id", TEXT), ("patient_id", TEXT), *((f.id, pa.int8()) for f in vocabulary.findings)])


def build_text_tables(
    reports: pd.DataFrame,
    vocabulary: Vocabulary,
    *,
    abnormal_rule: AbnormalRule = "any",
    language: str | Path = "en",
    deidentifier: Deidentifier | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, pa.Table], TextSummary]:
    """Read reports into the tables of `text/`.

    Args:
        reports: Columns report_id, study_id (None where unlinked), patient_id, text, reason, and key if it differs
            from report_id. The texts of a study's reports are joined by a line break, in the order of their ids.
            A column known holds the `KnownIdentifiers` of each report; without it, those in the other columns count.
        vocabulary: Anatomies and findings to look for.
        abnormal_rule: See `preprocess.report_reader.read_report`.
        language: See there.
        deidentifier: Removes identifiers from each text before it is read; None leaves the texts as they are.
        progress: Called with (done, total) after each study.

    Returns:
        Name to table, sorted so that the same reports give the same rows in any order, and a summary.
    """
    ordered = reports.sort_values(["report_id", "text"], kind="stable")
    texts, replaced = _texts(ordered, deidentifier)
    studies: dict[str, list[str]] = {}
    patients: dict[str, str | None] = {}
    for study_id, patient_id, text in zip(ordered["study_id"], ordered["patient_id"], texts, strict=True):
        if isinstance(study_id, str) and study_id:
            studies.setdefault(study_id, []).append(text)
            known = patient_id if isinstance(patient_id, str) and patient_id else None
            patients[study_id] = patients.get(study_id) or known
    reader = build_reader(vocabulary, language)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("anatomies", "sentences", "labels", "evidence")}
    unmatched: Counter[str] = Counter()
    count = 0
    for done, study_id in enumerate(sorted(studies), start=1):
        reading = reader.read("\n".join(studies[study_id]), abnormal_rule=abnormal_rule)
        _add_rows(rows, study_id, patients[study_id], reading)
        count += len(reading.sentences)
        unmatched.update(sentence.text for sentence in reading.sentences if not sentence.matched)
        if progress is not None:
            progress(done, len(studies))
    rows["links"] = _link_rows(ordered)
    schemas = {"links": LINKS, "anatomies": ANATOMIES, "sentences": SENTENCES, "evidence": EVIDENCE}
    schemas["labels"] = labels_schema(vocabulary)
    tables = {name: pa.Table.from_pylist(rows[name], schema=schema) for name, schema in schemas.items()}
    empty = sum(not str(text).strip() for text in reports["text"])
    frequent = dict(sorted(unmatched.items(), key=lambda item: (-item[1], item[0])))
    summary = TextSummary(len(reports), len(studies), empty, count, count - unmatched.total(), frequent, replaced)
    return tables, summary


def _texts(reports: pd.DataFrame, deidentifier: Deidentifier | None) -> tuple[list[str], dict[str, int]]:
    """Texts of reports, without identifiers if asked for, and how many of each kind were replaced."""
    if deidentifier is None:
        return list(reports["text"]), {}
    texts: list[str] = []
    replaced: Counter[str] = Counter()
    for row in reports.to_dict("records"):
        known = row.get("known")
        known = (
            known if isinstance(known, KnownIdentifiers) else identifiers_of_row({str(k): v for k, v in row.items()})
        )
        clean = deidentifier.apply(row["text"], known)
        texts.append(clean.text)
        replaced.update(clean.replaced)
    return texts, dict(sorted(replaced.items()))


def _add_rows(
    rows: Mapping[str, list[dict[str, Any]]], study_id: str, patient_id: str | None, reading: ReportReading
) -> None:
    for name, anatomy in reading.anatomies.items():
        rows["anatomies"].append(
            {"study_id": study_id, "anatomy": name, "status": anatomy.status, "text": anatomy.text}
        )
    for sentence in reading.sentences:
        row = {"index": sentence.index, "section": sentence.section, "text": sentence.text}
        rows["sentences"].append({"study_id": study_id, **row, "anatomies": list(sentence.anatomies)})
    rows["labels"].append({"study_id": study_id, "patient_id": patient_id, **reading.labels})
    for evidence in reading.evidence:
        rows["evidence"].append(
            {"study_id": study_id, **{name: getattr(evidence, name) for name in EVIDENCE.names if name != "study_id"}}
        )


def _link_rows(reports: pd.DataFrame) -> list[dict[str, Any]]:
    keys = reports["key"] if "key" in reports.columns else reports["report_id"]
    columns = (reports["report_id"], reports["study_id"], keys, reports["reason"])
    rows = [
        {name: value if isinstance(value, str) else None for name, value in zip(LINKS.names, row, strict=True)}
        for row in zip(*columns, strict=True)
    ]
    return sorted(rows, key=lambda row: [str(row[name]) for name in LINKS.names])


def write_text_tables(
    reports: pd.DataFrame,
    vocabulary: Vocabulary,
    folder: StorePath | str,
    *,
    abnormal_rule: AbnormalRule = "any",
    language: str | Path = "en",
    deidentifier: Deidentifier | None = None,
    progress: Progress | None = None,
) -> TextSummary:
    """Read reports and write `links`, `anatomies`, `sentences`, `labels` and `evidence` (.parquet) into `folder`.

    Each file appears whole or not at all (`publish`); arguments as in `build_text_tables`.

    Raises:
        InputError: The folder cannot be written.
    """
    tables, summary = build_text_tables(
        reports,
        vocabulary,
        abnormal_rule=abnormal_rule,
        language=language,
        deidentifier=deidentifier,
        progress=progress,
    )
    if deidentifier is not None:
        logger.info("identifiers replaced in report texts: %s", summary.replaced or "none")
    folder = store_place(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            with publishing(folder / f"{name}.parquet") as stream:
                pq.write_table(table, stream, compression="zstd")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {' '.join(str(error).split())}") from error
    return summary


def reports_to_tables(
    reports: str | Path,
    out: str | Path,
    *,
    vocabulary: str | Path = "ct54",
    id_column: str = "study_id",
    text_column: str = "report_text",
    patient_column: str | None = "patient_id",
    abnormal_rule: AbnormalRule = "any",
    language: str | Path = "en",
    deidentify: bool = False,
    progress: Progress | None = None,
) -> TextSummary:
    """Read a report table alone into the tables of `text/`, directly in `out`; ids are kept as given.

    Args:
        reports: CSV or Parquet; see `preprocess.reports.read_report_table`, as for the columns.
        out: Folder for the tables.
        vocabulary: Name of a shipped vocabulary, or path of one.
        id_column: Column with the report's id.
        text_column: Column with the free text.
        patient_column: Column with the patient's id, if any.
        abnormal_rule: See `preprocess.report_reader.read_report`.
        language: See there.
        deidentify: Remove identifiers from the texts first, those in the table's other columns too; ids stay as given.
        progress: Called with (done, total) after each report.

    Raises:
        InputError: The table, the vocabulary or the language cannot be read, or `out` cannot be written.
    """
    loaded = load_vocabulary(vocabulary)
    table = read_report_table(reports, id_column=id_column, text_column=text_column, patient_column=patient_column)
    table["study_id"] = [
        None if reason == NO_ID else key for key, reason in zip(table["report_id"], table["reason"], strict=True)
    ]
    summary = write_text_tables(
        table,
        loaded,
        out,
        abnormal_rule=abnormal_rule,
        language=language,
        deidentifier=Deidentifier() if deidentify else None,
        progress=progress,
    )
    logger.info("%d reports, %d sentences, %d matched", summary.reports, summary.sentences, summary.matched)
    return summary
