"""The tables of `text/`."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from preprocess.errors import InputError
from preprocess.reports import link_reports, read_report_table
from preprocess.text_tables import build_text_tables, reports_to_tables, write_text_tables
from preprocess.vocabulary_files import load_vocabulary

VOCABULARY = load_vocabulary("ct54")
ROWS = """study_id,report_text,patient_id
b2,"The liver is normal. 12 mm cyst in the left kidney. Thank you.",p2
a1,"No cyst in the liver. Possible gallstone. Thank you.",p1
c3,,p1
"""


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    path = tmp_path / "reports.csv"
    path.write_text(ROWS)
    return path


def test_reports_alone(table_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = reports_to_tables(table_file, out)
    assert sorted(path.name for path in out.iterdir()) == [
        f"{name}.parquet" for name in ("anatomies", "evidence", "labels", "links", "sentences")
    ]
    labels = pd.read_parquet(out / "labels.parquet")
    assert labels["study_id"].tolist() == ["a1", "b2", "c3"]
    assert labels["patient_id"].tolist() == ["p1", "p2", "p1"]
    assert list(labels.columns[2:]) == [finding.id for finding in VOCABULARY.findings]
    assert labels["liver.cyst"].tolist()[0] == 0
    assert labels["kidney.cyst"].tolist()[1] == 1
    assert labels["gallbladder.gallstone"].tolist()[0] == -1
    assert labels.loc[2, VOCABULARY.findings[0].id :].isna().all()
    anatomies = pd.read_parquet(out / "anatomies.parquet")
    assert len(anatomies) == 3 * 15
    kidney = anatomies.set_index(["study_id", "anatomy"]).loc[("b2", "kidney")]
    assert kidney.tolist() == ["abnormal", "12 mm cyst in the left kidney."]
    evidence = pd.read_parquet(out / "evidence.parquet")
    cyst = evidence[evidence["finding"] == "kidney.cyst"].iloc[0]
    assert (cyst["study_id"], cyst["anatomy"], cyst["side"], cyst["size_mm"]) == ("b2", "kidney", "left", 12.0)
    sentences = pd.read_parquet(out / "sentences.parquet")
    assert sentences["index"].tolist() == [0, 1, 2, 0, 1, 2]
    assert [list(names) for names in sentences["anatomies"]][3:] == [["liver"], ["kidney"], []]
    links = pd.read_parquet(out / "links.parquet")
    assert links["reason"].tolist() == ["linked", "linked", "empty text"]
    assert (summary.reports, summary.studies, summary.empty) == (3, 3, 1)
    assert (summary.sentences, summary.matched) == (6, 4)
    assert dict(summary.unmatched) == {"Thank you.": 2}


def test_label_columns_are_nullable_int8(table_file: Path, tmp_path: Path) -> None:
    reports_to_tables(table_file, tmp_path / "out", vocabulary="ct_rate18")
    schema = pq.read_schema(tmp_path / "out" / "labels.parquet")
    assert [str(schema.field(name).type) for name in schema.names] == ["string", "string", *["int8"] * 18]
    assert schema.names[2] == "Medical material"


def test_same_reports_same_bytes_in_any_order(table_file: Path, tmp_path: Path) -> None:
    table = read_report_table(table_file)
    table["study_id"] = table["report_id"]
    write_text_tables(table, VOCABULARY, tmp_path / "one")
    write_text_tables(table.iloc[::-1], VOCABULARY, tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_two_reports_of_one_study_are_read_together(table_file: Path) -> None:
    linked = link_reports(read_report_table(table_file), {"s": ["a1", "b2"]})
    tables, summary = build_text_tables(linked, VOCABULARY)
    assert tables["labels"].column("study_id").to_pylist() == ["s"]
    assert tables["labels"].column("kidney.cyst").to_pylist() == [1]
    assert tables["links"].column("reason").to_pylist() == ["linked", "linked", "no study"]
    assert summary.studies == 1


def test_nothing_half_written(table_file: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        reports_to_tables(table_file, blocked)
    assert blocked.read_text() == "in the way"


def test_progress_counts_studies(table_file: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    reports_to_tables(table_file, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


SIGNED = """study_id,report_text,patient_id,patient_name
b2,"Doe has a 12 mm cyst in the left kidney. Comparison: CT of 05.03.2024. Signed by Dr. Smith.",p2,"Doe, Jane"
a1,"No cyst in the liver.",p1,
"""


@pytest.mark.parametrize("remove", [False, True], ids=["kept", "removed"])
def test_identifiers_are_removed_before_reading_if_asked(tmp_path: Path, remove: bool) -> None:
    path = tmp_path / "reports.csv"
    path.write_text(SIGNED)
    summary = reports_to_tables(path, tmp_path / "out", deidentify=remove)
    assert dict(summary.replaced) == ({"date": 1, "name": 2} if remove else {})
    sentences = pd.read_parquet(tmp_path / "out" / "sentences.parquet")
    text = " ".join(sentences.loc[sentences["study_id"] == "b2", "text"])
    assert all((secret in text) is not remove for secret in ("Doe", "Smith", "05.03.2024"))
    labels = pd.read_parquet(tmp_path / "out" / "labels.parquet").set_index("study_id")
    assert (labels.loc["b2", "kidney.cyst"], labels.loc["a1", "liver.cyst"]) == (1, 0)
