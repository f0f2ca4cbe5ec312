"""The benchmarks of the training step: the usual step and ours are one computation, and what is counted is right."""

from dataclasses import replace

import pytest
import torch
from small_store import small_vocabulary
from tiny_text import write_tiny_encoder
from torch import nn

from benchmarks.invented_batch import NORMAL_SENTENCES, fitting_patch, invented_batch, still_learner
from benchmarks.scaling import fit_exponent
from benchmarks.step_point import Point, measure_here
from benchmarks.step_profile import Products, marked_parts, profile_parts, seconds_of_products
from benchmarks.usual_step import UsualStep
from ctvlp.model import build_config
from ctvlp.settings import PairingSettings, TrainingSettings
from ctvlp.step import train_step

VOCABULARY = small_vocabulary()
EDGE = 16


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))


def tiny_learner(encoder: str, *, frozen: bool = True, mode: str = "disease", mix: str = "mixture"):
    config = build_config(
        width=16, depth=1, heads=2, stem_width=4, embed_dim=16, text_encoder=encoder, text_frozen=frozen
    )
    pairing = PairingSettings(mode=mode, mix=mix)  # type: ignore[arg-type]
    return still_learner(config, VOCABULARY, TrainingSettings(alignment_weight=0.0, pairing=pairing))


def gradients_of(learner, step, monkeypatch):
    """The result of a step, and the gradients with which it would have changed the weights."""
    monkeypatch.setattr(learner, "update", lambda: 0.0)
    result = step()
    return result, {name: p.grad for name, p in learner.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen text", "text that learns"])
@pytest.mark.parametrize(
    ("mode", "mix"),
    [("disease", "mixture"), ("disease", "sum"), ("normal", "mixture")],
    ids=["mixture", "sum", "normal"],
)
def test_both_steps_give_one_loss_and_one_gradient(encoder, frozen, mode, mix, monkeypatch):
    ours, theirs = (tiny_learner(encoder, frozen=frozen, mode=mode, mix=mix) for _ in range(2))
    batch = invented_batch(range(10), ours.model, VOCABULARY, edge=EDGE)
    assert {bool(sick) for part in batch.anatomies.values() for sick in part.abnormal} == {True, False}
    losses, mine = gradients_of(ours, lambda: train_step(ours, batch, VOCABULARY), monkeypatch)
    usual, others = gradients_of(theirs, lambda: UsualStep(theirs, padded=64)(batch), monkeypatch)
    assert usual == pytest.approx(losses["contrastive"], abs=1e-5)
    assert mine.keys() == others.keys()
    for name in mine:
        torch.testing.assert_close(mine[name], others[name], atol=1e-5, rtol=1e-3, msg=name)


def test_an_invented_study_is_the_same_in_every_batch(encoder):
    model = tiny_learner(encoder).model
    whole = invented_batch(range(6), model, VOCABULARY, edge=EDGE)
    odd = invented_batch(range(1, 6, 2), model, VOCABULARY, edge=EDGE)
    for name, part in odd.anatomies.items():
        assert torch.equal(part.text_id, whole.anatomies[name].text_id[1::2])
        assert torch.equal(part.labels, whole.anatomies[name].labels[1::2])
        assert torch.equal(part.image.measures, whole.anatomies[name].image.measures[1::2])


def test_invented_texts_say_what_the_labels_say(encoder):
    batch = invented_batch(range(12), tiny_learner(encoder).model, VOCABULARY, edge=EDGE)
    for name, part in batch.anatomies.items():
        normal = {sentence.format(VOCABULARY.anatomies[name].title) for sentence in NORMAL_SENTENCES}
        for row, text_row in enumerate(part.text_row.tolist()):
            text, stated = batch.texts[text_row], part.labels[row] == 1
            assert bool(part.abnormal[row]) == bool(stated.any()) == (text not in normal)
            assert [finding.name in text for finding in VOCABULARY.of(name)] == stated.tolist()


def test_the_patch_is_the_smallest_that_fits():
    config = build_config(patch_voxels=(4, 8, 16), max_tokens=40)
    assert [fitting_patch(config, edge) for edge in (8, 20, 60)] == [4, 8, 16]


def product(rows: int, depth: int, columns: int) -> int:
    return 2 * rows * depth * columns


def test_products_are_counted_forward_and_backward_and_can_be_repeated():
    layer = nn.Linear(5, 7)
    given = torch.randn(3, 5, requires_grad=True)
    with Products() as products:
        layer(given).sum().backward()
    assert products.flops == 3 * product(3, 5, 7)
    assert sum(products.calls.values()) == 3
    assert seconds_of_products(products, rounds=1) > 0


def test_the_cpus_fused_attention_is_counted():
    query, key, value = (torch.randn(2, 3, 6, 8, requires_grad=True) for _ in range(3))
    with Products() as products, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):
        nn.functional.scaled_dot_product_attention(query, key, value).sum().backward()
    assert products.flops == (2 + 5) * 2 * 3 * product(6, 8, 6)
    assert seconds_of_products(products, rounds=1) > 0


def test_time_of_a_step_is_told_by_part(encoder):
    learner = tiny_learner(encoder, frozen=False)
    batch = invented_batch(range(6), learner.model, VOCABULARY, edge=EDGE)
    with marked_parts(learner):
        seconds, products, whole = profile_parts(lambda: train_step(learner, batch, VOCABULARY))
    both = {(part, way) for part in ("text", "stem", "blocks", "pooling", "loss") for way in ("forward", "backward")}
    assert both | {("pairing", "forward"), ("optimiser", "forward")} <= seconds.keys()
    assert ("pairing", "backward") not in seconds
    assert 0 < products < whole
    assert 0 < sum(seconds.values()) <= whole


@pytest.mark.parametrize(("power", "factor"), [(1.0, 3.0), (2.0, 0.1), (0.5, 7.0)])
def test_exponents_of_a_power_law(power, factor):
    sizes = [2, 4, 8, 16]
    assert fit_exponent(sizes, [factor * size**power for size in sizes]) == pytest.approx(power)


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_point_has_one_loss_whatever_its_chunks(encoder, chunk):
    point = Point(studies=6, anatomies=2, edge=EDGE, steps=1, encoder=encoder)
    whole, chunked = (measure_here(one, {}) for one in (point, replace(point, chunk=chunk)))
    assert chunked.loss == pytest.approx(whole.loss, abs=1e-5)
    assert chunked.tokens == whole.tokens > 1
    assert whole.seconds > 0
