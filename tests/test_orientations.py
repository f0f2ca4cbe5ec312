"""One scan, stored in any of the 48 orders and directions of its axes, gives the same crops."""

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import SimpleITK
from phantoms import body, canonical_affine, dicom_series, oblique_affine, organ_labels, save_series

from preprocess.archive import find_studies
from preprocess.crops import build_crops
from preprocess.geometry import nifti_from_affine
from preprocess.masks import place_labels, read_masks
from preprocess.quality import orientation_flags
from preprocess.readers import read_series
from preprocess.simulate.truth import write_labels
from preprocess.vocabulary_files import load_anatomies

ORDERS = list(product(permutations(range(3)), product((False, True), repeat=3)))
NAMES = {1: "spleen", 5: "liver", 31: "vertebrae_L1"}
ANATOMIES = {name: load_anatomies()[name] for name in ("liver", "spleen")}
SHAPE = (10, 24, 20)


def stored(array, affine, order, flips):
    """The array with its axes permuted and reversed, and the affine that says so."""
    moved, turned = array.transpose(order), affine.copy()
    turned[:3, :3] = affine[:3, list(order)]
    for axis, is_reversed in enumerate(flips):
        if is_reversed:
            moved = np.flip(moved, axis)
            turned[:3, 3] += turned[:3, axis] * (moved.shape[axis] - 1)
            turned[:3, axis] *= -1
    return np.ascontiguousarray(moved), turned


def save_dicom(folder, hu, affine):
    save_series(folder / "x", dicom_series(hu, affine))


def save_nifti(folder, hu, affine):
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Image(hu.transpose(2, 1, 0), nifti_from_affine(affine)), folder / "x.nii")


def save_nrrd(folder, hu, affine):
    folder.mkdir()
    image = SimpleITK.GetImageFromArray(hu)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing[::-1].tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing)[:, ::-1].ravel().tolist())
    SimpleITK.WriteImage(image, str(folder / "x.nrrd"))


@pytest.mark.parametrize("affine", [canonical_affine(), oblique_affine()], ids=["straight", "oblique"])
@pytest.mark.parametrize("save", [save_dicom, save_nifti, save_nrrd], ids=["dicom", "nifti", "nrrd"])
def test_all_48_give_the_same_crops(tmp_path, save, affine):
    hu = body(SHAPE)
    write_labels(tmp_path / "mask.nii.gz", organ_labels(SHAPE), affine, NAMES)
    labels = read_masks(tmp_path / "mask.nii.gz")
    expected = None
    for number, (order, flips) in enumerate(ORDERS):
        save(tmp_path / str(number), *stored(hu, affine, order, flips))
        (study,) = find_studies(tmp_path / str(number)).studies
        volume = read_series(study.series[0])
        np.testing.assert_array_equal(volume.hu, hu, err_msg=f"{order} {flips}")
        np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
        placed = place_labels(labels, volume)
        assert orientation_flags(placed) == ()
        if number % 6 == 0:  # volumes are equal, and so are crops: every sixth is enough to show it
            crops = build_crops(volume, placed, ANATOMIES)
            expected = crops if expected is None else expected
            for name, crop in crops.items():
                np.testing.assert_array_equal(crop.mask, expected[name].mask)
                assert (crop.image != expected[name].image).mean() < 0.01  # files round their affines
    assert {name: crop.extent for name, crop in expected.items()} == {"liver": "complete", "spleen": "complete"}
