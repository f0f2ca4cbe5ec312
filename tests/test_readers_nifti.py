import gzip
from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from phantoms import body, canonical_affine, oblique_affine, write_nifti

from preprocess.errors import Reason, StudyError
from preprocess.geometry import canonical, nifti_from_affine, spacing_mm
from preprocess.readers_nifti import is_nifti, nifti_stem, read_nifti, read_nifti_grid


def test_a_real_file_equals_an_independent_readers(shared_data):
    path = shared_data / "real_ct" / "ct.nii.gz"
    volume = read_nifti(path)
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    np.testing.assert_array_equal(volume.hu, sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(volume.affine[:3, 3], image.GetOrigin(), atol=1e-4)
    assert volume.spacing_mm == pytest.approx(image.GetSpacing()[::-1])


def test_every_axis_order_of_a_file_gives_the_same_volume(tmp_path):
    hu, affine = body(), oblique_affine()
    for number, (order, flips) in enumerate(product(permutations(range(3)), product((1, -1), repeat=3))):
        image = nibabel.Nifti1Image(hu.transpose(2, 1, 0), nifti_from_affine(affine))
        orientation = np.array([[axis, flip] for axis, flip in zip(order, flips, strict=True)])
        path = tmp_path / f"{number}.nii"
        nibabel.save(image.as_reoriented(orientation), path)
        volume = read_nifti(path)
        np.testing.assert_array_equal(volume.hu, hu)
        np.testing.assert_allclose(volume.affine, affine, atol=1e-4)


@pytest.mark.parametrize(
    ("stored", "slope", "intercept", "expected"),
    [
        (np.array([-1000.4, 39.6, 40.5, 1e6]), 1, 0, [-1000, 40, 40, 32767]),
        (np.array([0, 500, 1000, 1001], np.int16), 2, -1024, [-1024, -24, 976, 978]),
        (np.array([0, 1, 2, 40000], np.uint16), 1, -1024, [-1024, -1023, -1022, 32767]),
        (np.array([np.nan, 1, 2, np.inf]), 1, 0, [-1024, 1, 2, -1024]),
    ],
    ids=["rounded", "scaled once", "unsigned", "not numbers"],
)
def test_values_become_whole_hu(tmp_path, stored, slope, intercept, expected):
    path = write_nifti(
        tmp_path / "x.nii.gz", stored.reshape(1, 2, 2), canonical_affine(), slope=slope, intercept=intercept
    )
    volume = read_nifti(path)
    assert volume.hu.dtype == np.int16
    assert volume.hu.ravel().tolist() == pytest.approx(np.clip(expected, -32768, 32767), abs=0)
    assert ("not numbers" in " ".join(volume.flags)) == bool(np.isnan(stored.astype(float)).any())


@pytest.mark.parametrize(("sform", "qform"), [(1, 0), (0, 1), (2, 1)], ids=["sform", "qform", "both"])
def test_the_affine_comes_from_the_form_whose_code_is_set(tmp_path, sform, qform):
    image = nibabel.Nifti1Image(body().transpose(2, 1, 0), np.eye(4))
    image.set_sform(nifti_from_affine(oblique_affine()) if sform else np.diag([9, 9, 9, 1]), code=sform)
    image.set_qform(nifti_from_affine(oblique_affine()) if not sform else np.diag([9, 9, 9, 1]), code=qform)
    nibabel.save(image, tmp_path / "x.nii")
    np.testing.assert_allclose(read_nifti(tmp_path / "x.nii").affine, oblique_affine(), atol=1e-4)


def test_a_file_without_orientation_is_refused(tmp_path):
    image = nibabel.Nifti1Image(body().transpose(2, 1, 0), None)
    image.header.set_zooms((2.0, 1.5, 4.0))
    nibabel.save(image, tmp_path / "x.nii")
    with pytest.raises(StudyError, match="neither an sform nor a qform") as caught:
        read_nifti(tmp_path / "x.nii")
    assert caught.value.reason is Reason.GEOMETRY


def test_a_sheared_file_is_refused_and_a_rounded_one_is_not(tmp_path):
    affine = canonical_affine()
    affine[1, 0] = 0.5  # z leans to the back
    with pytest.raises(StudyError, match="not orthogonal"):
        read_nifti(write_sform(tmp_path / "sheared.nii", affine))
    affine[1, 0] = 1e-4
    assert read_nifti(write_sform(tmp_path / "rounded.nii", affine)).flags == ()
    affine[1, 0] = 4e-3
    assert "axes made orthogonal" in read_nifti(write_sform(tmp_path / "tolerated.nii", affine)).flags[0]


def write_sform(path, affine):
    image = nibabel.Nifti1Image(body().transpose(2, 1, 0), None)
    image.set_sform(nifti_from_affine(affine), code=1)
    nibabel.save(image, path)
    return path


def test_a_fourth_axis_of_one_is_dropped_and_a_longer_one_refused(tmp_path):
    hu = body()
    for frames in (1, 2):
        image = nibabel.Nifti1Image(np.repeat(hu.transpose(2, 1, 0)[..., None], frames, -1), np.eye(4))
        nibabel.save(image, tmp_path / f"{frames}.nii")
    assert read_nifti(tmp_path / "1.nii").hu.size == hu.size
    with pytest.raises(StudyError, match=r"no grey volume: its shape is \(36, 40, 12, 2\)") as caught:
        read_nifti(tmp_path / "2.nii")
    assert caught.value.reason is Reason.UNREADABLE


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "flipped bytes"])
def test_damaged_files_are_unreadable(tmp_path, name, damage):
    path = write_nifti(tmp_path / name, body(), canonical_affine())
    content = path.read_bytes()
    if damage == "flipped bytes" and name == "x.nii":
        pytest.skip("an uncompressed NIfTI carries no check of its values")
    middle = len(content) // 2
    broken = content[:middle] + bytes(255 - value for value in content[middle : middle + 400]) + content[middle + 400 :]
    path.write_bytes({"empty": b"", "text": b"no image", "truncated": content[:-900], "flipped bytes": broken}[damage])
    with pytest.raises(StudyError, match=r"x\.nii") as caught:
        read_nifti(path)
    assert caught.value.reason is Reason.UNREADABLE


