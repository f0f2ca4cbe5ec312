import re

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import body, canonical_affine, dicom_series, enhanced_ct, oblique_affine, save_series, write_nifti
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from preprocess.dicom_headers import read_header
from preprocess.errors import Reason, StudyError
from preprocess.geometry import directions, lps_from_index
from preprocess.readers_dicom import read_dicom
from preprocess.readers_nifti import read_nifti
from preprocess.stack import Frame, stack_geometry


def test_every_voxel_of_a_real_series_equals_an_independent_readers(shared_data):
    paths = sorted((shared_data / "real_ct" / "dicom").iterdir())
    volume = read_dicom(paths)
    reader = sitk.ImageFileReader()
    slices = []
    for path in paths:
        reader.SetFileName(str(path))
        image = reader.Execute()
        slices.append((image.GetOrigin()[2], sitk.GetArrayFromImage(image)[0]))
    expected = np.stack([plane for _, plane in sorted(slices, key=lambda pair: pair[0])])
    np.testing.assert_array_equal(volume.hu, expected)
    assert volume.spacing_mm == pytest.approx((2.0, 0.9765625, 0.9765625))
    np.testing.assert_allclose(volume.affine[:3, 3], (-249.51171875, -437.51171875, -804.5))


@pytest.mark.parametrize("affine", [canonical_affine(), oblique_affine()], ids=["straight", "oblique"])
def test_dicom_scaled_nifti_and_nifti_in_hu_are_one_array(tmp_path, affine):
    hu = body()
    volumes = [
        read_dicom(save_series(tmp_path / "dicom", dicom_series(hu, affine))),
        read_nifti(write_nifti(tmp_path / "scaled.nii.gz", (hu + 1024).astype(np.int16), affine, intercept=-1024)),
        read_nifti(write_nifti(tmp_path / "hu.nii", hu, affine)),
    ]
    for volume in volumes:
        np.testing.assert_array_equal(volume.hu, hu)
        np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
    assert len({volume.hu_source for volume in volumes}) == 3


@given(order=st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_files_does_not_matter(tmp_path_factory, order):
    hu, affine = body((6, 12, 10)), oblique_affine()
    paths = save_series(tmp_path_factory.mktemp("series"), dicom_series(hu, affine))
    volume = read_dicom([paths[i] for i in order])
    np.testing.assert_array_equal(volume.hu, hu)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)


def test_pixel_spacing_is_rows_then_columns(tmp_path):
    series = dicom_series(body(), canonical_affine((4.0, 1.5, 2.0)))
    assert [float(value) for value in series[0].PixelSpacing] == [1.5, 2.0]
    assert read_dicom(save_series(tmp_path, series)).spacing_mm == pytest.approx((4.0, 1.5, 2.0))


def test_slice_thickness_is_not_geometry(tmp_path):
    series = dicom_series(body(), canonical_affine((0.6, 1.5, 2.0)), SliceThickness=0.8, SpacingBetweenSlices=0.8)
    assert read_dicom(save_series(tmp_path, series)).spacing_mm[0] == pytest.approx(0.6)


@pytest.mark.parametrize("axis", ["head first", "feet first", "prone", "sagittal slices"])
def test_other_positions_come_to_the_same_axes(tmp_path, axis):
    hu, affine = body(), canonical_affine()
    turned, moved = hu, affine.copy()
    if axis == "feet first":  # z and x reversed
        turned, flips = hu[::-1, :, ::-1], (0, 2)
    elif axis == "prone":
        turned, flips = hu[:, ::-1, ::-1], (1, 2)
    elif axis == "sagittal slices":
        turned, flips = hu.transpose(2, 0, 1), ()
        moved[:3, :3] = affine[:3, [2, 0, 1]]
    else:
        flips = ()
    for flip in flips:
        moved[:3, 3] += moved[:3, flip] * (hu.shape[flip] - 1)
        moved[:3, flip] *= -1
    volume = read_dicom(save_series(tmp_path, dicom_series(turned, moved)))
    np.testing.assert_array_equal(volume.hu, hu)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless], ids=lambda uid: uid.name.split()[0])
