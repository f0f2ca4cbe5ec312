"""Blocks that hold numbers, against a search through every block."""

import numpy as np
import pytest
from phantoms import canonical_affine

from preprocess.blocks import Blocks
from preprocess.volume import LabelMap


def label_map(seed=0, shape=(9, 14, 23), numbers=80):
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(shape) < 0.03, rng.integers(1, numbers, shape), 0).astype(np.uint8)
    return LabelMap(labels, canonical_affine(), {number: f"s{number}" for number in range(1, numbers)})


def searched(labels, blocks, numbers):
    """Whether each block holds one of the numbers, looked up block by block."""
    found = np.zeros(blocks.shape, dtype=bool)
    for place in np.ndindex(blocks.shape):
        low = [start + size * at for start, size, at in zip(blocks.start, blocks.block, place, strict=True)]
        high = [min(a + size, stop) for a, size, stop in zip(low, blocks.block, blocks.stop, strict=True)]
        found[place] = np.isin(labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], numbers).any()
    return found


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param(Blocks((0, 0, 0), (9, 14, 23), (1, 1, 1)), id="voxels"),
        pytest.param(Blocks((0, 0, 0), (9, 14, 23), (2, 4, 5)), id="smaller last blocks"),
        pytest.param(Blocks((2, 3, 4), (8, 13, 20), (3, 2, 7)), id="part of the volume"),
    ],
)
def test_holding(blocks):
    labels = label_map()
    sets = [[number] for number in range(1, 71)] + [[], [3, 4, 5, 250]]  # more than one pass looks for
    held = blocks.holding(labels, sets)
    for found, numbers in zip(held, sets, strict=True):
        assert np.array_equal(found, searched(labels.labels, blocks, numbers))


def test_middle_voxels():
    labels = label_map().labels
    labels[:] = 0
    labels[1, 2, 2], labels[3, 2, 2] = 5, 5
    found = Blocks((0, 0, 0), (5, 4, 5), (3, 4, 4)).in_middle(LabelMap(labels, canonical_affine(), {5: "liver"}), [5])
    assert np.argwhere(found).tolist() == [[0, 0, 0]]  # the second block along z begins at 3, its middle is 4
