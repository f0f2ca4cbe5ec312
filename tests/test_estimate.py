"""What a series will need is known from its headers, and one that needs too much is never read."""

import numpy as np
import pytest
import SimpleITK
from phantoms import body, canonical_affine, dicom_series, save_series, write_nifti

from preprocess.errors import StudyError
from preprocess.estimate import admit, estimate_bytes, read_shape
from preprocess.series import SeriesSource

SHAPE = (12, 40, 36)
GIB = 1 << 30


def dicom(folder):
    save_series(folder, dicom_series(body(SHAPE), canonical_affine()))
    return SeriesSource("s", "dicom", tuple(sorted(folder.iterdir())), slices=12)


def multiframe(folder):
    save_series(folder, [dicom_series(body(SHAPE), canonical_affine(), NumberOfFrames=12)[0]])
    return SeriesSource("s", "dicom", tuple(folder.iterdir()))


def nifti(folder):
    return SeriesSource("s", "nifti", (write_nifti(folder / "a.nii.gz", body(SHAPE), canonical_affine()),))


def mha(folder):
    folder.mkdir()
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(body(SHAPE)), str(folder / "a.mha"))
    return SeriesSource("s", "itk", (folder / "a.mha",))


def no_pixels(folder):
    """A file of which only the beginning is there."""
    series = nifti(folder)
    series.files[0].write_bytes(series.files[0].read_bytes()[:2000])
    return series


@pytest.mark.parametrize("make", [dicom, multiframe, nifti, mha, no_pixels], ids=lambda make: make.__name__)
def test_the_shape_is_read_from_the_header(tmp_path, make):
    assert read_shape(make(tmp_path / "s")) == SHAPE


@pytest.mark.parametrize(("kind", "name"), [("dicom", "a.dcm"), ("nifti", "a.nii.gz"), ("itk", "a.nrrd")])
def test_a_file_without_a_header_is_left_to_its_reader(tmp_path, kind, name):
    (tmp_path / name).write_bytes(b"\0" * 40)
    series = SeriesSource("s", kind, (tmp_path / name,))
    assert read_shape(series) is None
    admit(series, 1, network=False, tell=lambda **_: pytest.fail("nothing is known"))


def test_more_voxels_and_a_network_need_more():
    needs = [estimate_bytes((n, 512, 512), network=network) for network in (False, True) for n in (100, 500, 1000)]
    assert np.all(np.diff(needs) > 0)
    assert needs[2] < 3.5 * GIB


def test_a_series_that_needs_more_than_there_is_is_refused_with_shape_estimate_and_budget(tmp_path):
    series, heard = nifti(tmp_path), {}
    admit(series, None, network=False, tell=heard.update)
    assert heard == {"shape": SHAPE, "needed_bytes": estimate_bytes(SHAPE, network=False)}
    admit(series, heard["needed_bytes"], network=False, tell=heard.update)
    with pytest.raises(
        StudyError, match=r"not read: 12 x 40 x 36 voxels, estimated at .* GiB, 0.10 GiB allowed"
    ) as error:
        admit(series, GIB // 10, network=False, tell=heard.update)
    assert error.value.reason == "OUT_OF_MEMORY"