def test_compressed_slices_decode_exactly(tmp_path, syntax):
    if not get_encoder(syntax).is_available:
        pytest.skip(f"no encoder of {syntax.name} is installed")
    hu, affine = body(), canonical_affine()
    paths = save_series(tmp_path, dicom_series(hu, affine), syntax=syntax)
    np.testing.assert_array_equal(read_dicom(paths).hu, hu)


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_jpeg_ls_and_lossless_jpeg_decode_exactly(tmp_path, signed):
    gdcm = pytest.importorskip("gdcm")
    hu, affine = body(), canonical_affine()
    plain = save_series(tmp_path / "plain", dicom_series(hu, affine, intercept=0 if signed else -1024))
    for name, syntax in (
        ("ls", gdcm.TransferSyntax.JPEGLSLossless),
        ("jpeg", gdcm.TransferSyntax.JPEGLosslessProcess14_1),
    ):
        paths = []
        for path in plain:
            reader = gdcm.ImageReader()
            reader.SetFileName(str(path))
            assert reader.Read()
            change = gdcm.ImageChangeTransferSyntax()
            change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
            change.SetInput(reader.GetImage())
            assert change.Change()
            writer = gdcm.ImageWriter()
            paths.append(tmp_path / f"{name}-{path.name}")
            writer.SetFileName(str(paths[-1]))
            writer.SetFile(reader.GetFile())
            writer.SetImage(change.GetOutput())
            assert writer.Write()
        np.testing.assert_array_equal(read_dicom(paths).hu, hu)


def test_each_slice_is_scaled_by_its_own_slope(tmp_path):
    hu = body()
    parts = [dicom_series(hu, canonical_affine(), slope=slope, intercept=-1024) for slope in (1, 0.5)]
    mixed = [parts[z % 2][z] for z in range(len(hu))]
    np.testing.assert_array_equal(read_dicom(save_series(tmp_path, mixed)).hu, hu)


def test_fractional_slopes_are_rounded_once_and_huge_values_clipped(tmp_path):
    stored = np.array([[[0, 1], [3, 60000]]] * 3)
    series = dicom_series(stored, canonical_affine(), slope=1, intercept=0)
    for dataset in series:
        dataset.RescaleSlope, dataset.RescaleIntercept = "0.4", "-1024.3"
    expected = np.rint(stored * 0.4 - 1024.3).clip(-32768, 32767)
    np.testing.assert_array_equal(read_dicom(save_series(tmp_path, series)).hu, expected)


@pytest.mark.parametrize(
    ("padding", "expected"), [(-2000, -3024), (30000, -1024), (0, -1024)], ids=["low stays", "high is air", "air stays"]
)
def test_padding(tmp_path, padding, expected):
    """Low padding is left to the quality gate, which can tell it from air; high padding would pass for metal."""
    hu = body()
    series = dicom_series(hu, canonical_affine())
    for dataset in series:
        stored = (dataset.pixel_array.astype(np.int32)).astype(np.int16)
        stored[:3, :3] = padding
        dataset.PixelRepresentation = 1
        dataset.PixelData = stored.tobytes()
        dataset.PixelPaddingValue = padding
        dataset["PixelPaddingValue"].VR = "SS"
    volume = read_dicom(save_series(tmp_path, series))
    assert (volume.hu[:, :3, :3] == expected).all()
    np.testing.assert_array_equal(volume.hu[:, 3:, 3:], hu[:, 3:, 3:])


def test_enhanced_multi_frame(tmp_path):
    hu, affine = body(), oblique_affine()
    volume = read_dicom(save_series(tmp_path, [enhanced_ct(hu, affine)]))
    np.testing.assert_array_equal(volume.hu, hu)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)


def test_a_file_without_preamble_and_meta_is_read(tmp_path):
    paths = save_series(tmp_path, dicom_series(body(), canonical_affine()))
    for path in paths:
        content = path.read_bytes()
        length = int.from_bytes(content[140:144], "little")
        path.write_bytes(content[144 + length :])
    np.testing.assert_array_equal(read_dicom(paths).hu, body())


def lean(degrees):
    def change(series):
        for z, dataset in enumerate(series):
            x, y, along = (float(value) for value in dataset.ImagePositionPatient)
            dataset.ImagePositionPatient = [x, y + z * 4.0 * np.tan(np.radians(degrees)), along]

    return change


def drop(*indices):
    def change(series):
        for index in sorted(indices, reverse=True):
            del series[index]

    return change


def move(z, by):
    def change(series):
        position = [float(value) for value in series[z].ImagePositionPatient]
        series[z].ImagePositionPatient = list(np.add(position, by))

    return change


def set_tag(name, value, at=slice(None)):
    def change(series):
        for dataset in series[at]:
            setattr(dataset, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop(5), r"a gap of 8\.00 mm between the slices at 116\.00 and 124\.00 mm.*4\.00 mm: 1 missing"),
        (drop(4, 5, 6), r"a gap of 16\.00 mm .*: 3 missing"),
        (move(5, (0, 0, 1.5)), "irregular step|a gap"),
        (move(5, (0, 0, 4.0)), "lie where another one lies"),
        (lean(50), r"leans by 50\.00 degrees"),
        (move(5, (3.0, 0, 0)), r"shifted sideways by up to 3\.00 mm"),
        (set_tag("ImageOrientationPatient", [1, 0, 0, 0.2, 1, 0]), "not orthogonal|lengths"),
        (set_tag("ImageOrientationPatient", [1, 0, 0, 0, 0.9998, 0.02], slice(3, 4)), "not parallel"),
        (set_tag("PixelSpacing", [1.5, 2.2], slice(3, 4)), "differ in pixel spacing"),
        (drop(*range(1, 12)), "single slice"),
    ],
    ids=["gap", "wide gap", "irregular", "doubled", "leaning", "shifted", "skewed", "turned", "zoomed", "single"],
)
def test_geometry_that_cannot_be_trusted_is_refused(tmp_path, change, message):
    series = dicom_series(body(), canonical_affine())
    change(series)
    with pytest.raises(StudyError, match=message) as caught:
        read_dicom(save_series(tmp_path, series))
    assert caught.value.reason is Reason.GEOMETRY


