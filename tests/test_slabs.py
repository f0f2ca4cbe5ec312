"""Labels by slab equal those of nnU-Net's sums over the whole image."""

import numpy as np
import pytest
import torch
from nnunet_folder import build_random_network

from preprocess import networks
from preprocess.networks import Inference, load_network, run_network
from preprocess.slabs import labels_by_slab
from preprocess.weights import Network

LABELS = {"background": 0, **{f"structure {number}": number for number in range(1, 13)}}


def build(folder, **options):
    place = build_random_network(folder / "Dataset001_X" / "nnUNetTrainer__nnUNetPlans__3d_fullres", LABELS, **options)
    return Network(place, options.get("folds", (0,)))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return build(tmp_path_factory.mktemp("one"))


def labels(network, image, spacing_mm, *, by_slab, monkeypatch, how):
    """By slab, or as nnU-Net does it."""
    if not by_slab:
        monkeypatch.setattr(networks, "labels_by_slab", lambda *_arguments, **_options: None)
    found = run_network(network, image, spacing_mm, how)
    monkeypatch.undo()
    return found


def noise(shape):
    return np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)


@pytest.mark.parametrize("step", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("shape", [(9, 20, 40), (33, 32, 31), (101, 40, 35)], ids=["one row", "two rows", "many rows"])
def test_labels_are_the_same(network, monkeypatch, shape, step):
    how = Inference(tile_step=step, mirroring=False)
    image = noise(shape)
    expected = labels(network, image, (3.0, 3.0, 3.0), by_slab=False, monkeypatch=monkeypatch, how=how)
    found = labels(network, image, (3.0, 3.0, 3.0), by_slab=True, monkeypatch=monkeypatch, how=how)
    assert found.shape == shape
    assert np.array_equal(found, expected)
    assert 0.01 < (expected > 0).mean() < 0.99


def test_an_empty_rim_is_cut_off_and_put_back(network, monkeypatch):
    image = np.zeros((50, 48, 46), dtype=np.int16)
    image[5:44, 3:40, 7:45] = noise((39, 37, 38))
    how = Inference(mirroring=False)
    expected = labels(network, image, (3.0, 3.0, 3.0), by_slab=False, monkeypatch=monkeypatch, how=how)
    assert np.array_equal(run_network(network, image, (3.0, 3.0, 3.0), how), expected)
    assert expected.any()
    assert not expected[:5].any()


@pytest.mark.parametrize(
    ("options", "spacing_mm"),
    [({"folds": (0, 1)}, (3.0, 3.0, 3.0)), ({}, (3.0, 2.0, 3.0))],
    ids=["two folds", "another spacing"],
)
def test_what_needs_all_scores_is_left_to_nnunet(tmp_path, options, spacing_mm):
    network = build(tmp_path, **options)
    predictor = load_network(network, Inference())
    preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
    data, _, properties = preprocessor.run_case_npy(
        noise((20, 40, 36))[None],
        None,
        {"spacing": list(spacing_mm)},
        predictor.plans_manager,
        predictor.configuration_manager,
        predictor.dataset_json,
    )
    assert labels_by_slab(predictor, torch.from_numpy(data), properties) is None
    assert run_network(network, noise((20, 40, 36)), spacing_mm, Inference()).shape == (20, 40, 36)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_labels_are_the_same_on_a_gpu(network):
    image = noise((101, 40, 35))
    usual, light = (
        run_network(network, image, (3.0, 3.0, 3.0), Inference("cuda", 0.8, mirroring=False, light=light))
        for light in (False, True)
    )
    assert np.array_equal(usual, light)
