import os
from datetime import date

import pytest
from phantoms import body, canonical_affine, dicom_series, enhanced_ct, save_series, write_nifti

from preprocess.archive import find_studies
from preprocess.dicom_headers import read_header
from preprocess.errors import InputError
from preprocess.readers import read_series
from preprocess.study_source import content_digest, source_digest


def save(folder, **tags):
    return save_series(folder, dicom_series(body(), canonical_affine(), **tags))


def test_keys_of_dicom_studies_are_uid_then_accession_then_folder(tmp_path):
    save(tmp_path / "p1" / "x", StudyInstanceUID="2.25.11", AccessionNumber="A1", SeriesInstanceUID="2.25.1")
    save(tmp_path / "p2" / "y", StudyInstanceUID="", AccessionNumber="A2", SeriesInstanceUID="2.25.2")
    save(tmp_path / "p3" / "ä = b, c", StudyInstanceUID="", SeriesInstanceUID="2.25.3")
    studies = {study.key: study.keys for study in find_studies(tmp_path).studies}
    assert studies == {
        "2.25.11": ("2.25.11", "A1", "p1/x"),
        "A2": ("A2", "p2/y"),
        "p3/ä = b, c": ("p3/ä = b, c",),
    }


def test_keys_of_nifti_are_paths_without_suffix(tmp_path):
    for name in ("a.nii", "b/c.nii.gz", "b/d.e.nii.gz"):
        write_nifti(tmp_path / name, body(), canonical_affine())
    assert [study.key for study in find_studies(tmp_path).studies] == ["a", "b/c", "b/d.e"]
    (single,) = find_studies(tmp_path / "b" / "c.nii.gz").studies
    assert single.key == "c"


def test_series_of_one_study_in_several_folders_belong_together(tmp_path):
    for number in (1, 2):
        save(tmp_path / str(number), StudyInstanceUID="2.25.5", SeriesInstanceUID=f"2.25.5.{number}")
    (study,) = find_studies(tmp_path).studies
    assert [series.name for series in study.series] == ["2.25.5.1", "2.25.5.2"]
    assert len(study.files) == 24


def test_files_directly_in_the_archive_take_its_name(tmp_path):
    save(tmp_path / "export", StudyInstanceUID="")
    assert find_studies(tmp_path / "export").studies[0].key == "export"


def test_clutter_is_passed_over_and_counted(tmp_path):
    paths = save(tmp_path / "s")
    for path in paths:
        path.rename(path.with_suffix(""))  # no suffix: known by their preamble
    for name in ("notes.txt", "s/data.csv", "empty", "DICOMDIR", ".DS_Store"):
        (tmp_path / name).write_bytes(b"" if name == "empty" else b"\x08\x00clutter, long enough to look at" * 9)
    listing = find_studies(tmp_path)
    assert len(listing.studies) == 1
    assert listing.other_files == 3
    assert listing.studies[0].series[0].slices == 12


def test_one_enhanced_file_is_a_study(tmp_path):
    (path,) = save_series(tmp_path, [enhanced_ct(body(), canonical_affine())])
    (study,) = find_studies(path).studies
    assert study.series[0].slices == 12
    assert study.series[0].step_mm == pytest.approx(4.0)
    assert read_series(study.series[0]).hu.shape == body().shape


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"PatientAge": "045Y"}, 45.0),
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientAge": "095Y"}, 90.0),
        ({"PatientBirthDate": "19800615", "StudyDate": "20200614"}, 39.0),
        ({"PatientBirthDate": "19800615", "StudyDate": "20200616"}, 40.0),
        ({"PatientBirthDate": "", "PatientAge": ""}, None),
        ({"PatientBirthDate": "19800615"}, None),
    ],
    ids=["years", "months", "very old", "before the birthday", "after it", "empty", "no date of the study"],
)
def test_age(tmp_path, tags, expected):
    save(tmp_path, **tags)
    assert find_studies(tmp_path).studies[0].age_years == expected


def test_attributes_are_null_where_unknown(tmp_path):
    save(tmp_path / "known", StudyInstanceUID="2.25.1", StudyDate="20240229", PatientSex="F", Manufacturer="ACME",
         ManufacturerModelName="One", SeriesInstanceUID="2.25.1")  # fmt: skip
    save(tmp_path / "not", StudyInstanceUID="2.25.2", PatientSex="", SeriesInstanceUID="2.25.2", PatientID="")
    known, unknown = find_studies(tmp_path).studies
    assert (known.patient, known.day, known.sex, known.manufacturer, known.model) == (
        "P1", date(2024, 2, 29), "F", "ACME", "One",
    )  # fmt: skip
    assert (unknown.patient, unknown.day, unknown.sex, unknown.manufacturer, unknown.model) == (None,) * 5


def test_two_patients_under_one_uid_and_two_files_with_one_key_are_defects(tmp_path):
    save(tmp_path / "a", PatientID="P1", SeriesInstanceUID="2.25.1")
    save(tmp_path / "b", PatientID="P2", SeriesInstanceUID="2.25.2")
    for name in ("c.nii", "c.nii.gz"):
        write_nifti(tmp_path / name, body(), canonical_affine())
    defects = {study.key: study.defect for study in find_studies(tmp_path).studies}
    assert defects == {"2.25.1": "its files name 2 different patients", "c": "2 files carry the same key"}


def test_what_is_left_out_is_not_looked_at(tmp_path):
    write_nifti(tmp_path / "a.nii", body(), canonical_affine())
    write_nifti(tmp_path / "masks" / "a.nii", body(), canonical_affine())
    assert [study.key for study in find_studies(tmp_path, leave_out=[tmp_path / "masks"]).studies] == ["a"]


def test_missing_and_empty_archives_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_studies(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(InputError, match=r"holds no DICOM and no NIfTI image \(1 files looked at\)"):
        find_studies(tmp_path)


def test_the_source_digest_follows_the_files(tmp_path):
    path = write_nifti(tmp_path / "a.nii", body(), canonical_affine())

    def digest(*extra):
        return source_digest(find_studies(tmp_path).studies[0], extra)

    first = digest()
    assert digest() == first
    mask = tmp_path / "m.txt"
    mask.write_text("x")
    with_mask = digest(mask)
    assert with_mask != first
    os.utime(path, ns=(1, 1))
    assert digest() != first


def test_the_content_digest_follows_the_bytes_alone(tmp_path):
    one, other, third = (tmp_path / name for name in "abc")
    one.write_bytes(b"1")
    other.write_bytes(b"2")
    third.write_bytes(b"1")
    assert content_digest([one, other]) == content_digest([other, third])
    assert content_digest([one]) != content_digest([other])


@pytest.mark.parametrize(
    "content", [b"", b"short", b"\x08\x00" * 80, b"\0" * 128 + b"DICM"], ids=["0", "5", "160", "132"]
)
def test_files_that_only_look_like_dicom_are_none(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    header = read_header(tmp_path / "x")
    assert header is None or header.shared.refusal == "not an image"


def test_real_data(shared_data):
    (study,) = find_studies(shared_data / "real_ct" / "dicom").studies
    (series,) = study.series
    assert study.key == "dicom"
    assert (series.slices, series.step_mm, series.kernel, series.plane) == (20, 2.0, "Br38f 3", "axial")
    assert (study.patient, study.age_years, study.sex, study.day) == (None, None, None, date(2022, 12, 8))