def test_small_steps_that_add_up_are_irregular():
    steps = np.where(np.arange(60) < 30, 2.0, 2.09)
    frames = [Frame(np.array([0, 0, at]), np.eye(3)[:2], (1.0, 1.0), 1.0, 0.0) for at in np.cumsum(steps)]
    with pytest.raises(StudyError, match=r"irregular steps: slices lie up to 1\.3\d mm from even places"):
        stack_geometry(frames, (8, 8))
    stack = stack_geometry(frames, (8, 8), gaps="resample")
    np.testing.assert_allclose(stack.places * np.linalg.norm(stack.affine[:3, 0]), np.cumsum(steps) - 2, atol=1e-9)


def field(points):
    """Smooth HU of points (..., 3) in LPS mm: any error of place shows in the value."""
    left, back, head = np.moveaxis(np.asarray(points, dtype=float), -1, 0)
    return 2.0 * left - 3.0 * back + 1.5 * head - 200 + 40 * np.sin(left / 15) * np.cos(back / 12)


def sampled(series, shape):
    """The slices, with pixels taken from `field` where their headers say that they lie."""
    rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    for dataset in series:
        along_columns, along_rows = np.array(dataset.ImageOrientationPatient, dtype=float).reshape(2, 3)
        down, right = (float(value) for value in dataset.PixelSpacing)
        at = np.array(dataset.ImagePositionPatient, dtype=float)
        points = at + rows[..., None] * down * along_rows + columns[..., None] * right * along_columns
        dataset.PixelData = np.rint(field(points) + 1024).clip(0).astype("<u2").tobytes()
    return series


def assert_shows_the_field(volume, at_least, within_hu):
    """All voxels but the filling beside tilted slices hold the field's value at their place."""
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1)
    shown = volume.hu > volume.hu.min()
    expected = field(lps_from_index(volume.affine, index))
    assert shown.mean() > at_least
    assert np.abs(volume.hu - expected)[shown].max() <= within_hu


@pytest.mark.parametrize("affine", [canonical_affine(), oblique_affine(degrees=8)], ids=["straight", "oblique"])
@pytest.mark.parametrize("degrees", [-20, 5, 12])
def test_gantry_tilt_is_undone(tmp_path, affine, degrees):
    series = dicom_series(body(), affine)
    lean(degrees)(series)
    volume = read_dicom(save_series(tmp_path, sampled(series, (40, 36))))
    assert volume.flags[0].startswith("gantry tilt of")
    assert abs(np.linalg.det(directions(volume.affine))) == pytest.approx(1, abs=1e-9)
    assert volume.shape[1] > 40 if abs(degrees) > 5 else volume.shape[1] >= 40
    assert_shows_the_field(volume, at_least=0.5, within_hu=6)


def test_straight_slices_are_not_touched(tmp_path):
    volume = read_dicom(save_series(tmp_path, sampled(dicom_series(body(), canonical_affine()), (40, 36))))
    assert (volume.flags, volume.shape) == ((), (12, 40, 36))
    assert_shows_the_field(volume, at_least=0.9, within_hu=0.51)


@pytest.mark.parametrize(
    ("change", "slices", "message"),
    [
        (drop(5), 12, "a gap of 8.00 mm"),
        (drop(3, 8), 12, "a gap of 8.00 mm"),
        (drop(4, 5), 12, "a gap of 12.00 mm"),
        (move(5, (0, 0, 1.5)), 12, "irregular step|a gap"),
    ],
    ids=["one", "two apart", "two together", "moved"],
)
def test_gaps_are_filled_only_where_asked(tmp_path, change, slices, message):
    series = dicom_series(body(), canonical_affine())
    change(series)
    paths = save_series(tmp_path, sampled(series, (40, 36)))
    with pytest.raises(StudyError, match=message):
        read_dicom(paths)
    volume = read_dicom(paths, gaps="resample")
    assert volume.shape[0] in (slices, slices + 1)
    assert len(volume.flags) == 1
    assert re.match(f"slices resampled to even steps .*({message})", volume.flags[0])
    assert_shows_the_field(volume, at_least=0.9, within_hu=2)


