from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import SPACING, body, canonical_affine, oblique_affine

from preprocess.errors import Reason, StudyError
from preprocess.geometry import (
    affine_from_nifti,
    canonical,
    canonical_grid,
    in_file_order,
    index_from_lps,
    lps_from_index,
    nifti_from_affine,
    orthonormal,
    resample_labels_nearest,
    same_grid,
    skew,
    spacing_mm,
)

ORDERS = list(product(permutations(range(3)), product((False, True), repeat=3)))


def reordered(array, affine, order, flips):
    """The same scan stored with other axes."""
    moved, view = affine.copy(), array.transpose(order)
    moved[:3, :3] = affine[:3, list(order)]
    for axis, flip in enumerate(flips):
        if flip:
            view = np.flip(view, axis)
            moved[:3, 3] += moved[:3, axis] * (view.shape[axis] - 1)
            moved[:3, axis] *= -1
    return view, moved


angles = st.floats(-0.4, 0.4)


def rotation(a, b, c):
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return x @ y @ z


@pytest.mark.parametrize("affine", [canonical_affine(), oblique_affine(), oblique_affine(degrees=90.0)], ids=str)
def test_every_axis_order_and_flip_gives_the_same_canonical_volume(affine):
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    expected, expected_affine = canonical(array, affine)
    assert len(ORDERS) == 48
    for order, flips in ORDERS:
        got, got_affine = canonical(*reordered(array, affine, order, flips))
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_allclose(got_affine, expected_affine, atol=1e-9)


@pytest.mark.parametrize("affine", [canonical_affine(), oblique_affine()], ids=["straight", "oblique"])
def test_a_canonical_array_can_be_filled_in_the_order_of_the_file(affine):
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    for order, flips in ORDERS:
        stored, stored_affine = reordered(array, affine, order, flips)
        expected, expected_affine = canonical(stored, stored_affine)
        shape, moved = canonical_grid(stored.shape, stored_affine)
        filled = np.zeros(shape, dtype=np.int16)
        for part in range(stored.shape[0]):
            in_file_order(filled, stored_affine)[part] = stored[part]
        np.testing.assert_array_equal(filled, expected)
        np.testing.assert_array_equal(moved, expected_affine)


@given(a=angles, b=angles, c=angles, number=st.integers(0, 47))
@settings(max_examples=60, deadline=None)
def test_canonical_keeps_every_voxel_in_its_place(a, b, c, number):
    affine = canonical_affine()
    affine[:3, :3] = rotation(a, b, c) @ affine[:3, :3]
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    stored, stored_affine = reordered(array, affine, *ORDERS[number])
    moved, moved_affine = canonical(stored, stored_affine)
    for value in (0, 5, 23):
        here = lps_from_index(affine, np.argwhere(array == value)[0])
        np.testing.assert_allclose(lps_from_index(moved_affine, np.argwhere(moved == value)[0]), here, atol=1e-9)
    along = np.array([moved_affine[row, axis] for axis, row in enumerate((2, 1, 0))])
    assert (along > 0).all()


def test_exact_diagonals_are_settled_without_the_file_order():
    affine = canonical_affine((1.0, 1.0, 1.0))
    affine[:3, :3] = rotation(0, 0, np.pi / 4) @ affine[:3, :3]
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    results = [canonical(*reordered(array, affine, *order)) for order in ORDERS]
    assert {result[0].shape for result in results} == {results[0][0].shape}
    for hu, moved in results:
        np.testing.assert_array_equal(hu, results[0][0])
        np.testing.assert_allclose(moved, results[0][1], atol=1e-9)


@given(a=angles, b=angles, c=angles, index=st.tuples(*[st.floats(-50, 50)] * 3))
@settings(max_examples=50, deadline=None)
def test_index_and_lps_round_trip(a, b, c, index):
    affine = canonical_affine()
    affine[:3, :3] = rotation(a, b, c) @ affine[:3, :3]
    np.testing.assert_allclose(index_from_lps(affine, lps_from_index(affine, index)), index, atol=1e-8)


