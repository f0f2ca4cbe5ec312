"""What headers and the report table know, and that nothing of it is left in a store, its logs and its page."""

import json
import logging
import zipfile
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from phantoms import body, canonical_affine, dicom_series, organ_labels, save_series, write_nifti

from preprocess.identity import load_key
from preprocess.known_identifiers import NOTHING_KNOWN, KnownIdentifiers
from preprocess.pipeline import preprocess_archive
from preprocess.simulate.identity import draw_identities, stream
from preprocess.simulate.persona import draw_persona
from preprocess.simulate.planted import plant_identifiers
from preprocess.simulate.site import load_site
from preprocess.study_identifiers import identifiers_of_file, known_of_reports

REPORT = (
    "FINDINGS:\nThe spleen is normal. There is a simple cyst in the liver. No ascites.\nIMPRESSION:\nCyst of the liver."
)


def write_study(folder: Path, **tags: object) -> Path:
    save_series(folder, dicom_series(body(), canonical_affine(), **tags))
    return sorted(folder.iterdir())[0]


def test_the_header_of_a_file_is_read(tmp_path: Path) -> None:
    tags = {
        "PatientName": "Müller^Änne",
        "ReferringPhysicianName": "Roe^Richard",
        "OtherPatientIDs": ["X-1234", "Y-1234"],
    }
    tags |= {"PatientID": "P-4711", "PatientBirthDate": "19650314", "InstitutionName": "Haus Sonnenschein"}
    tags |= {"AccessionNumber": "ACC-1", "StudyInstanceUID": "2.25.77", "SpecificCharacterSet": "ISO_IR 192"}
    found = identifiers_of_file(write_study(tmp_path / "a", **tags))
    assert found == KnownIdentifiers(
        ("Müller^Änne", "Roe^Richard"),
        ("P-4711", "X-1234", "Y-1234", "ACC-1", "2.25.77"),
        (date(1965, 3, 14),),
        ("Haus Sonnenschein",),
    )


@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 128 + b"DICM" + b"\xff" * 40, None], ids=repr)
def test_other_files_say_nothing(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)
    assert identifiers_of_file(path) == NOTHING_KNOWN


def test_header_keys_and_table_are_put_together(tmp_path: Path) -> None:
    path = write_study(tmp_path / "a", PatientName="Doe^Jane", PatientID="P-4711", StudyInstanceUID="2.25.77")
    reports = pd.DataFrame(
        {
            "report_id": ["2.25.77", "other"],
            "study_id": ["s", None],
            "patient_id": ["P-4711", None],
            "text": ["", ""],
            "physician": ["Roe, Richard", "Poe, Ruth"],
        },
        index=[4, 9],
    )
    known = known_of_reports(reports, {"s": ("2.25.77", "P-4711")}, {"s": path})
    assert known.index.tolist() == [4, 9]
    assert known[4].names == ("Doe^Jane", "Roe, Richard")
    assert set(known[4].numbers) == {"2.25.77", "P-4711"}
    assert known[9] == KnownIdentifiers(names=("Poe, Ruth",), numbers=("other",))


def contents(folder: Path) -> str:
    """Everything below a folder as text: names, bytes, members of archives, rows of tables."""
    parts = []
    for path in sorted(folder.rglob("*")):
        parts.append(path.name)
        if path.is_dir():
            continue
        parts.append(path.read_bytes().decode("latin-1"))
        parts.append(path.read_bytes().decode("utf-8", errors="ignore"))
        if path.suffix == ".parquet":
            parts.append(json.dumps(pd.read_parquet(path).astype(str).to_dict("list"), ensure_ascii=False))
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as members:
                parts += [members.read(name).decode("utf-8", errors="ignore") for name in members.namelist()]
    return "\n".join(parts).casefold()


@pytest.fixture(scope="module")
def planted_archive(tmp_path_factory):
    """Six studies with identifiers in headers and reports; what was planted, and the archive's arguments."""
    root = tmp_path_factory.mktemp("planted")
    rows, planted = [], []
    for identity in draw_identities(6, 4, load_site("A")):
        language = ("en", "de")[identity.index % 2]
        persona = draw_persona(identity, stream(4, identity.patient), stream(4, "s", identity.index), language=language)
        text, written = plant_identifiers(REPORT, persona, stream(4, "planted", identity.index), language=language)
        planted += [piece for one in written for piece in one.telling if len(piece) > 3]
        planted += [persona.family, persona.given, persona.patient_id, persona.accession, persona.study_uid]
        save_series(
            root / "archive" / f"{identity.index}",
            dicom_series(
                body(),
                canonical_affine(),
                SpecificCharacterSet="ISO_IR 192",
                PatientName=persona.dicom_name,
                PatientID=persona.patient_id,
                PatientBirthDate=f"{persona.born:%Y%m%d}",
                ReferringPhysicianName=persona.dicom_referrer,
                InstitutionName=persona.institution,
                AccessionNumber=persona.accession,
                StudyInstanceUID=persona.study_uid,
                StudyDate=f"{persona.day:%Y%m%d}",
            ),
        )
        write_nifti(root / "masks" / f"{persona.study_uid}.nii.gz", organ_labels(), canonical_affine())
        rows.append({"study_id": persona.study_uid, "patient_id": persona.patient_id, "report_text": text})
    pd.DataFrame(rows).to_csv(root / "reports.csv", index=False)
    options = {"archive": root / "archive", "masks": root / "masks", "reports": root / "reports.csv", "workers": 0}
    return root, options, sorted(set(planted))


def test_nothing_planted_is_in_any_byte_of_store_logs_and_page(planted_archive, caplog) -> None:
    root, options, planted = planted_archive
    with caplog.at_level(logging.DEBUG):
        preprocess_archive(out=root / "out" / "store", key_file=root / "private" / "key", **options)
    page = pytest.importorskip("ctvlp.page.inspection")
    page.inspect_store(root / "out" / "store", root / "out" / "page.html")
    kept = f"{contents(root / 'out')}\n{caplog.text.casefold()}"
    assert "identifiers replaced" in caplog.text
    assert "simple cyst in the liver" in kept
    assert load_key(root / "private" / "key")
    told = [piece for piece in planted if not (piece.isdigit() and len(piece) < 6)]  # 2021 is in many a number
    assert len(told) > 60
    assert [piece for piece in told if piece.casefold() in kept] == []


def test_identifiers_can_be_kept_or_removed_against_the_default(planted_archive) -> None:
    root, options, planted = planted_archive
    preprocess_archive(out=root / "kept", study_id="keep", **options)
    left = contents(root / "kept" / "text")
    assert sum(piece.casefold() in left for piece in planted) > 40
    preprocess_archive(out=root / "mixed", study_id="keep", deidentify=True, **options)
    sentences = pd.read_parquet(root / "mixed" / "text" / "sentences.parquet")
    text = "\n".join(sentences["text"]).casefold()
    assert [piece for piece in planted if piece.casefold() in text] == []
