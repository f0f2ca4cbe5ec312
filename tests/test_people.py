"""Simulated studies name persons and places in headers and reports, and stay what they are otherwise."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pydicom
import pytest

from benchmarks.privacy import simulated_reports
from preprocess.deidentify import Deidentifier
from preprocess.errors import InputError
from preprocess.known_identifiers import KnownIdentifiers
from preprocess.report_reader import build_reader
from preprocess.simulate import site as sites
from preprocess.simulate.archive import simulate_archive
from preprocess.simulate.dicom import PRIVATE_GROUP
from preprocess.simulate.identity import draw_identities
from preprocess.simulate.people import REPORTS_THAT_NAME, name_people
from preprocess.simulate.planted import left_over
from preprocess.study_identifiers import identifiers_of_file
from preprocess.vocabulary_files import load_vocabulary

COARSE = {"in_plane_mm": (7.0, 7.5), "slice_mm": (9.0, 10.0)}
STUDIES = 4


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One archive whose studies name people, and the same one whose studies name nobody."""
    root = tmp_path_factory.mktemp("people")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sites, "SITES", {name: replace(site, **COARSE) for name, site in sites.SITES.items()})
        for identifiers in ("en", "none"):
            simulate_archive(root / identifiers, studies=STUDIES, seed=6, identifiers=identifiers, workers=1)
    return root / "en", root / "none"


def files(archive: Path, pattern: str) -> list[Path]:
    return sorted(path.relative_to(archive) for path in archive.glob(pattern))


def test_pixels_findings_and_masks_stay_as_they_were(archives) -> None:
    named, plain = archives
    slices = files(plain, "archive/*/*/*/*.dcm")
    assert slices == files(named, "archive/*/*/*/*.dcm")
    for path in slices[:: len(slices) // 25]:
        one, other = pydicom.dcmread(named / path), pydicom.dcmread(plain / path)
        assert one.PixelData == other.PixelData
        assert one.ImagePositionPatient == other.ImagePositionPatient
        assert one.PatientAge == other.PatientAge
    same = [*files(plain, "masks/*"), *files(plain, "truth/masks/*"), *files(plain, "truth/lesions/*")]
    same += [Path("truth") / name for name in ("findings.parquet", "lesions.parquet", "headers.parquet", "split.csv")]
    assert all((named / path).read_bytes() == (plain / path).read_bytes() for path in same)


def test_reports_differ_by_what_is_planted_alone(archives) -> None:
    named, plain = archives
    texts = pd.read_parquet(named / "truth" / "reports.parquet")["text"].tolist()
    assert texts == pd.read_csv(plain / "archive" / "reports.csv")["report_text"].tolist()
    planted = pd.read_parquet(named / "truth" / "planted.parquet")
    given = pd.read_csv(named / "archive" / "reports.csv").set_index("study_id")["report_text"]
    assert (given.to_numpy() != texts).any()
    for row in planted[planted["place"] == "report"].itertuples():
        assert row.written in given[row.study_id]
    assert pd.read_parquet(plain / "truth" / "planted.parquet").empty


def test_headers_name_people_in_unicode_and_the_truth_says_so(archives) -> None:
    named, plain = archives
    planted = pd.read_parquet(named / "truth" / "planted.parquet")
    for study, rows in planted.groupby("study_id"):
        path = next((named / "archive").glob(f"*/{study}/*/*.dcm"))
        header = pydicom.dcmread(path)
        assert header.SpecificCharacterSet == "ISO_IR 192"
        written = {row.place: row.written for row in rows.itertuples() if row.place != "report"}
        private = header.private_block(PRIVATE_GROUP, "SIMULATED ARCHIVE")[0x01].value
        assert written.pop("PrivateNote") == private
        assert {place: str(header[place].value) for place in written} == written
        assert {"PatientName", "OperatorsName", "InstitutionAddress", "StationName", "StudyDate"} <= written.keys()
        age = (pd.Timestamp(header.StudyDate) - pd.Timestamp(header.PatientBirthDate)).days / 365.25
        assert 0 <= age - int(header.PatientAge[:3]) < 2
    nobody = pydicom.dcmread(next((plain / "archive").glob("*/*/*/*.dcm")))
    assert str(nobody.PatientName).startswith("Simulated^")


def test_a_file_tells_its_study_s_people(archives) -> None:
    known = identifiers_of_file(next((archives[0] / "archive").glob("*/*/*/*.dcm")))
    assert (len(known.names), len(known.dates), len(known.institutions)) == (4, 1, 2)


def test_an_unknown_language_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="identifiers='fr' is unknown; it is none, en or de"):
        simulate_archive(tmp_path / "out", studies=1, seed=0, identifiers="fr")


@pytest.mark.parametrize(("count", "site", "language"), [(100, "A", "en"), (30, "B", "en"), (30, "A", "de")])
def test_labels_are_those_of_the_reports_before_planting(count, site, language) -> None:
    """All 54 labels of simulated reports; the share that names somebody is as stated."""
    deidentifier, reader = Deidentifier(), build_reader(load_vocabulary("ct54"))
    texts = list(simulated_reports(count, 7))
    planted = 0
    for identity, text in zip(draw_identities(count, 7, sites.load_site(site)), texts, strict=True):
        people = name_people(identity, text, age_years=60, seed=7, site=site, language=language)
        known = KnownIdentifiers(
            names=tuple(people.headers[name] for name in ("PatientName", "ReferringPhysicianName")),
            numbers=(identity.patient_id, identity.accession, identity.study_uid),
            institutions=(people.headers["InstitutionName"],),
        )
        cleaned = deidentifier.apply(people.text, known).text
        assert reader.read(cleaned).labels == reader.read(text).labels
        planted += people.text != text
        if site == "A":
            assert not [one for place, one in people.planted if place == "report" and left_over(one, cleaned, text)]
    assert planted / count == pytest.approx(REPORTS_THAT_NAME, abs=0.15)
