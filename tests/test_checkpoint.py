"""Checkpoints: whole or absent, two kept, loadable for screening, refused in one clear line."""

import itertools
import resource
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from small_store import ball_crop, small_vocabulary
from tiny_learner import differences
from tiny_text import write_tiny_encoder

from ctvlp.batches import build_image_batch
from ctvlp.checkpoint import find_checkpoints, load_run, read_checkpoint, write_best, write_checkpoint
from ctvlp.learner import build_learner
from ctvlp.model import build_config
from ctvlp.settings import TrainingSettings
from preprocess.errors import InputError

VOCABULARY = small_vocabulary()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


def build(encoder, **settings):
    config = build_config(
        width=16, depth=1, heads=2, stem_width=4, embed_dim=8, text_encoder=str(encoder), patch_by_anatomy={"liver": 12}
    )
    return build_learner(config, VOCABULARY, TrainingSettings(**settings), total_steps=10)


def vectors(model):
    tokens = model.tokenize(ball_crop(np.random.default_rng(0), set(), anatomy="liver"), "liver")
    with torch.no_grad():
        return model.encode_image(build_image_batch("liver", [tokens])), model.encode_text(["fatty liver"])


def test_a_loaded_run_gives_the_vectors_of_the_saved_model(tmp_path, encoder):
    learner = build(encoder, average=0.0, seed=5)
    write_checkpoint(tmp_path, 7, {**learner.state(VOCABULARY, epoch=2), "step": 7})
    run = load_run(tmp_path)
    assert (run.step, run.epoch, run.settings["seed"]) == (7, 2, 5)
    assert run.config == learner.model.config
    assert run.vocabulary.digest == VOCABULARY.digest
    assert not run.model.training
    for found, expected in zip(vectors(run.model), vectors(learner.model.eval()), strict=True):
        assert torch.equal(found, expected)


def test_screening_takes_the_averaged_weights_where_there_are_any(tmp_path, encoder):
    learner = build(encoder, average=0.9)
    learner.average["log_scale"] += 1.0
    write_checkpoint(tmp_path, 1, learner.state(VOCABULARY, epoch=1))
    assert float(load_run(tmp_path).model.log_scale.detach()) == pytest.approx(float(learner.average["log_scale"]))


def test_the_last_two_are_kept_and_the_latest_is_loaded(tmp_path, encoder):
    learner = build(encoder)
    for step in (9, 10, 200):
        write_checkpoint(tmp_path, step, {**learner.state(VOCABULARY, epoch=1), "step": step})
    assert [path.name for path in find_checkpoints(tmp_path)] == ["checkpoint-00000010.pt", "checkpoint-00000200.pt"]
    assert load_run(tmp_path).step == 200
    assert load_run(find_checkpoints(tmp_path)[0]).step == 10


@contextmanager
def room_for(size):
    """The system refuses to write more than so many bytes of a file, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("part", [0.01, 0.5, 0.999])
def test_a_write_that_fails_leaves_the_older_checkpoints_and_no_new_one(tmp_path, encoder, part):
    state = build(encoder).state(VOCABULARY, epoch=1)
    size = write_checkpoint(tmp_path, 1, state).stat().st_size
    with room_for(int(part * size)):
        for write in (lambda: write_checkpoint(tmp_path, 2, state), lambda: write_best(tmp_path, state)):
            with pytest.raises(OSError, match="File too large") as caught:
                write()
            assert Path(caught.value.filename).parent == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000001.pt"]
    assert [path.name for path in find_checkpoints(tmp_path)] == ["checkpoint-00000001.pt"]
    assert load_run(tmp_path).step == 0


def test_the_text_encoder_may_have_moved_but_must_be_the_same(tmp_path, encoder):
    write_checkpoint(tmp_path, 1, build(encoder).state(VOCABULARY, epoch=1))
    moved = write_tiny_encoder(tmp_path / "moved")
    assert load_run(tmp_path, text_encoder=str(moved)).config.text_encoder == str(moved)
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match=r"was trained with text encoder \w{16}, but .*other is \w{16}"):
        load_run(tmp_path, text_encoder=str(other))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None], ids=["empty", "text", "other schema"])
def test_what_is_no_checkpoint_is_refused_by_name(tmp_path, content):
    path = tmp_path / "checkpoint-00000001.pt"
    if content is None:
        torch.save({"schema": 99}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"checkpoint-00000001\.pt: (cannot be read as a checkpoint|expected a checkpoint)"
    ):
        load_run(tmp_path)


def test_damage_is_noticed_wherever_it_is(tmp_path, encoder):
    path = write_checkpoint(tmp_path, 1, build(encoder).state(VOCABULARY, epoch=1))
    whole, content = read_checkpoint(path), path.read_bytes()
    unnoticed = []
    for place in range(7, len(content), len(content) // 60):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with suppress(InputError):
            unnoticed.append(read_checkpoint(path))
    assert len(unnoticed) < 20
    assert all(differences(state, whole) == [] for state in unnoticed)  # in bytes that mean nothing


def test_a_damaged_checkpoint_is_refused_with_the_name_of_the_older_one(tmp_path, encoder):
    state = build(encoder).state(VOCABULARY, epoch=1)
    write_checkpoint(tmp_path, 3, state)
    path = write_checkpoint(tmp_path, 5, state)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"00005\.pt: cannot be .*; remove it to go on from checkpoint-00000003\.pt$"):
        load_run(tmp_path)


def test_code_hidden_in_a_checkpoint_is_not_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return (tmp_path.joinpath("harm").touch, ())

    torch.save({"schema": 1, "step": Harm()}, tmp_path / "checkpoint-00000001.pt")
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / "checkpoint-00000001.pt")
    assert not (tmp_path / "harm").exists()


def test_a_folder_without_checkpoints_is_refused(tmp_path):
    with pytest.raises(InputError, match="no checkpoint here"):
        load_run(tmp_path)
    with pytest.raises(InputError, match="no checkpoint here"):
        load_run(tmp_path / "missing")


def test_the_restored_state_goes_on_with_optimiser_and_peer(tmp_path, encoder):
    learner = build(encoder)
    for p in learner.model.parameters():
        p.grad = torch.ones_like(p)
    learner.update()
    path = write_checkpoint(tmp_path, 1, learner.state(VOCABULARY, epoch=1))
    other = build(encoder, seed=9)
    other.restore(read_checkpoint(path))
    for one in (learner, other):
        for p in one.model.parameters():
            p.grad = torch.ones_like(p)
        one.update()
    for name, value in learner.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])
    assert torch.equal(learner.peer.project.weight, other.peer.project.weight)
    assert learner.step == other.step == 2


def test_the_learning_rate_rises_then_falls_to_its_last_share(encoder):
    learner = build(encoder, learning_rate=1.0, warmup=0.2, final_rate=0.1)
    rates = []
    for learner.step in range(10):
        rates.append(learner.learning_rate())
    np.testing.assert_allclose(rates[:3], [0.5, 1.0, 1.0])
    assert all(a > b for a, b in itertools.pairwise(rates[2:]))
    learner.step = 10
    assert learner.learning_rate() == pytest.approx(0.1)
