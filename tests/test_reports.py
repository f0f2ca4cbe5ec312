"""Reading report tables."""

from datetime import date, datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.errors import InputError
from preprocess.reports import read_report_table, read_time
from preprocess.text_spool import TextSpool

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


VERSIONS = """study_id,report_id,report_text,study_date,report_time,report_status
A1,R1,Cyst.,2024-03-05,2024-03-05 10:00,preliminary
A1,R1,No cyst.,2024-03-05,2024-03-05 12:00,final
A1,R1,No stone.,2024-03-05,2024-03-05 12:00,final
A2,R1,Cyst.,2024-03-05,2024-03-05 10:00,preliminary
A3,,Stone.,,,
"""


def test_what_else_is_known_of_a_report_is_read_where_the_table_has_it(tmp_path: Path) -> None:
    table = read_report_table(_write(tmp_path / "r.csv", VERSIONS))
    assert table["report_id"].tolist() == ["R1", "R1", "R1", "A3"]
    assert table["link_id"].tolist() == ["A1", "A1", "A2", "A3"]
    assert table["text"].tolist() == ["Cyst.", "No cyst.\nNo stone.", "Cyst.", "Stone."]
    assert table["status"].tolist() == ["preliminary", "final", "preliminary", ""]
    assert table["day"].tolist() == ["2024-03-05"] * 3 + [""]
    assert table["order"].tolist() == [0, 1, 3, 4]
    assert table["reason"].tolist() == ["linked", "rows joined", "linked", "linked"]


def test_columns_of_other_names_and_of_none(tmp_path: Path) -> None:
    path = _write(tmp_path / "r.csv", "Accession;Befund;Vidiert;report_status\n1;Zyste;05.03.2024;final\n")
    table = read_report_table(
        path, id_column="Accession", text_column="Befund", time_column="Vidiert", status_column=None
    )
    assert table[["time", "status", "report_status"]].values.tolist() == [["05.03.2024", "", "final"]]
    with pytest.raises(InputError, match="no column 'signed'"):
        read_report_table(path, id_column="Accession", text_column="Befund", time_column="signed")


def test_columns_whose_names_are_ours_and_long_values(tmp_path: Path) -> None:
    text = "study_id,report_text,pid,patient_id,status,place,remark\n1,Cyst,P1,P2,vidiert,ward 7," + 200 * "x" + "\n"
    table = read_report_table(_write(tmp_path / "r.csv", text), patient_column="pid")
    assert table["patient_id"].tolist() == ["P1"]
    assert table["status"].tolist() == [""]
    given = table[["patient_id_as_given", "status_as_given", "place_as_given", "remark"]]
    assert given.values.tolist() == [["P2", "vidiert", "ward 7", ""]]


def test_parquet_with_days_and_times(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    columns = {"study_id": [7], "report_text": ["Cyst"], "report_time": [datetime(2024, 3, 5, 14, 7)]}
    columns["study_date"] = [date(2024, 3, 5)]
    pd.DataFrame(columns, index=["a"]).to_parquet(path)
    table = read_report_table(path)
    assert table[["report_id", "day", "time"]].values.tolist() == [["7", "2024-03-05", "2024-03-05 14:07:00"]]


@given(st.lists(st.tuples(st.text(), st.lists(st.text(), max_size=2)), max_size=5))
def test_texts_on_disk_come_back(texts: list[tuple[str, list[str]]]) -> None:
    spool = TextSpool()
    for text, further in texts:
        number = spool.append(text)
        for one in further:
            spool.extend(number, one)
    assert list(spool) == ["\n".join(part for part in (text, *further) if part) for text, further in texts]
    assert len(spool) == len(texts)
    with pytest.raises(IndexError):
        spool[len(texts)]


TIMES = [
    ("2024-03-05 14:07:09", datetime(2024, 3, 5, 14, 7, 9)),
    ("2024-03-05T14:07:09+01:00", datetime(2024, 3, 5, 14, 7, 9)),
    ("20240305", datetime(2024, 3, 5)),
    ("20240305140709", datetime(2024, 3, 5, 14, 7, 9)),
    ("202403051407", datetime(2024, 3, 5, 14, 7)),
    ("05.03.2024", datetime(2024, 3, 5)),
    ("05.03.2024, 14:07", datetime(2024, 3, 5, 14, 7)),
    ("3/5/2024 2:07 PM", datetime(2024, 3, 5, 14, 7)),
    ("3/5/2024 12:07 am", datetime(2024, 3, 5, 0, 7)),
    ("05.03.2024 25:99", datetime(2024, 3, 5)),
    ("yesterday", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "time"), TIMES, ids=[text or "empty" for text, _ in TIMES])
def test_times_as_databases_dicom_germans_and_americans_write_them(text: str, time: datetime | None) -> None:
    assert read_time(text) == time


@given(st.text(max_size=30))
def test_no_text_makes_reading_a_time_fail(text: str) -> None:
    assert read_time(text) is None or isinstance(read_time(text), datetime)
