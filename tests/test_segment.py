"""The door to segmentation networks, end to end with a small network whose weights are set by hand."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunet_folder import DATASET, TRAINER, build_nnunet_folder

from preprocess.errors import InputError, Reason, StudyError
from preprocess.networks import gpu_is_lost
from preprocess.segment import describe_segmenter, find_networks, segment
from preprocess.volume import Volume


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
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


def test_labels_lie_on_the_volume_and_nothing_else_is_touched(weights, monkeypatch, tmp_path):
    def refuse(self, address):
        raise AssertionError(f"a connection to {address} was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    volume, block = oblique_volume()
    before = {name: value for name, value in os.environ.items() if name.startswith(("TOTALSEG", "nnUNet"))}
    files = {path: path.stat().st_mtime_ns for path in weights.rglob("*")}
    label_map = segment(volume, fast=True, weights=weights)
    assert before == {name: value for name, value in os.environ.items() if name.startswith(("TOTALSEG", "nnUNet"))}
    assert files == {path: path.stat().st_mtime_ns for path in weights.rglob("*")}
    assert not (tmp_path / ".totalsegmentator").exists()
    assert label_map.labels.shape == volume.shape
    assert np.array_equal(label_map.affine, volume.affine)
    assert label_map.names[5] == "liver"
    truth = np.zeros(volume.shape, dtype=bool)
    truth[block] = True
    found = label_map.labels == 5
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.8


def test_description_changes_with_the_weights(weights):
    first = describe_segmenter(fast=True, weights=weights)
    assert first["name"] == "totalsegmentator total fast"
    assert len(first["weights_digest"]) == 16
    checkpoint = next(path for path in find_networks(fast=True, weights=weights)[0].files if path.suffix == ".pth")
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


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot be loaded: EOFError"), (b"no checkpoint", "a checkpoint is damaged")],
    ids=["empty", "other bytes"],
)
def test_a_damaged_checkpoint_ends_the_run(tmp_path, content, message):
    build_nnunet_folder(tmp_path)
    (tmp_path / DATASET / f"{TRAINER}__nnUNetPlans__3d_fullres" / "fold_0" / "checkpoint_final.pth").write_bytes(
        content
    )
    with pytest.raises(InputError, match=message) as error:
        segment(oblique_volume()[0], fast=True, weights=tmp_path)
    assert DATASET in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:99", "device=cuda:99: this machine has"),
        ("tpu9", "device='tpu9' is unknown"),
        ("cpu:0,cpu:1", "several devices need workers=1 or more"),
    ],
)
def test_a_device_that_is_not_there_ends_the_run(weights, device, message):
    with pytest.raises(InputError, match=message):
        segment(oblique_volume()[0], fast=True, weights=weights, device=device)


def test_an_unknown_structure_is_refused(weights):
    with pytest.raises(InputError, match="no structure 'antlers'"):
        segment(oblique_volume()[0], fast=True, weights=weights, structures=["liver", "antlers"])


ASSERTION = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"
FAILURES = {
    "memory": (MemoryError(), Reason.OUT_OF_MEMORY, False),
    "cuda": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\n2 GiB"), Reason.OUT_OF_MEMORY, False),
    "cublas memory": (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), Reason.OUT_OF_MEMORY, False),
    "allocator": (RuntimeError("DefaultCPUAllocator: can't allocate memory"), Reason.OUT_OF_MEMORY, False),
    "other": (RuntimeError("Encountered inf in predicted array"), Reason.SEGMENTER, False),
    "assertion": (torch.AcceleratorError(ASSERTION), Reason.SEGMENTER, True),
    "lost device": (RuntimeError("CUDA error: unspecified launch failure"), Reason.SEGMENTER, True),
    "cudnn": (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), Reason.SEGMENTER, True),
}


@pytest.mark.parametrize(("error", "reason", "lost"), FAILURES.values(), ids=FAILURES)
def test_errors_of_the_network_are_the_studys(weights, monkeypatch, error, reason, lost):
    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr("preprocess.networks._predict", fail)
    with pytest.raises(StudyError) as raised:
        segment(oblique_volume()[0], fast=True, weights=weights)
    assert raised.value.reason is reason
    assert gpu_is_lost(str(raised.value)) == lost
    assert "\n" not in str(raised.value)
