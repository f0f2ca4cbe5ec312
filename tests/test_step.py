"""A step's loss and gradients against a slow loop over the whole batch, in one pass and in chunks."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from devices import DEVICES
from tiny_learner import (
    SETTINGS,
    VOCABULARY,
    batch_for,
    eight_studies,
    gradients,
    small_store,
    tiny_learner,
    uncertain,
)
from tiny_text import write_tiny_encoder
from torch.nn import functional as F

from ctvlp import contrast as contrast_module
from ctvlp import step as step_module
from ctvlp.alignment import draw_prompts
from ctvlp.contrast import TargetShares
from ctvlp.pairing import pairing_targets
from ctvlp.settings import PairingSettings
from ctvlp.step import train_step
from preprocess.errors import CtvlpError


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


def step_of(learner, batch, monkeypatch, **options):
    """Losses and gradients of a step that changes nothing."""
    monkeypatch.setattr(learner, "update", lambda: 0.0)
    losses = train_step(learner, batch, VOCABULARY, **options)
    return losses, gradients(learner)


def slow_contrast(image, said, scale, targets, exclude):
    """Cross entropy in both directions, one pair at a time."""
    count, total = len(image), torch.zeros(())
    for first, second in ((image, said), (said, image)):
        for i in range(count):
            allowed = [j for j in range(count) if not exclude[i][j]]
            logs = torch.stack([scale * (first[i] * second[j]).sum() for j in allowed]).log_softmax(0)
            for j, value in zip(allowed, logs, strict=True):
                total = total - targets[i, j] * value / count / 2
    return total


def slow_loss(learner, batch):
    """The loss of a batch, sample by sample and label by label."""
    model, settings = learner.model, learner.settings
    rng = np.random.default_rng([settings.seed, 2, learner.step])
    prompts = {name: draw_prompts(VOCABULARY.of(name), rng) for name in VOCABULARY.anatomies}
    sick = [part for part in batch.anatomies.values() if part.abnormal.any()]
    known = sum(int((~part.labels.isnan()).sum()) for part in batch.anatomies.values())
    total = torch.zeros(())
    for name, part in batch.anatomies.items():
        image, said = model.encode_image(part.image), model.encode_text(batch.texts)[part.text_row]
        if part.abnormal.any():
            doubtful, patient = part.uncertain.tolist(), part.patient.tolist()
            count = range(len(patient))
            exclude = [
                [i != j and (patient[i] == patient[j] or doubtful[i] or doubtful[j]) for j in count] for i in count
            ]
            targets = pairing_targets(
                part.abnormal,
                part.text_id,
                part.findings,
                (said @ said.T).detach(),
                mode="disease",
                exclude=torch.tensor(exclude),
            )
            share = settings.contrastive_weight / (len(sick) if settings.reduction == "mean" else 1)
            total = total + share * slow_contrast(image, said, model.logit_scale, targets, exclude)
        logits = model.alignment(image, *(model.encode_text(side) for side in prompts[name]))
        for (i, k), label in np.ndenumerate(part.labels.numpy()):
            if not math.isnan(label):
                term = F.binary_cross_entropy_with_logits(logits[i, k], torch.tensor(float(label)))
                total = total + settings.alignment_weight * term / known
    return total


@pytest.mark.parametrize("chunk", [0, 1, 3], ids=["one pass", "chunks of 1", "chunks of 3"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("frozen", [True, False], ids=["frozen text", "text that learns"])
def test_loss_and_gradients_equal_a_slow_loop(encoder, monkeypatch, frozen, reduction, chunk):
    settings = replace(SETTINGS, contrastive_weight=1.3, reduction=reduction, chunk_crops=chunk)
    learner = tiny_learner(encoder, settings, text_frozen=frozen)
    store, samples = eight_studies()
    names = list(samples)
    batch = batch_for(learner, store, {**samples, **uncertain({names[0]: samples[names[0]]})})
    losses, found = step_of(learner, batch, monkeypatch)
    learner.model.zero_grad()
    expected = slow_loss(learner, batch)
    expected.backward()
    assert losses["loss"] + 1.3 * losses["entropy"] == pytest.approx(expected.item(), rel=1e-5)
    assert losses["samples"] == 16
    slow = gradients(learner)
    assert found.keys() == slow.keys()
    for name in slow:
        torch.testing.assert_close(found[name], slow[name], atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_chunks_give_the_loss_and_gradients_of_one_pass(encoder, monkeypatch, chunk, device):
    store, _ = eight_studies()
    found = []
    for size in (0, chunk):
        learner = tiny_learner(encoder, replace(SETTINGS, chunk_crops=size), device=device, text_frozen=False)
        found.append(step_of(learner, batch_for(learner, store), monkeypatch))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-4, abs=1e-5)
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, atol=1e-5, rtol=1e-3, msg=name)


class Held:
    """A tensor that is kept for the way back, counted while it is; weights, which are there anyway, are not."""

    now = most = 0

    def __init__(self, tensor):
        self.tensor, self.size = tensor, 0 if isinstance(tensor, torch.nn.Parameter) else tensor.nbytes
        Held.now += self.size
        Held.most = max(Held.most, Held.now)

    def __del__(self):
        Held.now -= self.size


def test_chunks_keep_a_part_of_the_memory_for_the_way_back(encoder):
    store, most = small_store(32, seed=2), {}
    for size in (0, 4):
        learner = tiny_learner(encoder, replace(SETTINGS, chunk_crops=size, alignment_weight=0.0))
        batch = batch_for(learner, store)
        Held.now = Held.most = 0
        with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
            train_step(learner, batch, VOCABULARY)
        most[size] = Held.most
    assert most[4] < most[0] / 4  # 64 crops in chunks of 4, and what does not depend on chunks


def test_with_dropout_both_passes_over_a_chunk_draw_alike(encoder, monkeypatch):
    store, _ = eight_studies()
    found = []
    for size in (0, 100):  # one chunk draws what one pass draws
        learner = tiny_learner(encoder, replace(SETTINGS, chunk_crops=size), text_frozen=False, dropout=True)
        found.append(step_of(learner, batch_for(learner, store), monkeypatch)[1])
    quiet = tiny_learner(encoder, SETTINGS, text_frozen=False)
    _, still = step_of(quiet, batch_for(quiet, store), monkeypatch)
    name = "text.project.weight"
    torch.testing.assert_close(found[1][name], found[0][name], atol=1e-6, rtol=1e-4)
    assert not torch.allclose(found[0][name], still[name], rtol=1e-2)


def test_a_step_changes_the_weights_and_leaves_torchs_random_state_alone(encoder):
    learner = tiny_learner(encoder, dropout=True, text_frozen=False)
    store, _ = eight_studies()
    before, state = {name: value.clone() for name, value in learner.model.state_dict().items()}, torch.get_rng_state()
    losses = train_step(learner, batch_for(learner, store), VOCABULARY)
    assert torch.equal(torch.get_rng_state(), state)
    changed = [name for name, value in learner.model.state_dict().items() if not torch.equal(value, before[name])]
    assert {"log_scale", "text.project.weight", "pooling.queries.liver"} <= set(changed)
    assert learner.step == 1
    assert losses["learning_rate"] == pytest.approx(2e-3)
    assert losses["gradient"] > 0


def test_without_weight_a_term_costs_nothing(encoder, monkeypatch):
    asked = []
    monkeypatch.setattr(contrast_module, "pairing_targets", lambda *a, **o: asked.append("targets"))
    monkeypatch.setattr(step_module, "alignment_loss", lambda *a: asked.append("labels"))
    store, _ = eight_studies()
    learner = tiny_learner(encoder, replace(SETTINGS, contrastive_weight=0.0, alignment_weight=0.0))
    losses, found = step_of(learner, batch_for(learner, store), monkeypatch)
    assert losses["loss"] == 0
    assert asked == []
    assert all(float(gradient.abs().max()) == 0 for gradient in found.values())


def test_a_batch_without_abnormal_samples_has_no_contrastive_loss(encoder, monkeypatch):
    store = small_store(4, rate=0.0)
    learner = tiny_learner(encoder)
    shares = TargetShares()
    losses, _ = step_of(learner, batch_for(learner, store), monkeypatch, shares=shares)
    assert losses["contrastive"] == losses["entropy"] == 0
    assert losses["alignment"] > 0
    assert shares.figures() == {}


def test_an_anatomy_that_is_normal_throughout_does_not_count_among_the_anatomies(encoder, monkeypatch):
    store = small_store(6, rate=0.0)
    for row in store.texts:
        if row["anatomy"] == "liver" and row["study_id"] in ("s001", "s004"):
            row |= {"status": "abnormal", "text": f"There is a cyst {row['study_id']}."}
    learner = tiny_learner(encoder, replace(SETTINGS, alignment_weight=0.0))
    batch = batch_for(learner, store)
    whole, _ = step_of(learner, batch, monkeypatch)
    liver, _ = step_of(learner, replace(batch, anatomies={"liver": batch.anatomies["liver"]}), monkeypatch)
    assert whole["contrastive"] == pytest.approx(liver["contrastive"], rel=1e-5)


def test_the_peer_is_asked_only_where_the_targets_need_it(encoder, monkeypatch):
    store, _ = eight_studies()
    for mode, wanted in (("normal", 0), ("disease", 1)):
        learner = tiny_learner(encoder, replace(SETTINGS, pairing=PairingSettings(mode=mode)))
        asked, answer = [], learner.peer_features
        monkeypatch.setattr(
            learner, "peer_features", lambda texts, asked=asked, answer=answer: (asked.append(1), answer(texts))[1]
        )
        step_of(learner, batch_for(learner, store), monkeypatch)
        assert len(asked) == wanted


def test_settings_reach_the_targets(encoder, monkeypatch):
    asked = []

    def spy(*arguments, **options):
        asked.append((arguments, options))
        return pairing_targets(*arguments, **options)

    monkeypatch.setattr(contrast_module, "pairing_targets", spy)
    pairing = PairingSettings(mode="disease", mix="sum", overlap_weight=0.2, peer_temperature=0.3, use_peer=False)
    store, _ = eight_studies()
    learner = tiny_learner(encoder, replace(SETTINGS, pairing=pairing))
    step_of(learner, batch_for(learner, store), monkeypatch)
    arguments, options = asked[0]
    assert arguments[3] is None
    assert (options["mix"], options["overlap_weight"], options["peer_temperature"]) == ("sum", 0.2, 0.3)


def test_numbers_that_break_stop_before_the_weights_change_and_name_the_batch(encoder):
    store, _ = eight_studies()
    learner = tiny_learner(encoder)
    batch = batch_for(learner, store)
    batch.anatomies["kidney"].image.measures[1] = torch.nan
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    with pytest.raises(
        CtvlpError, match=r"step 1: loss nan .* must be finite numbers; studies of the batch: s000, s001"
    ):
        train_step(learner, batch, VOCABULARY)
    assert learner.step == 0
    assert all(torch.equal(value, before[name]) for name, value in learner.model.state_dict().items())


def test_bf16_gives_nearly_the_loss_of_float32(encoder, monkeypatch):
    store, _ = eight_studies()
    losses = {}
    for precision in ("float32", "bf16"):
        learner = tiny_learner(encoder, replace(SETTINGS, precision=precision))
        losses[precision], found = step_of(learner, batch_for(learner, store), monkeypatch)
        assert {gradient.dtype for gradient in found.values()} == {torch.float32}
    assert losses["bf16"]["loss"] == pytest.approx(losses["float32"]["loss"], rel=0.05)
    assert losses["bf16"]["loss"] != losses["float32"]["loss"]
