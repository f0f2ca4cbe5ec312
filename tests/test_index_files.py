import os

import pytest
from phantoms import body, canonical_affine, dicom_series, enhanced_ct, save_series, write_nifti

from preprocess.dicom_headers import DicomHeader, read_header
from preprocess.index_files import FileFacts, Unreadable, image_files, read_facts, read_many, shared_of

KNOWN = {
    "StudyDate": "20240229", "PatientAge": "061Y", "PatientSex": "F", "Manufacturer": "ACMÉ", "AccessionNumber": "A\\1",
    "SeriesDescription": "Abdomen; portal-venös", "ContrastBolusAgent": "", "ConvolutionKernel": ["Br38f", "3"],
}  # fmt: skip


def files_of(folder, kind):
    hu, affine = body((4, 12, 12)), canonical_affine()
    if kind == "enhanced":
        return save_series(folder, [enhanced_ct(hu, affine)])
    if kind == "localizer":
        return save_series(folder, dicom_series(hu, affine, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    if kind == "no place":
        return save_series(folder, dicom_series(hu, affine, ImagePositionPatient=None, PixelSpacing=None))
    names = {"StudyInstanceUID": "", "SeriesInstanceUID": "", "SOPInstanceUID": "", "PatientID": ""}
    return save_series(folder, dicom_series(hu, affine, **(KNOWN if kind == "known" else names)))


@pytest.mark.parametrize("kind", ["known", "empty", "enhanced", "localizer", "no place"])
def test_a_header_comes_back_as_it_was_read(tmp_path, kind):
    for path in files_of(tmp_path / "s", kind):
        facts = read_facts(tmp_path, os.path.relpath(path, tmp_path))
        assert isinstance(facts, FileFacts)
        again = DicomHeader(str(path), facts.instance_uid, facts.positions, shared_of(facts.shared))
        assert again == read_header(path)


def test_slices_of_a_series_share_one_text(tmp_path):
    paths = files_of(tmp_path / "s", "known")
    facts = read_many(tmp_path, [os.path.relpath(path, tmp_path) for path in paths])
    assert len({one.shared for one in facts}) == 1
    assert len({id(one.shared) for one in facts}) == 1  # so that it travels between processes once
    assert len({one.positions for one in facts}) == len({one.instance_uid for one in facts}) == 4


@pytest.mark.parametrize(
    ("name", "kind", "key"),
    [("a/b.nii.gz", "nifti", "a/b"), ("c.d.nii", "nifti", "c.d"), ("e/f.mha", "itk", "e/f"), ("g.nrrd", "itk", "g")],
)
def test_images_are_known_by_their_names(tmp_path, name, kind, key):
    write_nifti(tmp_path / "x.nii", body((4, 12, 12)), canonical_affine())
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    (tmp_path / "x.nii").rename(path)
    facts = read_facts(tmp_path, name)
    assert (facts.kind, facts.key, image_files(path, facts.shared)) == (kind, key, (path,))


def test_clutter_and_what_is_gone(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    assert read_facts(tmp_path, "notes.txt") is None
    assert read_facts(tmp_path, "gone") == Unreadable("No such file or directory")
