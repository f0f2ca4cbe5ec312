"""The files of `text/`, written a group of studies at a time, so that memory does not grow with their number."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from operator import attrgetter
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from preprocess.canonical import canonical_text
from preprocess.publish import publishing
from preprocess.reading import ReportReading
from preprocess.report_coverage import restrict_reading
from preprocess.store_place import StorePath
from preprocess.vocabulary import Vocabulary

STUDIES_IN_A_GROUP = 1000
ROWS_OF_LINKS = 100_000
NOT_COVERED = "not covered"
TEXT = pa.string()
LINKS = pa.schema([(name, TEXT) for name in ("report_id", "study_id", "key", "reason", "by", "part")])
ANATOMIES = pa.schema(
    [(name, TEXT) for name in ("study_id", "anatomy", "status", "text", "canonical", "reason", "source")]
)
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
        ("overridden", pa.bool_()),
        ("source", TEXT),
    ]
)

OF_EVIDENCE = attrgetter(*EVIDENCE.names[1:])

Columns = dict[str, list[Any]]


def labels_schema(vocabulary: Vocabulary) -> pa.Schema:
    """Return the schema of `labels.parquet`: one nullable Int8 column a finding."""
    return pa.schema([("study_id", TEXT), ("patient_id", TEXT), *((f.id, pa.int8()) for f in vocabulary.findings)])


class TextFiles:
    """The five tables while they are written.

    Args:
        files: Table to the writer of its file.
        schemas: Table to its schema.
        vocabulary: Whose anatomies and findings were read.
    """

    def __init__(
        self, files: Mapping[str, pq.ParquetWriter], schemas: Mapping[str, pa.Schema], vocabulary: Vocabulary
    ) -> None:
        self._files = files
        self._schemas = schemas
        self._vocabulary = vocabulary
        self._rows: dict[str, Columns] = {name: {column: [] for column in schemas[name].names} for name in schemas}
        self._studies = 0

    def add(
        self, study_id: str, patient_id: str | None, reading: ReportReading, *, covered: Collection[str] | None = None
    ) -> int:
        """Add what was read of a study.

        Args:
            study_id: Its name; studies come in the order in which the tables have them.
            patient_id: Its patient's.
            reading: What its reports say.
            covered: Anatomies that its volumes cover; what is said of others is left out. None: unknown.

        Returns:
            Of how many anatomies something was left out.
        """
        not_covered: Collection[str] = ()
        if covered is not None:
            reading, not_covered = restrict_reading(reading, covered, self._vocabulary)
        self._extend(
            "anatomies",
            [
                (
                    study_id,
                    name,
                    anatomy.status,
                    anatomy.text,
                    canonical_text(name, reading, self._vocabulary),
                    NOT_COVERED if name in not_covered else None,
                    anatomy.source,
                )
                for name, anatomy in reading.anatomies.items()
            ],
        )
        self._extend(
            "sentences", [(study_id, one.index, one.section, one.text, one.anatomies) for one in reading.sentences]
        )
        self._extend("evidence", [(study_id, *OF_EVIDENCE(one)) for one in reading.evidence])
        labels = (reading.labels[finding.id] for finding in self._vocabulary.findings)
        self._extend("labels", [(study_id, patient_id, *labels)])
        self._studies += 1
        if self._studies % STUDIES_IN_A_GROUP == 0:
            self.flush()
        return len(not_covered)

    def add_links(self, linked: pd.DataFrame) -> None:
        """Add the rows of `links`, sorted."""
        ordered = linked[LINKS.names].sort_values(LINKS.names, na_position="first", kind="stable")
        cells = zip(*(ordered[name] for name in LINKS.names), strict=True)
        rows = (tuple(value if isinstance(value, str) else None for value in row) for row in cells)
        while some := list(islice(rows, ROWS_OF_LINKS)):
            self._extend("links", some)
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait, as a row group of each file."""
        for name, columns in self._rows.items():
            table = pa.table(columns, schema=self._schemas[name])
            if table.num_rows:
                self._files[name].write_table(table)
            self._rows[name] = {column: [] for column in columns}

    def _extend(self, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
        for column, values in zip(self._rows[name].values(), zip(*rows, strict=True), strict=False):
            column.extend(values)


@contextmanager
def writing_text(folder: StorePath, vocabulary: Vocabulary) -> Iterator[TextFiles]:
    """Give the tables of `text/` for writing; their files appear, whole, when the block ends without an error.

    Args:
        folder: For `links`, `anatomies`, `sentences`, `labels` and `evidence` (.parquet); made if missing.
        vocabulary: Whose anatomies and findings were read.

    Raises:
        OSError: The folder cannot be written; nothing is left behind.
    """
    schemas = {"links": LINKS, "anatomies": ANATOMIES, "sentences": SENTENCES, "evidence": EVIDENCE}
    schemas["labels"] = labels_schema(vocabulary)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        files = {}
        for name, schema in schemas.items():
            stream = stack.enter_context(publishing(folder / f"{name}.parquet"))
            files[name] = stack.enter_context(pq.ParquetWriter(stream, schema, compression="zstd"))
        tables = TextFiles(files, schemas, vocabulary)
        yield tables
        tables.flush()
