"""Interpolation against scipy's smoothing and interpolation, at borders too."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d, map_coordinates

from preprocess.interpolation import axis_weights, interpolate


def image(shape, seed=0):
    return np.random.default_rng(seed).integers(-1024, 3000, shape).astype(np.int16)


def independent(hu, centres):
    smooth = hu.astype(np.float64)
    for axis, line in enumerate(centres):
        cell = line[1] - line[0] if len(line) > 1 else 1.0
        if cell > 1:
            smooth = gaussian_filter1d(smooth, (cell - 1) / 2, axis=axis, truncate=4, mode="nearest")
    return map_coordinates(smooth, np.meshgrid(*centres, indexing="ij"), order=1, mode="nearest")


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 25), st.integers(1, 30)),
    cells=st.tuples(*[st.floats(0.3, 9)] * 3),
    start=st.floats(-0.5, 3),
    seed=st.integers(0, 100),
)
def test_equals_scipy(shape, cells, start, seed):
    hu = image(shape, seed)
    centres = [
        start + cell * np.arange(max(1, int((count - start) / cell))) for count, cell in zip(shape, cells, strict=True)
    ]
    weights = [axis_weights(line, count) for line, count in zip(centres, shape, strict=True)]
    got = interpolate(hu, *weights)
    assert got.dtype == np.int16
    assert np.abs(got - independent(hu, centres)).max() <= 0.51


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 60), cell=st.floats(0.2, 12), start=st.floats(-0.5, 5))
def test_weights_add_up_to_one_within_the_axis(length, cell, start):
    centres = start + cell * np.arange(max(1, int((length - start) / cell)))
    weights = axis_weights(centres, length)
    assert weights.weights.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (weights.first >= 0).all()
    assert (weights.first + weights.weights.shape[1] <= length).all()
    assert (np.diff(weights.first) >= 0).all()


@pytest.mark.parametrize("value", [-32768, -1024, 32767])
def test_a_constant_stays_constant(value):
    hu = np.full((7, 9, 11), value, dtype=np.int16)
    weights = [axis_weights(np.arange(0.3, size, 2.6), size) for size in hu.shape]
    assert (interpolate(hu, *weights) == value).all()
