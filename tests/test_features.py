"""Features whose gradient comes later: one gradient with the graph kept and in chunks, with the same random numbers."""

import pytest
import torch
from devices import DEVICES
from torch import nn
from torch.nn import functional as F

from ctvlp.features import Features, Piece, seeded


def features_of(layer, inputs, rows, device, *, twice, dropout=0.0):
    pieces = [
        Piece(mine.to(device), lambda mine=mine: F.dropout(layer(inputs[mine]), dropout))
        for mine in map(torch.tensor, rows)
    ]
    return Features(pieces, (len(inputs), 3), device=torch.device(device), twice=twice)


def draw(device):
    torch.manual_seed(0)
    layer, inputs, weights = nn.Linear(4, 3), torch.randn(5, 4), torch.randn(5, 3)
    return layer.to(device), inputs.to(device), weights.to(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows", [[[0, 1, 2, 3, 4]], [[3, 0], [1], [2, 4]]], ids=["at once", "in pieces"])
@pytest.mark.parametrize("twice", [False, True], ids=["graph kept", "computed twice"])
def test_features_and_gradients_are_those_of_the_layer(rows, twice, device):
    layer, inputs, weights = draw(device)
    features = features_of(layer, inputs, rows, device, twice=twice)
    assert not features.values.requires_grad
    torch.testing.assert_close(features.values, layer(inputs).detach())
    features.backward(weights)
    found = layer.weight.grad.clone()
    layer.zero_grad()
    (layer(inputs) * weights).sum().backward()
    torch.testing.assert_close(found, layer.weight.grad)


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_computed_twice_draws_the_same_random_numbers(device):
    layer, inputs, weights = draw(device)
    found = []
    for twice in (False, True):
        layer.zero_grad()
        with seeded(7, torch.device(device)):
            features = features_of(layer, inputs, [[0, 1], [2, 3, 4]], device, twice=twice, dropout=0.5)
            torch.rand(3)  # whatever is drawn in between
            features.backward(weights)
        found.append((features.values, layer.weight.grad.clone()))
    assert (found[0][0] == 0).any()
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_a_seeded_block_leaves_torchs_random_state_alone():
    before = torch.get_rng_state()
    with seeded(1, torch.device("cpu")):
        first = torch.rand(2)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(1, torch.device("cpu")):
        assert torch.equal(torch.rand(2), first)


def test_nothing_to_encode_is_no_error():
    features = Features([], (0, 3), device=torch.device("cpu"))
    features.backward(features.values)
    assert features.values.shape == (0, 3)


def test_in_bf16_features_and_gradients_are_float32_and_close():
    layer, inputs, weights = draw("cpu")
    piece = Piece(torch.arange(5), lambda: layer(inputs))
    features = Features([piece], (5, 3), device=torch.device("cpu"), precision="bf16", twice=True)
    features.backward(weights)
    assert features.values.dtype == layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(features.values, layer(inputs).detach(), atol=0.05, rtol=0.05)
    assert not torch.equal(features.values, layer(inputs).detach())
