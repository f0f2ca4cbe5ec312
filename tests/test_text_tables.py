"""The tables of `text/`."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from ctvlp.cli import main
from preprocess.errors import InputError
from preprocess.report_links import LinkTarget, link_by_own_keys, link_reports
from preprocess.reports import read_reports
from preprocess.text_tables import reports_to_tables, write_text_tables
from preprocess.vocabulary_files import load_vocabulary

VOCABULARY = load_vocabulary("ct54")
ROWS = """study_id,report_text,patient_id
b2,"Thank you. The liver is normal. 12 mm cyst in the left kidney.",p2
a1,"Thank you. No cyst in the liver. Possible gallstone.",p1
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
    tables = [f"{name}.parquet" for name in ("anatomies", "evidence", "labels", "links", "sentences")]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*tables, "contradictions.csv", "quality.json", "unmatched.csv"]
    )
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
    assert kidney[["status", "text"]].tolist() == ["abnormal", "12 mm cyst in the left kidney."]
    assert kidney["canonical"] == "The kidney is abnormal: renal cyst on the left (12 mm)."
    evidence = pd.read_parquet(out / "evidence.parquet")
    cyst = evidence[evidence["finding"] == "kidney.cyst"].iloc[0]
    assert (cyst["study_id"], cyst["anatomy"], cyst["side"], cyst["size_mm"]) == ("b2", "kidney", "left", 12.0)
    sentences = pd.read_parquet(out / "sentences.parquet")
    assert sentences["index"].tolist() == [0, 1, 2, 0, 1, 2]
    assert [list(names) for names in sentences["anatomies"]][3:] == [[], ["liver"], ["kidney"]]
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


def test_two_reports_of_one_study_are_read_together(table_file: Path, tmp_path: Path) -> None:
    reports = read_reports(table_file)
    linked = link_reports(reports.table, [LinkTarget("s", ("a1", "b2"))])
    summary = write_text_tables(linked, reports.texts, VOCABULARY, tmp_path / "out")
    labels, links = (pd.read_parquet(tmp_path / "out" / f"{name}.parquet") for name in ("labels", "links"))
    assert labels["study_id"].tolist() == ["s"]
    assert labels["kidney.cyst"].tolist() == [1]
    assert links["reason"].tolist() == ["linked", "linked", "no study"]
    assert summary.studies == 1
    assert dict(summary.links) == {"linked by key": 2, "no study": 1}


