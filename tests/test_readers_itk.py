import numpy as np
import pytest
import SimpleITK as sitk
from phantoms import body, canonical_affine, oblique_affine

from preprocess.archive import find_studies
from preprocess.errors import Reason, StudyError
from preprocess.readers import read_series, volume_files, volume_kind, volume_stem
from preprocess.readers_itk import is_itk, itk_files, itk_stem, read_itk

HU = body()
NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nspace: {space}\nsizes: 36 40 12\nspace directions: {directions}\n"
    "kinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: {origin}\n\n"
)
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
    "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = -40 -30 100\nElementSpacing = 2 1.5 4\nDimSize = 36 40 12\n"
    "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
)


def image(values, affine):
    result = sitk.GetImageFromArray(values)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    result.SetSpacing(spacing[::-1].tolist())
    result.SetOrigin(affine[:3, 3].tolist())
    result.SetDirection((affine[:3, :3] / spacing)[:, ::-1].ravel().tolist())
    return result


def nrrd(path, space="left-posterior-superior", directions="(2,0,0) (0,1.5,0) (0,0,4)", origin="(-40,-30,100)", **more):
    text = NRRD.format(space=space, directions=directions, origin=origin)
    for old, new in more.get("replace", {}).items():
        text = text.replace(old, new)
    path.write_bytes(text.encode() + HU.tobytes()[: more.get("bytes")])
    return path


def meta(path, replace):
    text = META
    for old, new in replace.items():
        text = text.replace(old, new)
    path.write_bytes(text.encode() + HU.tobytes())
    return path


