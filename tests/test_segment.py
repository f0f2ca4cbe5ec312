"""TotalSegmentator's door, end to end with a small network whose weights are set by hand."""

import os
import socket

import numpy as np
import pytest

from preprocess.errors import InputError
from preprocess.segment import describe_segmenter, find_networks, segment
from preprocess.volume import Volume


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    pytest.importorskip("totalsegmentator")
    from nnunet_folder import build_nnunet_folder

    return build_nnunet_folder(tmp_path_factory.mktemp("weights"))


def oblique_volume():
    """Air with one bright block off the centre, on an oblique grid of 4 x 2 x 3 mm voxels, and where the block lies."""
    hu = np.full((24, 48, 36), -900, dtype=np.int16)
    block = (slice(4, 10), slice(30, 42), slice(5, 15))
    hu[block] = 800
    cos, sin = np.cos(0.1), np.sin(0.1)
    turned = np.array([[0, -sin, cos], [0, cos, sin], [1, 0, 0]])  # columns: z, y, x in (L, P, S)
    affine = np.eye(4)
    affine[:3, :3] = turned * (4.0, 2.0, 3.0)
    affine[:3, 3] = (-50.0, 20.0, -300.0)
    return Volume(hu, affine), block


@pytest.mark.slow
def test_labels_lie_on_the_volume(weights, monkeypatch):
    connect = socket.socket.connect

    def refuse(self, address):
        assert self.family == socket.AF_UNIX, f"a connection to {address} was attempted"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    volume, block = oblique_volume()
    before = {name: value for name, value in os.environ.items() if name.startswith(("TOTALSEG", "nnUNet"))}
    label_map = segment(volume, fast=True, weights=weights)
    assert before == {name: value for name, value in os.environ.items() if name.startswith(("TOTALSEG", "nnUNet"))}
    assert label_map.labels.shape == volume.shape
    assert np.array_equal(label_map.affine, volume.affine)
    assert label_map.names[5] == "liver"
    truth = np.zeros(volume.shape, dtype=bool)
    truth[block] = True
    found = label_map.labels == 5
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.8
    assert sorted(path.name for path in weights.iterdir()) == ["Dataset297_TotalSegmentator_total_3mm_1559subj"]


def test_description_changes_with_the_weights(weights):
    first = describe_segmenter(fast=True, weights=weights)
    assert first["name"] == "totalsegmentator total fast"
    assert len(first["weights_digest"]) == 16
    checkpoint = find_networks(fast=True, weights=weights)[0].checkpoint
    original = checkpoint.read_bytes()
    checkpoint.write_bytes(original + b"\0")
    try:
        assert describe_segmenter(fast=True, weights=weights)["weights_digest"] != first["weights_digest"]
    finally:
        checkpoint.write_bytes(original)


@pytest.mark.parametrize(
    ("fast", "dataset"),
    [
        (True, "Dataset297_TotalSegmentator_total_3mm_1559subj"),
        (False, "Dataset291_TotalSegmentator_part1_organs_1559subj"),
    ],
    ids=["fast", "full"],
)
def test_missing_weights_are_named(tmp_path, monkeypatch, fast, dataset):
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path))
    with pytest.raises(InputError, match=f"put the folder {dataset} there") as error:
        find_networks(fast=fast)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
