"""The blocks of both encoders: padding is not seen, and neither recomputing nor compiling changes a number."""

import shutil

import pytest
import torch
from devices import DEVICES

from ctvlp.transformer import Transformer


def build(device="cpu", depth=3, **options):
    torch.manual_seed(0)
    return Transformer(width=16, depth=depth, heads=2, mlp_ratio=2.0, **options).to(device)


def tokens_of(device="cpu"):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 7, 16, generator=generator).to(device)


def outputs_and_gradients(blocks, exists=None):
    tokens = tokens_of(next(blocks.parameters()).device).requires_grad_()
    last, kept = blocks(tokens, exists, levels=(1,))
    return last, kept[0], *torch.autograd.grad(last.sin().sum() + kept[0].sum(), [tokens, *blocks.parameters()])


@pytest.mark.parametrize("device", DEVICES)
def test_tokens_that_do_not_exist_are_not_seen(device):
    blocks, tokens = build(device), tokens_of(device)
    exists = torch.ones(3, 7, dtype=torch.bool, device=device)
    exists[1, 4:] = False
    alone, _ = blocks(tokens[1:2, :4])
    with_others, _ = blocks(tokens, exists)
    tokens[1, 4:] = 100.0
    changed, _ = blocks(tokens, exists)
    torch.testing.assert_close(with_others[1, :4], alone[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(changed[1, :4], with_others[1, :4], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(blocks(tokens)[0][1, :4], alone[0], atol=1e-3)


def test_a_level_is_what_its_block_gives():
    blocks, tokens = build(depth=4), tokens_of()
    last, kept = blocks(tokens, levels={2, 0})
    by_hand = [tokens]
    for block in blocks:
        by_hand.append(block(by_hand[-1]))
    for found, expected in zip([*kept, last], (by_hand[1], by_hand[3], by_hand[4]), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("padded", [False, True], ids=["all there", "padded"])
def test_recomputing_changes_no_number(device, padded):
    exists = torch.arange(7, device=device) < torch.tensor([7, 3, 5], device=device)[:, None] if padded else None
    kept, recomputed = (outputs_and_gradients(build(device, recompute=flag), exists) for flag in (False, True))
    for a, b in zip(kept, recomputed, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_recomputing_keeps_less_for_the_way_back():
    def kept_values(blocks):
        kept = {}

        def count(tensor):
            kept[tensor.data_ptr()] = tensor.numel()
            return tensor

        weights = {parameter.data_ptr() for parameter in blocks.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            graph = blocks(tokens_of().requires_grad_())
        assert graph[0].requires_grad
        return sum(size for place, size in kept.items() if place not in weights)

    assert kept_values(build(recompute=True)) * 3 < kept_values(build())


@pytest.mark.parametrize("device", DEVICES)
def test_bf16_is_near_float32_and_what_runs_through_the_blocks_stays_float32(device):
    blocks, tokens = build(device), tokens_of(device)
    with torch.no_grad():
        exact, _ = blocks(tokens)
        with torch.autocast(device, torch.bfloat16):
            coarse, _ = blocks(tokens)
    assert coarse.dtype == torch.float32
    assert 1e-6 < float((coarse - exact).abs().max()) < 0.1


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.slow
def test_compiling_changes_no_number_and_no_name(device):
    exists = torch.arange(7, device=device) < torch.tensor([7, 3, 5], device=device)[:, None]
    plain, compiled = build(device), build(device, compiled=True)
    assert list(plain.state_dict()) == list(compiled.state_dict())
    for a, b in zip(outputs_and_gradients(plain, exists), outputs_and_gradients(compiled, exists), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_nothing_is_compiled_outside_training(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda *arguments, **options: pytest.fail("compiled"))
    blocks = build(compiled=True).eval()
    torch.testing.assert_close(blocks(tokens_of())[0], build()(tokens_of())[0])
