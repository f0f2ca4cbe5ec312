"""The state of a run: the peer is a slow copy of the whole text tower, the average what screening would use."""

from dataclasses import replace

import pytest
import torch
from tiny_learner import SETTINGS, tiny_learner
from tiny_text import write_tiny_encoder

from ctvlp.settings import PairingSettings

TEXTS = ("the liver is normal", "renal cyst", "there is a renal calculus")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


def move(learner, seed):
    """One update with random gradients."""
    generator = torch.Generator().manual_seed(seed)
    for p in learner.model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)
    learner.update()


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen text", "text that learns"])
@pytest.mark.parametrize("momentum", [1.0, 0.0, 0.5])
def test_the_peer_follows_the_whole_text_tower(encoder, frozen, momentum):
    pairing = PairingSettings(peer_momentum=momentum)
    learner = tiny_learner(encoder, replace(SETTINGS, pairing=pairing), text_frozen=frozen)
    first = learner.model.encode_text(TEXTS).detach()
    torch.testing.assert_close(learner.peer_features(TEXTS), first)
    move(learner, 0)
    now, found = learner.model.encode_text(TEXTS).detach(), learner.peer_features(TEXTS)
    assert not torch.allclose(now, first, atol=1e-3)
    assert not found.requires_grad
    if momentum == 0.5:
        assert not torch.allclose(found, first, atol=1e-4)
        assert not torch.allclose(found, now, atol=1e-4)
    else:
        torch.testing.assert_close(found, first if momentum == 1.0 else now)


def test_the_peer_of_a_text_tower_with_dropout_draws_nothing(encoder):
    learner = tiny_learner(encoder, text_frozen=False, dropout=True)
    assert learner.model.text.training
    state = torch.get_rng_state()
    assert torch.equal(learner.peer_features(TEXTS), learner.peer_features(TEXTS))
    assert torch.equal(torch.get_rng_state(), state)


def test_no_texts_have_no_features(encoder):
    assert tiny_learner(encoder).peer_features(()).shape == (0, 16)


def test_the_peer_shares_the_features_of_a_frozen_encoder(encoder):
    learner = tiny_learner(encoder)
    assert learner.peer.encoder is learner.model.text.encoder


@pytest.mark.parametrize("average", [0.9, 0.0], ids=["averaged", "last weights"])
def test_the_averaged_model_is_in_evaluation_mode_and_gone_after_the_block(encoder, average):
    learner = tiny_learner(encoder, replace(SETTINGS, average=average))
    for seed in range(3):
        move(learner, seed)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    with learner.averaged() as model:
        assert not model.training
        expected = learner.average if average else before
        assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert learner.model.training
    assert not learner.model.text.training  # no dropout, which each rank would draw for itself
    assert all(torch.equal(value, before[name]) for name, value in learner.model.state_dict().items())
