"""What a series will need is known from its headers, and one that needs too much is never read."""

import numpy as np
import pytest
import SimpleITK
from phantoms import SPACING, body, canonical_affine, dicom_series, save_series, write_nifti

from preprocess.errors import StudyError
from preprocess.estimate import UNKNOWN_STEP_MM, Extent, admit, estimate_bytes, read_extent
from preprocess.series import SeriesSource

SHAPE = (12, 40, 36)
GIB = 1 << 30


def dicom(folder):
    save_series(folder, dicom_series(body(SHAPE), canonical_affine()))
    return SeriesSource("s", "dicom", tuple(sorted(folder.iterdir())), slices=12, step_mm=SPACING[0])


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


SPACINGS = {
    "dicom": SPACING,
    "multiframe": (UNKNOWN_STEP_MM, *SPACING[1:]),
    "nifti": SPACING,
    "mha": (1.0, 1.0, 1.0),
    "no_pixels": SPACING,
}


@pytest.mark.parametrize("make", [dicom, multiframe, nifti, mha, no_pixels], ids=lambda make: make.__name__)
def test_the_grid_is_read_from_the_header(tmp_path, make):
    extent = read_extent(make(tmp_path / "s"))
    assert extent.shape == SHAPE
    assert extent.spacing_mm == pytest.approx(SPACINGS[make.__name__], abs=1e-5)


@pytest.mark.parametrize(("kind", "name"), [("dicom", "a.dcm"), ("nifti", "a.nii.gz"), ("itk", "a.nrrd")])
def test_a_file_without_a_header_is_left_to_its_reader(tmp_path, kind, name):
    (tmp_path / name).write_bytes(b"\0" * 40)
    series = SeriesSource("s", kind, (tmp_path / name,))
    assert read_extent(series) is None
    admit(series, 1, network=False, tell=lambda **_: pytest.fail("nothing is known"))


def test_more_voxels_and_a_network_need_more():
    extents = [Extent((slices, 512, 512), (1.0, 0.8, 0.8)) for slices in (100, 500, 1000)]
    needs = [estimate_bytes(extent, network=network) for network in (False, True) for extent in extents]
    assert np.all(np.diff(needs) > 0)
    assert needs[2] < 3.5 * GIB


def test_a_network_needs_memory_for_the_millimetres_that_a_volume_covers():
    thin, thick = Extent((800, 512, 512), (1.0, 0.8, 0.8)), Extent((160, 512, 512), (5.0, 0.8, 0.8))
    of_grid = [estimate_bytes(extent, network=False) for extent in (thin, thick)]
    of_network = [estimate_bytes(extent, network=True) for extent in (thin, thick)]
    assert of_network[0] - of_network[1] == of_grid[0] - of_grid[1]
    assert estimate_bytes(Extent(thick.shape, (5.0, 1.6, 0.8)), network=True) > of_network[1]


# Peaks of resident memory in MiB with all five networks, see "Memory" in docs/segmentation.md.
MEASURED = [
    ((100, 256, 256), (3.0, 1.4, 1.4), 4086),
    ((224, 404, 488), (1.5, 0.75, 0.75), 4105),
    ((160, 512, 512), (5.0, 0.98, 0.98), 4979),
    ((1000, 512, 512), (1.0, 0.8, 0.8), 5044),
]


@pytest.mark.parametrize(("shape", "spacing_mm", "mib"), MEASURED)
def test_estimates_are_a_little_more_than_what_was_measured(shape, spacing_mm, mib):
    assert 1.1 < estimate_bytes(Extent(shape, spacing_mm), network=True) / (mib << 20) < 1.35


def test_a_series_that_needs_more_than_there_is_is_refused_with_shape_estimate_and_budget(tmp_path):
    series, heard = nifti(tmp_path), {}
    admit(series, None, network=False, tell=heard.update)
    needed = estimate_bytes(read_extent(series), network=False)
    assert heard == {"shape": SHAPE, "needed_bytes": needed}
    admit(series, heard["needed_bytes"], network=False, tell=heard.update)
    with pytest.raises(
        StudyError, match=r"not read: 12 x 40 x 36 voxels, estimated at .* GiB, 0.10 GiB allowed"
    ) as error:
        admit(series, GIB // 10, network=False, tell=heard.update)
    assert error.value.reason == "OUT_OF_MEMORY"
