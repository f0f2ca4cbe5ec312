"""Reading report tables and linking their rows to studies."""

from pathlib import Path

import pandas as pd
import pytest

from preprocess.errors import InputError
from preprocess.reports import link_reports, read_report_table

CONTENT = [
    ("comma", "study_id,report_text\n007,Liver cyst\n", "utf-8"),
    ("semicolon", "study_id;report_text\n007;Liver cyst\n", "utf-8"),
    ("tab", "study_id\treport_text\n007\tLiver cyst\n", "utf-8"),
    ("mark", "study_id,report_text\n007,Liver cyst\n", "utf-8-sig"),
    ("windows", "study_id;report_text\n007;Liver cyst\n", "cp1252"),
    ("windows line ends", "study_id,report_text\r\n007,Liver cyst\r\n", "utf-8"),
]


def _write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(("content", "encoding"), [c[1:] for c in CONTENT], ids=[c[0] for c in CONTENT])
def test_forms_of_csv(content: str, encoding: str, tmp_path: Path) -> None:
    table = read_report_table(_write(tmp_path / "reports.csv", content, encoding))
    assert table[["report_id", "text", "reason"]].values.tolist() == [["007", "Liver cyst", "linked"]]
    assert table["patient_id"].tolist() == [None]


def test_umlauts_in_windows_encoding(tmp_path: Path) -> None:
    path = _write(tmp_path / "Befunde Zürich.csv", "id;Befund\n1;Öde Gefäße\n", "cp1252")
    table = read_report_table(path, id_column="id", text_column="Befund")
    assert table["text"].tolist() == ["Öde Gefäße"]


def test_quoted_text_with_line_breaks_and_delimiters(tmp_path: Path) -> None:
    path = _write(tmp_path / "r.csv", 'study_id,report_text\n1,"Liver: cyst, small\nSpleen ""normal"""\n')
    assert read_report_table(path)["text"].tolist() == ['Liver: cyst, small\nSpleen "normal"']


def test_parquet_keeps_numbers_as_ids(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    pd.DataFrame({"acc": [12.0, 13.0], "t": ["a", None], "pid": ["x", None]}).to_parquet(path)
    table = read_report_table(path, id_column="acc", text_column="t", patient_column="pid")
    assert table["report_id"].tolist() == ["12", "13"]
    assert table["patient_id"].tolist() == ["x", None]
    assert table["reason"].tolist() == ["linked", "empty text"]


def test_rows_of_one_report_are_joined(tmp_path: Path) -> None:
    text = "study_id,report_text,patient_id\n1,Liver cyst.,\n2,,p2\n1,Renal cyst.,p1\n,Orphan.,p3\n"
    table = read_report_table(_write(tmp_path / "r.csv", text))
    assert table["report_id"].tolist() == ["1", "2", ""]
    assert table["text"].tolist() == ["Liver cyst.\nRenal cyst.", "", "Orphan."]
    assert table["patient_id"].tolist() == ["p1", "p2", "p3"]
    assert table["reason"].tolist() == ["rows joined", "empty text", "no id"]


def test_other_columns_stay(tmp_path: Path) -> None:
    table = read_report_table(_write(tmp_path / "r.csv", "study_id,report_text,age\n1,Cyst,44\n"))
    assert table["age"].tolist() == ["44"]


REFUSED = [
    ("no column", "a,b\n1,2\n", r"no column 'study_id'; its columns: 'a', 'b'"),
    ("empty file", "", "the file is empty"),
    ("no rows", "study_id,report_text\n", "the table has no rows"),
    ("unquoted", "study_id,report_text\n1,Liver, spleen\n", "row 2 has 3 fields, the header 2"),
    ("binary", "study_id,report_text\n1,\0\0\n", "null bytes"),
]


@pytest.mark.parametrize(("content", "message"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_refused(content: str, message: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "r.csv", content)
    with pytest.raises(InputError, match=message) as caught:
        read_report_table(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_named_patient_column(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_report_table(tmp_path / "none.csv")
    path = _write(tmp_path / "r.csv", "study_id,report_text\n1,Cyst\n")
    with pytest.raises(InputError, match="no column 'pid'"):
        read_report_table(path, patient_column="pid")


def test_a_broken_parquet_file_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path / "r.parquet", "not parquet")
    with pytest.raises(InputError, match=r"r\.parquet: cannot be read as Parquet"):
        read_report_table(path)


def test_links_by_any_key(tmp_path: Path) -> None:
    text = "study_id,report_text\nacc1,Cyst\n2.25.9,Stone\nnobody,Cyst\n,Cyst\n"
    linked = link_reports(
        read_report_table(_write(tmp_path / "r.csv", text)), {"s1": ["2.25.1", "acc1", "folder"], "s2": ["2.25.9", ""]}
    )
    assert linked["study_id"].tolist() == ["s1", "s2", None, None]
    assert linked["key"].tolist() == ["acc1", "2.25.9", None, None]
    assert linked["reason"].tolist() == ["linked", "linked", "no study", "no id"]
