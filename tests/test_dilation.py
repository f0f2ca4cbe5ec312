"""Dilation in millimetres against the exact distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from preprocess.dilation import dilate

SPACINGS = st.sampled_from([0.9, 3.75, 4.0, 4.2, 6.0])


@settings(max_examples=80, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 14), st.integers(1, 15), st.integers(1, 16)),
    spacing=st.tuples(SPACINGS, SPACINGS, SPACINGS),
    distance=st.sampled_from([0.5, 3.75, 6.0, 12.0, 17.3, 200.0]),
    share=st.sampled_from([0.003, 0.05, 0.5]),
    seed=st.integers(0, 1000),
)
def test_equals_the_exact_distance(shape, spacing, distance, share, seed):
    mask = np.random.default_rng(seed).random(shape) < share
    mask[tuple(size // 2 for size in shape)] = True
    exact = distance_transform_edt(~mask, sampling=spacing)
    clear = np.abs(exact - distance) > 1e-6  # of a voxel at the very distance, rounding decides there
    assert np.array_equal(dilate(mask, distance, spacing)[clear], (exact <= distance)[clear])


@pytest.mark.parametrize("step", [0.1, 0.7, 3.3], ids=str)
def test_a_voxel_at_the_very_distance_belongs_to_it(step):
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[4, 4, 4] = True
    for axis in range(3):
        near = np.moveaxis(dilate(mask, 3 * step, (step, step, step)), axis, 0)[:, 4, 4]
        assert near.tolist() == [False, True, True, True, True, True, True, True, False]


def test_nothing_stays_nothing():
    mask = np.zeros((3, 3, 3), dtype=bool)
    assert not dilate(mask, 5.0, (1.0, 1.0, 1.0)).any()