def test_a_gap_that_could_hide_an_organ_is_refused_even_so(tmp_path):
    series = dicom_series(body(), canonical_affine())
    drop(4, 5, 6)(series)
    with pytest.raises(StudyError, match=r"a gap of 16\.00 mm"):
        read_dicom(save_series(tmp_path, series), gaps="resample")


def test_a_tilted_stack_with_a_gap(tmp_path):
    series = dicom_series(body(), canonical_affine())
    lean(10)(series)
    drop(6)(series)
    volume = read_dicom(save_series(tmp_path, sampled(series, (40, 36))), gaps="resample")
    assert len(volume.flags) == 2
    assert_shows_the_field(volume, at_least=0.5, within_hu=6)


def test_copies_of_slices_count_once_and_differing_ones_are_refused(tmp_path):
    series = dicom_series(body(), canonical_affine())
    volume = read_dicom(save_series(tmp_path / "same", series + dicom_series(body(), canonical_affine())[3:5]))
    assert volume.flags == ("2 copies of slices left out",)
    np.testing.assert_array_equal(volume.hu, body())
    with pytest.raises(StudyError, match="2 slices lie where another one lies"):
        read_dicom(save_series(tmp_path / "other", series + dicom_series(body(seed=1), canonical_affine())[3:5]))


def test_an_enhanced_frame_without_scale_is_left_to_the_gate(tmp_path):
    file = enhanced_ct(body(), canonical_affine())
    del file.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    volume = read_dicom(save_series(tmp_path, [file]))
    np.testing.assert_array_equal(volume.hu, body() + 1024)
    assert volume.hu_source == "dicom values"


@pytest.mark.parametrize("missing", ["PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"])
def test_an_enhanced_file_that_does_not_say_where_its_frames_lie_is_refused(tmp_path, missing):
    file = enhanced_ct(body(), canonical_affine())
    if missing == "PlanePositionSequence":
        del file.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence
    else:
        delattr(file.SharedFunctionalGroupsSequence[0], missing)
    paths = save_series(tmp_path, [file])
    with pytest.raises(StudyError, match="does not say where its slices lie") as caught:
        read_dicom(paths)
    assert caught.value.reason is Reason.GEOMETRY
    assert read_header(paths[0]).shared.refusal.startswith("no place in the patient")


def test_an_enhanced_file_of_two_phases_is_refused(tmp_path):
    file = enhanced_ct(body((12, 40, 36)), canonical_affine())
    for frame in file.PerFrameFunctionalGroupsSequence[6:]:
        z = float(frame.PlanePositionSequence[0].ImagePositionPatient[2]) - 6 * 4.0
        frame.PlanePositionSequence[0].ImagePositionPatient = [-40, -30, z]
    with pytest.raises(StudyError, match="6 slices lie where another one lies"):
        read_dicom(save_series(tmp_path, [file]))


def test_cosines_off_by_a_millionth_pass_and_by_a_hundredth_do_not():
    def frames(off):
        orientation = np.array([[1.0, off, 0], [0, 1.0, 0]])
        orientation /= np.linalg.norm(orientation, axis=1, keepdims=True)
        return [Frame(np.array([0, 0, 2.0 * z]), orientation, (1.0, 1.0), 1.0, 0.0) for z in range(5)]

    stack = stack_geometry(frames(1e-6), (8, 8))
    assert stack.flags == ()
    np.testing.assert_allclose(stack.affine[:3, :3].T @ stack.affine[:3, :3], np.diag([4.0, 1, 1]), atol=1e-12)
    with pytest.raises(StudyError, match="not orthogonal"):
        stack_geometry(frames(1e-2), (8, 8))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-500])


def garbage(path):
    path.write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 300)


@pytest.mark.parametrize("damage", [truncate, garbage], ids=lambda function: function.__name__)
def test_damaged_files_are_unreadable(tmp_path, damage):
    paths = save_series(tmp_path, dicom_series(body(), canonical_affine()))
    damage(paths[3])
    with pytest.raises(StudyError) as caught:
        read_dicom(paths)
    assert caught.value.reason in (Reason.UNREADABLE, Reason.GEOMETRY)
    assert "I0003" in str(caught.value)


def test_a_compressed_stream_that_cannot_be_decoded_is_no_volume_of_zeros(tmp_path):
    series = dicom_series(body(), canonical_affine())
    series[4].PixelData = encapsulate([b"\xff\xd8 this is no picture \xff\xd9"])
    series[4]["PixelData"].is_undefined_length = True
    series[4].file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    with pytest.raises(StudyError, match="cannot be decoded") as caught:
        read_dicom(save_series(tmp_path, series))
    assert caught.value.reason is Reason.UNREADABLE
