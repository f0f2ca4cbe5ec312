"""Which reports belong to which studies, and which of a study's reports are read."""

from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from preprocess.report_links import LinkTarget, count_links, link_by_own_keys, link_reports
from preprocess.report_versions import read_state
from preprocess.reports import read_report_table

HEADER = "study_id,patient_id,study_date,report_id,report_time,report_status,report_text\n"
STUDIES = [
    LinkTarget("s1", ("2.25.1", "A1", "folder one"), "P1", date(2024, 3, 5)),
    LinkTarget("s2", ("2.25.2", "A2"), "P1", date(2024, 4, 6)),
    LinkTarget("s3", ("2.25.3", "A3"), "P2", date(2024, 3, 5)),
    LinkTarget("s4", ("2.25.4", "A4"), "P2", date(2024, 3, 5)),
    LinkTarget("s5", ("2.25.5", "twice"), "P1", date(2024, 5, 5)),
    LinkTarget("s6", ("2.25.6", "twice"), "P2", date(2024, 6, 6)),
    LinkTarget("s7", ("2.25.7", "split"), "P3", date(2024, 7, 7)),
    LinkTarget("s8", ("2.25.8", "split"), "P3", date(2024, 8, 8)),
    LinkTarget("s9", ("2.25.9", ""), None, None),
]

LINKS = [
    ("accession", "A1,,,,,,Cyst", [("s1", "A1", "key", "linked")]),
    ("uid", "2.25.9,,,,,,Cyst", [("s9", "2.25.9", "key", "linked")]),
    ("folder with a space", "folder one,,,,,,Cyst", [("s1", "folder one", "key", "linked")]),
    ("several accessions", "A1; A2,,,,,,Cyst", [("s1", "A1", "key", "linked"), ("s2", "A2", "key", "linked")]),
    ("several, by blanks and commas", '"A1,A2 A9",,,,,,Cyst', [(f"s{n}", f"A{n}", "key", "linked") for n in (1, 2)]),
    ("one study named twice", "A1|2.25.1,,,,,,Cyst", [("s1", "A1", "key", "linked")]),
    ("patient and date", ",P1,06.04.2024,,,,Cyst", [("s2", "P1 2024-04-06", "patient and date", "linked")]),
    ("unknown key", "A9,P1,20240406,,,,Cyst", [("s2", "P1 2024-04-06", "patient and date", "linked")]),
    ("two studies that day", ",P2,2024-03-05,,,,Cyst", [(None, None, None, "several studies of the day")]),
    ("another day", "A9,P1,2024-04-07,,,,Cyst", [(None, None, None, "no study")]),
    ("no key, no day", ",P1,,,,,Cyst", [(None, None, None, "no id")]),
    ("key of two patients", "twice,,,,,,Cyst", [(None, None, None, "key of several patients")]),
    ("of which one is meant", "twice,P2,,,,,Cyst", [("s6", "twice", "key", "linked")]),
    ("key of two studies", "split,,,,,,Cyst", [("s7", "split", "key", "linked"), ("s8", "split", "key", "linked")]),
    ("of which one is that day's", "split,,2024-08-08,,,,Cyst", [("s8", "split", "key", "linked")]),
    ("no text", "A1,,,,,,", [("s1", "A1", "key", "empty text")]),
]


def read(folder: Path, rows: str) -> pd.DataFrame:
    path = folder / "reports.csv"
    path.write_text(HEADER + rows)
    return read_report_table(path)


def listed(linked: pd.DataFrame, *columns: str) -> list[tuple[str | None, ...]]:
    return list(linked[list(columns)].itertuples(index=False, name=None))


@pytest.mark.parametrize(("row", "links"), [case[1:] for case in LINKS], ids=[case[0] for case in LINKS])
def test_links(row: str, links: list[tuple[str | None, ...]], tmp_path: Path) -> None:
    linked = link_reports(read(tmp_path, row), STUDIES)
    assert listed(linked, "study_id", "key", "by", "reason") == links


def test_the_order_of_the_studies_does_not_matter(tmp_path: Path) -> None:
    table = read(tmp_path, "".join(f"{row}\n" for _, row, _ in LINKS))
    pd.testing.assert_frame_equal(link_reports(table, STUDIES), link_reports(table, STUDIES[::-1]))


def test_links_are_counted(tmp_path: Path) -> None:
    rows = "A1; A2,,,,,final,Cyst\nA1,,,,,prelim,Stone\nA1,,,,,addendum,No cyst\n,P1,2024-05-05,,,,Cyst\nA9,,,,,,Cyst\n"
    assert count_links(link_reports(read(tmp_path, rows), STUDIES)) == {
        "addendum linked by key": 1,
        "linked by key": 2,
        "linked by patient and date": 1,
        "no study": 1,
        "preliminary": 1,
    }


