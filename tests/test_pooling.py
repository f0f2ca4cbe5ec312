"""Anatomy pooling: what torch's own attention gives, for crops and for anatomies that share a volume's tokens."""

import pytest
import torch
from devices import DEVICES
from torch.nn import functional as F

from ctvlp.pooling import AnatomyPooling


def build(device="cpu"):
    torch.manual_seed(0)
    pooling = AnatomyPooling(["liver", "kidney", "spleen"], 24, 8, heads=4)
    torch.nn.init.normal_(pooling.attention.in_proj_bias, std=0.3)
    return pooling.to(device)


def draw(*shape, device="cpu", seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def with_gradients(pooling, output, tokens):
    wanted = [tokens, *pooling.parameters()]
    return torch.autograd.grad(output.sin().sum(), wanted, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("device", DEVICES)
def test_crops_are_pooled_as_by_torchs_attention(device):
    pooling, tokens = build(device), draw(3, 6, 24, device=device).requires_grad_()
    exists = torch.arange(6, device=device) < torch.tensor([6, 2, 4], device=device)[:, None]
    found, weights = pooling("kidney", tokens, exists)
    first = tokens[:, :1]
    gathered, expected_weights = pooling.attention(
        pooling.queries["kidney"] + first, tokens, tokens, key_padding_mask=~exists
    )
    expected = F.normalize(pooling.project["kidney"]((gathered + first)[:, 0]), dim=-1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(weights, expected_weights[:, 0], atol=1e-6, rtol=1e-4)
    assert weights[1, 2:].abs().max() == 0
    pairs = zip(with_gradients(pooling, found, tokens), with_gradients(pooling, expected, tokens), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_anatomies_of_a_volume_are_pooled_as_each_from_its_own_tokens(device):
    pooling, tokens = build(device), draw(4, 9, 24, device=device).requires_grad_()
    chosen = draw(4, 9, device=device, seed=2) > 0
    chosen[:, 3] = True
    rows = {"liver": [0, 1, 3], "spleen": [2]}
    parts = {name: (torch.tensor(of, device=device), chosen[of]) for name, of in rows.items()}
    found = pooling.pool_volumes(tokens, parts)
    assert list(found) == ["liver", "spleen"]
    expected = {}
    for name, of in rows.items():
        vectors = []
        for row in of:
            mine = tokens[row][chosen[row]][None]
            gathered, _ = pooling.attention(pooling.queries[name][None, None], mine, mine)
            vectors.append(F.normalize(pooling.project[name](gathered[0, 0]), dim=-1))
        expected[name] = torch.stack(vectors)
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-4)
    grads = (with_gradients(pooling, torch.cat(list(of.values())), tokens) for of in (found, expected))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_a_batch_without_a_sample_gives_nothing():
    assert build().pool_volumes(draw(2, 9, 24), {}) == {}


@pytest.mark.parametrize("device", DEVICES)
def test_under_bf16_it_computes_in_float32(device):
    pooling, tokens = build(device), draw(3, 6, 24, device=device)
    exists = torch.ones(3, 6, dtype=torch.bool, device=device)
    parts = {"liver": (torch.arange(3, device=device), exists)}
    exact = pooling("liver", tokens, exists)[0], pooling.pool_volumes(tokens, parts)["liver"]
    with torch.autocast(device, torch.bfloat16):
        under = pooling("liver", tokens, exists)[0], pooling.pool_volumes(tokens, parts)["liver"]
    for a, b in zip(exact, under, strict=True):
        assert torch.equal(a, b)
