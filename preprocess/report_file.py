"""The rows of a table as hospitals export it, one after the other: the file may be larger than the memory."""

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from preprocess.errors import InputError

ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")
DELIMITERS = ",;\t|"
BLOCK_BYTES = 2**20
PARQUET_ROWS = 1000
NAMELESS_INDEX = re.compile(r"__index_level_\d+__")

Rows = Iterator[Sequence[str]]


def open_rows(path: Path) -> tuple[list[str], Rows]:
    """Open a table: CSV (comma, semicolon, tab, bar; UTF-8 with or without mark, Windows-1252) or Parquet.

    Returns:
        Names of its columns, and its rows: a text for each column, empty where a value is missing.

    Raises:
        InputError: The file is missing, unreadable or empty; a row that does not fit raises when its turn comes.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    names, rows = _open_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _open_csv(path)
    return [name.strip() for name in names], rows


def as_text(value: object) -> str:
    """A cell as text: numbers without a false ".0", nothing for missing."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _open_parquet(path: Path) -> tuple[list[str], Rows]:
    try:
        file = pq.ParquetFile(path)
        names = [name for name in file.schema_arrow.names if not NAMELESS_INDEX.fullmatch(name)]
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as Parquet: {_one_line(error)}") from error

    def rows() -> Rows:
        try:
            for batch in file.iter_batches(PARQUET_ROWS, columns=names):
                yield from zip(*([as_text(value) for value in column.to_pylist()] for column in batch), strict=True)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path}: cannot be read as Parquet: {_one_line(error)}") from error

    return names, rows()


def _open_csv(path: Path) -> tuple[list[str], Rows]:
    """Open delimited text whose encoding and delimiter are found by trying."""
    try:
        encoding = next(name for name in ENCODINGS if _is_text(path, name))
        csv.field_size_limit(max(csv.field_size_limit(), path.stat().st_size))
        with path.open(encoding=encoding, newline="") as stream:
            header = next((line for line in stream if line.strip()), "")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {_one_line(error)}") from error
    if not header:
        raise InputError(f"{path}: the file is empty")
    delimiter = max(DELIMITERS, key=lambda mark: (_outside_quotes(header, mark), -DELIMITERS.index(mark)))
    rows = _csv_rows(path, encoding, delimiter)
    return next(rows), rows


def _csv_rows(path: Path, encoding: str, delimiter: str) -> Iterator[list[str]]:
    """The header's names, then the rows, all of the header's length."""
    width, number = 0, 0
    try:
        with path.open(encoding=encoding, newline="") as stream:
            for row in csv.reader(stream, delimiter=delimiter):
                if not row:
                    continue
                width, number = width or len(row), number + 1
                if len(row) > width:
                    raise InputError(
                        f"{path}: row {number} has {len(row)} fields, the header {width}; "
                        f"is a text with {delimiter!r} not quoted?"
                    )
                yield [value.strip() for value in row] + [""] * (width - len(row))
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {_one_line(error)}") from error


def _is_text(path: Path, encoding: str) -> bool:
    """Whether a file can be read in an encoding.

    Raises:
        InputError: It is no text in any.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with path.open("rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                if b"\0" in block:
                    raise InputError(f"{path}: not a text table (it contains null bytes)")
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _outside_quotes(header: str, mark: str) -> int:
    return sum(part.count(mark) for part in header.split('"')[::2])


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
