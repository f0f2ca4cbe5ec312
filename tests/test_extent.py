"""Organs that touch a face of the volume or the edge of the reconstruction circle."""

import numpy as np
import pytest
from phantoms import canonical_affine

from preprocess.extent import measure_extent, reconstruction_field
from preprocess.regions import anatomy_mask
from preprocess.vocabulary import Anatomy
from preprocess.volume import LabelMap, Volume

SHAPE = (10, 40, 40)
EVERYWHERE = np.ones(SHAPE[1:], dtype=bool)
LUNGS = Anatomy(
    name="lung", index=0, parts={"upper": ("lung_upper_lobe_left",), "lower": ("lung_lower_lobe_left",)},
    region={"dilate_mm": 0.0}, spacing_mm=(3.0, 3.0, 3.0), margin_mm=4.0, windows_hu=((-100, 100),), max_tokens=64,
    words=("lung",),
)  # fmt: skip


def organ(labels):
    """The organ of two parts, by a label map that holds them as 1 and 2 beside another structure, 3."""
    names = {1: "lung_upper_lobe_left", 2: "lung_lower_lobe_left", 3: "heart"}
    return anatomy_mask(LabelMap(labels, canonical_affine(), names), LUNGS)


def block(z, y, x):
    """Labels with a box of the first part."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[tuple(slice(*axis) for axis in (z, y, x))] = 1
    return labels


def circular_volume(padding=-1024, noise=True):
    """Noisy air in a circle, constant corners outside it."""
    y, x = np.indices(SHAPE[1:]) - 19.5
    circle = np.hypot(y, x) < 19.5
    hu = np.full(SHAPE, padding, dtype=np.int16)
    rng = np.random.default_rng(0)
    hu[:, circle] = rng.normal(-990, 8, (SHAPE[0], circle.sum())) if noise else -1000
    return Volume(hu, canonical_affine()), circle


@pytest.mark.parametrize(
    ("z", "y", "x", "fraction"),
    [
        pytest.param((1, 9), (5, 20), (5, 20), 0.0, id="inside"),
        pytest.param((0, 9), (5, 20), (5, 20), 1.0, id="lowest slice"),
        pytest.param((4, 10), (5, 20), (5, 20), 1.0, id="highest slice"),
        pytest.param((2, 6), (0, 20), (5, 20), 1.0, id="front"),
        pytest.param((2, 6), (30, 40), (5, 20), 1.0, id="back"),
        pytest.param((2, 6), (5, 20), (0, 9), 1.0, id="right"),
        pytest.param((2, 6), (5, 20), (30, 40), 1.0, id="left"),
    ],
)
def test_faces(z, y, x, fraction):
    assert measure_extent(organ(block(z, y, x)), EVERYWHERE) == fraction


def test_fraction_is_of_the_largest_section_across_the_face():
    labels = block((0, 8), (5, 25), (5, 25))
    labels[0] = 3
    labels[0, 5:15, 5:15] = 1
    assert measure_extent(organ(labels), EVERYWHERE) == pytest.approx(100 / 400)


def test_parts_of_an_organ_count_together():
    labels = block((0, 4), (5, 15), (5, 25))
    labels[0:4, 5:15, 15:25] = 2
    labels[0, 5:15, 5:15] = 0
    assert measure_extent(organ(labels), EVERYWHERE) == pytest.approx(0.5)


@pytest.mark.parametrize("padding", [-1024, -2000, -1000])
def test_the_reconstruction_circle_is_found(padding):
    volume, circle = circular_volume(padding)
    assert np.array_equal(reconstruction_field(volume), circle)


def test_without_constant_corners_all_is_reconstructed():
    volume, _ = circular_volume()
    hu = volume.hu.copy()
    hu[3] += np.random.default_rng(1).integers(0, 5, SHAPE[1:]).astype(np.int16)
    assert reconstruction_field(Volume(hu, volume.affine)).all()


def test_organ_at_the_edge_of_the_circle_is_cut():
    volume, circle = circular_volume()
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[3:7, 10:30] = circle[10:30]
    labels[:, :, 20:] = 0
    assert measure_extent(organ(labels.copy()), reconstruction_field(volume)) > 0.5
    labels[:, :, :8] = 0
    assert measure_extent(organ(labels), reconstruction_field(volume)) == 0


def test_air_inside_the_body_is_no_padding():
    volume, circle = circular_volume()
    hu = volume.hu.copy()
    hu[:, 15:25, 15:25] = -1024
    assert np.array_equal(reconstruction_field(Volume(hu, volume.affine)), circle)
