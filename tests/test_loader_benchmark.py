"""What the loader's benchmark holds the store against: a slice of the whole volume is the crop's own place."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
from small_store import ball_crop

from benchmarks.file_crops import read_slice

SHAPE, STEPS_MM, FIRST_MM = (30, 40, 50), (3.0, 1.0, 1.0), (100.0, 20.0, -60.0)
"""Of the volume, along (z, y, x)."""


def nifti_affine(turned):
    """From (x, y, z) to RAS, for a volume whose voxels lie where `SHAPE`, `STEPS_MM` and `FIRST_MM` say."""
    affine = np.diag([*STEPS_MM[::-1], 1.0])
    affine[:3, 3] = FIRST_MM[::-1]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # of LPS
    for axis in turned:
        affine[:3, 3] += affine[:3, axis] * (SHAPE[::-1][axis] - 1)
        affine[:3, axis] *= -1
    return affine


@pytest.mark.parametrize("turned", [(), (0, 1), (2,)], ids=["LPS", "RAS", "upside down"])
def test_the_whole_volume_is_sliced_at_the_crops_own_box(tmp_path, turned):
    low, high = (5, 8, 12), (14, 20, 36)
    volume = np.zeros(SHAPE, dtype=np.int16)
    volume[tuple(map(slice, low, high))] = 1
    voxels = np.flip(volume.T, turned)
    nibabel.save(nibabel.Nifti1Image(voxels, nifti_affine(turned)), tmp_path / "ct.nii.gz")
    cells = np.subtract(high, low) / 1.5  # crop voxels are 1.5 times as long
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, row in enumerate((2, 1, 0)):  # LPS of (x, y, z), columns of (z, y, x)
        affine[row, axis] = 1.5 * STEPS_MM[axis]
        affine[row, 3] = FIRST_MM[axis] + (low[axis] + 0.25) * STEPS_MM[axis]  # centre of the first crop voxel
    crop = replace(
        ball_crop(np.random.default_rng(0), set(), anatomy="liver"),
        image=np.zeros(cells.astype(int), dtype=np.int16),
        affine=affine,
    )
    cut = read_slice(tmp_path / "ct.nii.gz", crop)
    assert cut.shape == tuple(np.subtract(high, low))
    assert cut.all()