VERSIONS = [
    ("alone", "A1,,,,,,a", [("a", "report")], {}),
    ("nothing tells them apart", "A1,,,R1,,,a\nA1,,,R2,,,b", [("a", "report"), ("b", "report")], {}),
    ("latest final", "A1,,,,2024-02-02,final,a\nA1,,,,2024-01-01,final,b", [("a", "report")], {"b": "superseded"}),
    ("latest by time alone", "A1,,,,2024-01-01,,a\nA1,,,,2024-02-02,,b", [("b", "report")], {"a": "superseded"}),
    ("latest in the file", "A1,,,R1,,final,a\nA1,,,R2,,final,b", [("b", "report")], {"a": "superseded"}),
    ("corrected", "A1,,,,2024-01-01,F,a\nA1,,,,2024-02-02,C,b", [("b", "report")], {"a": "superseded"}),
    ("preliminary", "A1,,,,2024-01-01,final,a\nA1,,,,2024-02-02,P,b", [("a", "report")], {"b": "preliminary"}),
    (
        "preliminary alone",
        "A1,,,,2024-02-02,draft,a\nA1,,,,2024-01-01,prelim,b",
        [("a", "report")],
        {"b": "superseded"},
    ),
    (
        "addenda in their order",
        "A1,,,,2024-03-03,addendum,a\nA1,,,,2024-01-01,final,b\nA1,,,,2024-02-02,Nachtrag,c",
        [("b", "report"), ("c", "addendum"), ("a", "addendum")],
        {},
    ),
    (
        "addendum without time",
        "A1,,,,,addendum,a\nA1,,,,2024-01-01,final,b",
        [("b", "report"), ("a", "addendum")],
        {},
    ),
    (
        "addendum of the same day",
        "A1,,,,2024-01-01,addendum,a\nA1,,,,2024-01-01,final,b",
        [("b", "report"), ("a", "addendum")],
        {},
    ),
    ("addendum to a draft", "A1,,,,,draft,a\nA1,,,,,addendum,b", [("a", "report"), ("b", "addendum")], {}),
    ("an empty final", "A1,,,R1,,final,\nA1,,,R2,,prelim,b", [("b", "report")], {"": "empty text"}),
    (
        "withdrawn",
        "A1,,,,2024-02-02,entered-in-error,a\nA1,,,,2024-01-01,final,b",
        [("b", "report")],
        {"a": "withdrawn"},
    ),
]


@pytest.mark.parametrize(("rows", "parts", "left"), [case[1:] for case in VERSIONS], ids=[case[0] for case in VERSIONS])
def test_which_of_a_studys_reports_are_read(
    rows: str, parts: list[tuple[str, str]], left: dict[str, str], tmp_path: Path
) -> None:
    linked = link_by_own_keys(read(tmp_path, f"{rows}\n"))
    chosen = linked[linked["part"].notna()].sort_values("turn")
    assert listed(chosen, "text", "part") == parts
    others = linked[linked["part"].isna()]
    assert dict(zip(others["text"], others["reason"], strict=True)) == left


def test_a_report_of_several_accessions_stands_beside_each_studys_own(tmp_path: Path) -> None:
    rows = "A1|A2,,,R1,2024-01-01,final,a\nA2,,,R2,2024-02-02,final,b\n"
    linked = link_by_own_keys(read(tmp_path, rows))
    assert listed(linked, "report_id", "study_id", "reason") == [
        ("R1", "A1", "linked"),
        ("R1", "A2", "superseded"),
        ("R2", "A2", "linked"),
    ]


STATES = [
    ("final", "final"),
    ("F", "final"),
    ("Final result", "final"),
    ("vidiert", "final"),
    ("amended", "final"),
    ("Preliminary Report", "preliminary"),
    ("nicht freigegeben", "preliminary"),
    ("vorläufiger Befund", "preliminary"),
    ("unsigned", "preliminary"),
    ("Addendum 1", "addendum"),
    ("Nachtrag", "addendum"),
    ("cancelled", "withdrawn"),
    ("storniert", "withdrawn"),
    ("", None),
    ("7", None),
    ("finality", None),
]


@pytest.mark.parametrize(("status", "state"), STATES, ids=[status or "empty" for status, _ in STATES])
def test_states(status: str, state: str | None) -> None:
    assert read_state(status) == state