@pytest.mark.parametrize("slab_bytes", [1, 2000, 1 << 22], ids=["a slice", "some slices", "all at once"])
@pytest.mark.parametrize(
    "kind", [np.int16, np.uint16, np.int32, np.float32, np.float64], ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_slices_come_together_as_the_whole(tmp_path, monkeypatch, slab_bytes, kind, name):
    hu = body()
    monkeypatch.setattr("preprocess.readers_nifti._SLAB_BYTES", slab_bytes)
    for affine in (canonical_affine(), oblique_affine(degrees=170.0)):
        path = write_nifti(tmp_path / name, (hu + 1024).astype(kind), affine, slope=1, intercept=-1024)
        expected, expected_affine = canonical(hu, affine)
        volume = read_nifti(path)
        np.testing.assert_array_equal(volume.hu, expected)
        np.testing.assert_allclose(volume.affine, expected_affine, atol=1e-3)


@pytest.mark.parametrize("kind", [np.int16, np.float32], ids=lambda kind: kind.__name__)
def test_a_file_in_several_gzip_members_is_read(tmp_path, kind):
    hu = body()
    content = gzip.decompress(write_nifti(tmp_path / "x.nii.gz", hu.astype(kind), canonical_affine()).read_bytes())
    for cut in (100, len(content) // 2):
        (tmp_path / "x.nii.gz").write_bytes(gzip.compress(content[:cut]) + gzip.compress(content[cut:]))
        np.testing.assert_array_equal(read_nifti(tmp_path / "x.nii.gz").hu, hu)


def test_values_that_are_no_numbers_are_counted_over_all_slices(tmp_path, monkeypatch):
    monkeypatch.setattr("preprocess.readers_nifti._SLAB_BYTES", 1)
    hu = body().astype(np.float32)
    hu[1, 2, 3], hu[7, 8, 9] = np.nan, np.inf
    volume = read_nifti(write_nifti(tmp_path / "x.nii.gz", hu, canonical_affine()))
    assert volume.flags == ("2 voxels are not numbers",)
    assert volume.hu[1, 2, 3] == volume.hu[7, 8, 9] == -1024


def test_values_that_do_not_fit_their_checksum_are_unreadable(tmp_path):
    path = write_nifti(tmp_path / "x.nii.gz", body(), canonical_affine())
    content = path.read_bytes()
    path.write_bytes(content[:-8] + bytes(255 - value for value in content[-8:-4]) + content[-4:])
    with pytest.raises(StudyError, match=r"x\.nii\.gz cannot be decoded") as caught:
        read_nifti(path)
    assert caught.value.reason is Reason.UNREADABLE


def test_label_values_are_left_alone(tmp_path):
    labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    array, affine, _ = read_nifti_grid(write_nifti(tmp_path / "x.nii.gz", labels, oblique_affine()))
    np.testing.assert_array_equal(array, labels)
    assert spacing_mm(affine) == pytest.approx(spacing_mm(oblique_affine()), rel=1e-5)


def test_names(tmp_path):
    assert [is_nifti(tmp_path / name) for name in ("a.nii", "a.NII.GZ", "a.nii.txt")] == [True, True, False]
    assert nifti_stem(tmp_path / "a.b.nii.gz") == "a.b"