def test_nifti_affine_round_trip_and_hand_made_case():
    affine = oblique_affine()
    np.testing.assert_allclose(affine_from_nifti(nifti_from_affine(affine)), affine)
    ras = np.array([[-2.0, 0, 0, 10], [0, -3.0, 0, 20], [0, 0, 5.0, 30], [0, 0, 0, 1]])  # x to left, y to back
    np.testing.assert_allclose(affine_from_nifti(ras) @ [1, 0, 0, 1], [-10, -20, 35, 1])  # one step along z
    np.testing.assert_allclose(affine_from_nifti(ras) @ [0, 0, 1, 1], [-8, -20, 30, 1])  # one step along x


def test_spacing_is_the_norm_of_the_columns_not_the_diagonal():
    assert spacing_mm(oblique_affine()) == pytest.approx(SPACING)


@pytest.mark.parametrize(
    ("cosine", "outcome"),
    [(1e-6, "silent"), (9e-5, "silent"), (2e-3, "reported"), (1e-2, "refused"), (0.2, "refused")],
)
def test_skewed_axes(cosine, outcome):
    affine = oblique_affine()
    z, y = affine[:3, 0] / SPACING[0], affine[:3, 1] / SPACING[1]
    affine[:3, 1] = (np.sqrt(1 - cosine**2) * y + cosine * z) * SPACING[1]
    if outcome == "refused":
        with pytest.raises(StudyError, match="not orthogonal") as caught:
            orthonormal(affine, (20, 30, 40))
        assert caught.value.reason is Reason.GEOMETRY
        return
    corrected, off = orthonormal(affine, (20, 30, 40))
    assert off == pytest.approx(cosine, rel=1e-3)
    assert skew(corrected) < 1e-12
    assert spacing_mm(corrected) == pytest.approx(SPACING)
    middle = (9.5, 14.5, 19.5)
    np.testing.assert_allclose(lps_from_index(corrected, middle), lps_from_index(affine, middle))


@pytest.mark.parametrize(
    "affine",
    [np.full((4, 4), np.nan), np.diag([1.0, 0, 1, 1]), np.eye(3), np.diag([1e5, 1, 1, 1])],
    ids=["nan", "zero column", "3x3", "huge spacing"],
)
def test_impossible_affines_are_refused(affine):
    with pytest.raises(StudyError) as caught:
        orthonormal(affine, (2, 2, 2))
    assert caught.value.reason is Reason.GEOMETRY


def nearest_by_hand(labels, affine, shape, to_affine):
    index = np.floor(index_from_lps(affine, lps_from_index(to_affine, np.indices(shape).reshape(3, -1).T)) + 0.5)
    inside = ((index >= 0) & (index < labels.shape)).all(axis=1)
    result = np.zeros(int(np.prod(shape)), labels.dtype)
    result[inside] = labels[tuple(index[inside].astype(int).T)]
    return result.reshape(shape)


@pytest.mark.parametrize("turned", [False, True], ids=["parallel grids", "oblique to each other"])
def test_labels_resample_by_affine(turned):
    labels = np.random.default_rng(0).integers(0, 9, (6, 10, 9)).astype(np.uint8)
    affine = canonical_affine()
    target = oblique_affine((3.1, 1.1, 2.7)) if turned else canonical_affine((3.1, 1.1, 2.7), (-37.3, -28.9, 103.7))
    got = resample_labels_nearest(labels, affine, (7, 11, 8), target)
    expected = nearest_by_hand(labels, affine, (7, 11, 8), target)
    assert got.dtype == np.uint8
    assert (expected > 0).any()
    np.testing.assert_array_equal(got, expected)


def test_a_shifted_label_map_of_equal_shape_is_not_taken_by_index():
    labels = body()[:, :, :].astype(np.uint16)
    affine, shifted = canonical_affine(), canonical_affine(origin=(-38.0, -30.0, 100.0))
    assert not same_grid(labels.shape, affine, labels.shape, shifted)
    got = resample_labels_nearest(labels, affine, labels.shape, shifted)
    np.testing.assert_array_equal(got[:, :, :-1], labels[:, :, 1:])
    assert not got[:, :, -1].any()


def test_grids_that_differ_by_rounding_are_the_same():
    affine = canonical_affine()
    assert same_grid((9, 9, 9), affine, (9, 9, 9), affine + 1e-5)
    assert not same_grid((9, 9, 9), affine, (9, 9, 8), affine)