@pytest.mark.parametrize("affine", [canonical_affine(), oblique_affine()], ids=["straight", "oblique"])
@pytest.mark.parametrize("name", ["x.mha", "x.mhd", "x.nrrd", "x.nhdr", "X.MHA"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
def test_a_file_gives_the_volume_that_was_written(tmp_path, name, affine, packed):
    sitk.WriteImage(image(HU, affine), str(tmp_path / name.lower()), packed)
    (tmp_path / name.lower()).rename(tmp_path / name)
    volume = read_itk(tmp_path / name)
    np.testing.assert_array_equal(volume.hu, HU)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-9)
    assert volume.flags == ()
    assert volume.hu_source in ("metaimage values", "nrrd values")
    assert len(itk_files(tmp_path / name)) == 1 + name.endswith(("mhd", "nhdr"))


@pytest.mark.parametrize(
    ("space", "directions", "origin"),
    [
        ("left-posterior-superior", "(2,0,0) (0,1.5,0) (0,0,4)", "(-40,-30,100)"),
        ("LPS", "(2,0,0) (0,1.5,0) (0,0,4)", "(-40,-30,100)"),
        ("right-anterior-superior", "(-2,0,0) (0,-1.5,0) (0,0,4)", "(40,30,100)"),
        ("left-anterior-superior", "(2,0,0) (0,-1.5,0) (0,0,4)", "(-40,30,100)"),
    ],
    ids=["LPS", "short name", "RAS", "LAS"],
)
def test_the_spaces_of_nrrd_come_to_one_place(tmp_path, space, directions, origin):
    volume = read_itk(nrrd(tmp_path / "x.nrrd", space, directions, origin))
    np.testing.assert_array_equal(volume.hu, HU)
    np.testing.assert_allclose(volume.affine, canonical_affine(), atol=1e-9)


def test_a_turned_file_comes_to_the_same_axes(tmp_path):
    turned = canonical_affine()
    turned[:3, 3] += turned[:3, 2] * 35
    turned[:3, 2] *= -1
    sitk.WriteImage(image(HU[:, :, ::-1].copy(), turned), str(tmp_path / "x.mha"))
    np.testing.assert_array_equal(read_itk(tmp_path / "x.mha").hu, HU)


def test_numbers_with_fractions_are_rounded_and_those_that_are_none_become_air(tmp_path):
    values = HU.astype(np.float32) + 0.3
    values[0, 0, 0] = np.nan
    sitk.WriteImage(image(values, canonical_affine()), str(tmp_path / "x.nrrd"))
    volume = read_itk(tmp_path / "x.nrrd")
    np.testing.assert_array_equal(volume.hu.ravel()[1:], HU.ravel()[1:])
    assert volume.hu[0, 0, 0] == -1024
    assert volume.flags == ("1 voxels are not numbers",)


NO_SPACE = {"space: left-posterior-superior\n": "", "space directions": "spacings", "(2,0,0) (0,1.5,0) (0,0,4)": "2 1.5 4",
            "space origin: (-40,-30,100)\n": ""}  # fmt: skip


@pytest.mark.parametrize(
    ("write", "reason", "message"),
    [
        (lambda p: nrrd(p / "x.nrrd", replace=NO_SPACE), Reason.GEOMETRY, "no 'space'"),
        (lambda p: nrrd(p / "x.nrrd", space="scanner-xyz"), Reason.GEOMETRY, "'scanner-xyz'"),
        (lambda p: nrrd(p / "x.nrrd", replace={"space origin: (-40,-30,100)\n": ""}), Reason.GEOMETRY, "'space origin'"),
        (lambda p: nrrd(p / "x.nrrd", directions="(2,0,0) (0,1.5,0) (0,0.5,4)"), Reason.GEOMETRY, "not orthogonal"),
        (lambda p: nrrd(p / "x.nrrd", bytes=-500), Reason.UNREADABLE, "cut short"),
        (lambda p: meta(p / "x.mha", {"TransformMatrix": "Comment"}), Reason.GEOMETRY, "'transformmatrix'"),
        (lambda p: meta(p / "x.mha", {"Offset = -40 -30 100\n": ""}), Reason.GEOMETRY, "'offset'"),
        (lambda p: meta(p / "x.mha", {"DimSize = 36 40 12": "DimSize = 36 40 99"}), Reason.UNREADABLE, "cut short"),
        (lambda p: meta(p / "x.mha", {"ElementType": "ElementToIntensityFunctionSlope = 2\nElementType"}),
         Reason.UNREADABLE, "asks for scaled values"),
    ],
    ids=["no space", "no patient", "no origin", "skewed", "short", "no matrix", "no offset", "too long", "scaled"],
)  # fmt: skip
def test_what_cannot_be_trusted_is_refused(tmp_path, write, reason, message):
    path = write(tmp_path)
    with pytest.raises(StudyError, match=message) as caught:
        read_itk(path)
    assert caught.value.reason is reason
    assert path.name in str(caught.value) or "orthogonal" in message


@pytest.mark.parametrize("name", ["x.mha", "x.nrrd"])
@pytest.mark.parametrize("content", [b"", b"no image", b"\xff" * 3000], ids=["empty", "text", "bytes"])
def test_other_files_are_unreadable(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StudyError, match="no readable") as caught:
        read_itk(tmp_path / name)
    assert caught.value.reason is Reason.UNREADABLE


@pytest.mark.parametrize(
    "values",
    [np.zeros((4, 4), np.int16), np.zeros((4, 4, 4, 3), np.uint8), np.zeros((2, 4, 4, 4), np.int16)],
    ids=["flat", "colour", "four axes"],
)
def test_what_is_no_grey_volume_is_unreadable(tmp_path, values):
    made = sitk.GetImageFromArray(values, isVector=values.shape[-1] == 3)
    sitk.WriteImage(made, str(tmp_path / "x.mha"))
    with pytest.raises(StudyError, match="no grey volume") as caught:
        read_itk(tmp_path / "x.mha")
    assert caught.value.reason is Reason.UNREADABLE


def test_a_missing_raw_file_is_unreadable(tmp_path):
    sitk.WriteImage(image(HU, canonical_affine()), str(tmp_path / "x.mhd"))
    (tmp_path / "x.raw").unlink()
    with pytest.raises(StudyError, match="missing"):
        read_itk(tmp_path / "x.mhd")
    assert itk_files(tmp_path / "x.mhd") == (tmp_path / "x.mhd",)


def test_names(tmp_path):
    names = ["a.mha", "a.NRRD", "a.nhdr", "a.mhd", "a.nii.gz", "a.dcm", "mha"]
    assert [is_itk(tmp_path / name) for name in names] == [True, True, True, True, False, False, False]
    assert [volume_kind(tmp_path / name) for name in names] == ["itk"] * 4 + ["nifti", None, None]
    assert itk_stem(tmp_path / "a.b.mha") == volume_stem(tmp_path / "a.b.nii.gz") == "a.b"


def test_such_files_are_studies_of_an_archive(tmp_path):
    for name in ("a.mha", "b/c.mhd", "d.nrrd"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        sitk.WriteImage(image(HU, canonical_affine()), str(tmp_path / name))
    studies = find_studies(tmp_path).studies
    assert [study.key for study in studies] == ["a", "b/c", "d"]
    assert [path.name for path in studies[1].files] == ["c.mhd", "c.raw"]
    assert volume_files(tmp_path / "b" / "c.mhd") == studies[1].files
    for study in studies:
        np.testing.assert_array_equal(read_series(study.series[0]).hu, HU)
