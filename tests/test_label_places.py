"""What one pass over a label map finds, against numpy and scipy on the same labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from preprocess.label_places import find_places, take

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 70))


def drawn(shape, seed, dtype=np.uint8):
    """Labels in stretches along x, some longer than what is compared at a time, with a number that fills a whole row."""
    rng = np.random.default_rng(seed)
    numbers = np.array([0, 0, 1, 7, 255 if dtype == np.uint8 else 40_000])
    labels = np.repeat(rng.choice(numbers, (*shape[:2], shape[2])), rng.integers(1, 40), axis=2)[:, :, : shape[2]]
    labels[0, 0] = 7
    return labels.astype(dtype)


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 10_000), dtype=st.sampled_from([np.uint8, np.uint16]))
def test_boxes_counts_centres_and_sections(shape, seed, dtype):
    labels = drawn(shape, seed, dtype)
    places = find_places(labels)
    assert places.boxes == {n + 1: box for n, box in enumerate(ndimage.find_objects(labels)) if box is not None}
    for number in places.boxes:
        assert places.count([number]) == (labels == number).sum()
        assert places.centre(number) == pytest.approx(np.argwhere(labels == number).mean(axis=0))
    several = np.isin(labels, [1, 7])
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        assert places.largest_section([1, 7, 99], axis) == several.sum(axis=others).max()


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 10_000))
def test_runs_are_the_label_map_again(shape, seed):
    labels = drawn(shape, seed)
    places = find_places(labels)
    again = np.zeros_like(labels).reshape(-1, shape[2])
    for row, (first, last) in enumerate(zip(places.row_starts[:-1], places.row_starts[1:], strict=True)):
        for number, start, stop in places.runs[first:last]:
            again[row, start:stop] = number
    assert np.array_equal(again.reshape(shape), labels)


def test_more_runs_than_rows_are_kept():
    labels = np.tile(np.arange(200) % 2, (2, 2, 1)).astype(np.uint8)
    assert len(find_places(labels).runs) == 2 * 2 * 100


def test_an_empty_label_map_has_no_boxes():
    places = find_places(np.zeros((2, 3, 4), dtype=np.uint8))
    assert not places.boxes
    assert places.count([0, 5]) == 0


def test_other_memory_layouts_give_the_same():
    labels = drawn((4, 5, 60), 3)
    view = np.flip(labels, 1).transpose(2, 0, 1)
    assert find_places(view).boxes == find_places(np.ascontiguousarray(view)).boxes


def test_values_outside_the_array_are_zero():
    array = np.arange(1, 25, dtype=np.uint8).reshape(2, 3, 4)
    z, y, x = np.array([1, -1, 2]), np.array([0, 3, 2]), np.array([-5, 3, 4, 0])
    expected = np.zeros((3, 3, 4), dtype=np.uint8)
    expected[0, 0, 1], expected[0, 0, 3] = array[1, 0, 3], array[1, 0, 0]
    expected[0, 2, 1], expected[0, 2, 3] = array[1, 2, 3], array[1, 2, 0]
    assert np.array_equal(take(array, z, y, x), expected)