def test_one_report_of_two_studies_is_read_for_both_as_far_as_they_cover_it(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(
        "study_id,report_text\nA1;A2,Cyst in the liver. Emphysema of the lung. The gallbladder was removed.\n"
    )
    reports = read_reports(path)
    linked = link_by_own_keys(reports.table)
    coverage = {"A1": {"lung"}, "other": set[str]()}
    summary = write_text_tables(linked, reports.texts, VOCABULARY, tmp_path / "out", coverage=coverage)
    anatomies, labels, evidence = (
        pd.read_parquet(tmp_path / "out" / f"{name}.parquet") for name in ("anatomies", "labels", "evidence")
    )
    stated = anatomies.fillna("").set_index(["study_id", "anatomy"])
    columns = ["status", "text", "canonical", "reason"]
    assert stated.loc[("A1", "liver"), columns].tolist() == ["unmentioned", "", "", "not covered"]
    assert stated.loc[("A1", "spleen"), columns].tolist() == ["unmentioned", "", "", ""]
    assert stated.loc[("A2", "liver"), columns].tolist()[:2] == ["abnormal", "Cyst in the liver."]
    for study in ("A1", "A2"):
        assert stated.loc[(study, "lung"), "status"] == "abnormal"
        assert stated.loc[(study, "gallbladder"), ["status", "reason"]].tolist() == ["removed", ""]
    of_study = labels.set_index("study_id")
    assert of_study["lung.emphysema"].tolist() == [1, 1]
    assert of_study["liver.cyst"].isna().tolist() == [True, False]
    assert evidence.groupby("study_id")["finding"].apply(list).to_dict() == {
        "A1": ["lung.emphysema"],
        "A2": ["liver.cyst", "lung.emphysema"],
    }
    assert summary.not_covered == 1


VERSIONS = """study_id,report_id,report_time,report_status,report_text
A1,R1,2024-01-01,preliminary,Stone in the gallbladder.
A1,R2,2024-01-03,addendum,There is no cyst in the liver.
A1,R3,2024-01-02,final,Cyst in the liver. Cyst in the left kidney.
"""


def test_the_final_report_and_what_an_addendum_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(VERSIONS)
    reports_to_tables(path, tmp_path / "out")
    labels, links, evidence, sentences = (
        pd.read_parquet(tmp_path / "out" / f"{name}.parquet") for name in ("labels", "links", "evidence", "sentences")
    )
    assert labels[["liver.cyst", "kidney.cyst"]].values.tolist() == [[0, 1]]
    assert labels["gallbladder.gallstone"].isna().all()
    assert links[["report_id", "reason", "by", "part"]].fillna("").values.tolist() == [
        ["R1", "preliminary", "key", ""],
        ["R2", "linked", "key", "addendum"],
        ["R3", "linked", "key", "report"],
    ]
    assert evidence.groupby("finding")["overridden"].apply(list).to_dict() == {
        "kidney.cyst": [False],
        "liver.cyst": [True, False],
    }
    assert sentences["text"].tolist() == [
        "Cyst in the liver.",
        "Cyst in the left kidney.",
        "There is no cyst in the liver.",
    ]


def test_rows_are_written_in_groups_and_are_the_same(table_file: Path, tmp_path: Path, monkeypatch) -> None:
    reports_to_tables(table_file, tmp_path / "whole")
    monkeypatch.setattr("preprocess.text_files.STUDIES_IN_A_GROUP", 1)
    monkeypatch.setattr("preprocess.text_files.ROWS_OF_LINKS", 2)
    reports_to_tables(table_file, tmp_path / "groups")
    for path in (tmp_path / "whole").glob("*.parquet"):
        assert pq.read_table(path).equals(pq.read_table(tmp_path / "groups" / path.name))
    assert pq.ParquetFile(tmp_path / "groups" / "anatomies.parquet").num_row_groups == 3
    assert pq.ParquetFile(tmp_path / "groups" / "links.parquet").num_row_groups == 2


def test_a_withdrawn_report_leaves_no_study(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("study_id,report_status,report_text\na,cancelled,Cyst in the liver.\nb,,Normal.\n")
    summary = reports_to_tables(tmp_path / "r.csv", tmp_path / "out")
    assert pd.read_parquet(tmp_path / "out" / "labels.parquet")["study_id"].tolist() == ["b"]
    assert pd.read_parquet(tmp_path / "out" / "links.parquet")["reason"].tolist() == ["withdrawn", "linked"]
    assert dict(summary.links) == {"linked by key": 1, "withdrawn": 1}


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


def test_each_of_several_keys_is_removed_from_the_text(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("study_id,report_text\nACC4711;ACC4712,CT of ACC4712: no cyst in the liver.\n")
    summary = reports_to_tables(tmp_path / "r.csv", tmp_path / "out", deidentify=True)
    sentences = pd.read_parquet(tmp_path / "out" / "sentences.parquet")
    assert not sentences["text"].str.contains("4712").any()
    assert dict(summary.replaced) == {"id": 2}


MIXED = """study_id,report_text
de,"Leber: Keine fokale Läsion. Nierenzyste links, 12 mm. Gallenblase: Z. n. Cholezystektomie."
en,"No focal lesion in the liver. 12 mm cyst in the left kidney. Status post cholecystectomy."
"""


def test_both_languages_meet_in_their_canonical_texts(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(MIXED)
    reports_to_tables(tmp_path / "r.csv", tmp_path / "out")
    anatomies = pd.read_parquet(tmp_path / "out" / "anatomies.parquet").set_index(["study_id", "anatomy"])
    for name in ("liver", "kidney", "gallbladder"):
        german, english = anatomies.loc[("de", name)], anatomies.loc[("en", name)]
        assert german["text"] != english["text"]
        assert (
            german[["status", "canonical"]].tolist() == english[["status", "canonical"]].tolist() != ["unmentioned", ""]
        )


def test_several_processes_write_the_same_files(table_file: Path, tmp_path: Path, monkeypatch) -> None:
    reports_to_tables(table_file, tmp_path / "one")
    monkeypatch.setattr("preprocess.text_tables.FEW", 1)
    reports_to_tables(table_file, tmp_path / "two", workers=2)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_language_that_is_not_there_leaves_nothing(table_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="xx"):
        reports_to_tables(table_file, tmp_path / "out", language="xx")
    assert not (tmp_path / "out").exists()


def test_the_command_tells_how_reports_and_studies_are_linked(tmp_path: Path, capsys) -> None:
    (tmp_path / "r.csv").write_text(
        "Accession,Befund,Art,Vidiert\nA1;A2,Cyst in the liver.,vorläufig,05.03.2024\nA1,No cyst.,final,06.03.2024\n"
    )
    columns = ["id_column=Accession", "text_column=Befund", "status_column=Art", "time_column=Vidiert"]
    assert main(["reports", f"reports={tmp_path / 'r.csv'}", f"out={tmp_path / 'out'}", *columns]) == 0
    assert "2 reports (0 without text)" in (told := capsys.readouterr().out)
    assert "reports and studies: 2 linked by key, 1 preliminary\n" in told
