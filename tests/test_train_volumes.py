"""Training of the volume encoder: from whole volumes in the store to a checkpoint that screens."""

import json
from dataclasses import replace

import pytest
import torch
from small_store import small_vocabulary
from tiny_text import write_tiny_encoder

from ctvlp.checkpoint import load_run
from ctvlp.model import build_config
from ctvlp.settings import TrainingSettings
from ctvlp.train import train
from ctvlp.windows import WindowGrid
from preprocess.errors import InputError
from tests.whole_volumes import volume_store

VOCABULARY = small_vocabulary()
QUICK = {"epochs": 2, "batch_studies": 4, "learning_rate": 2e-3, "checkpoint_epochs": 1, "seed": 3}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return build_config(
        encoder="volume",
        width=16,
        depth=4,
        heads=2,
        embed_dim=16,
        volume_window=(12, 16, 24),
        volume_patch=(4, 8, 8),
        text_encoder=str(write_tiny_encoder(tmp_path_factory.mktemp("encoder"))),
    )


def run(out, config, progress=None, **changes):
    settings = TrainingSettings(**QUICK | changes)
    path = train(volume_store(9), out, vocabulary=VOCABULARY, model_config=config, settings=settings, progress=progress)
    return path, [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_run_learns_and_its_checkpoint_keeps_the_encoder(tmp_path, config):
    path, log = run(tmp_path, config, epochs=30, batch_studies=9, learning_rate=1e-2)
    losses = [line["loss"] for line in log]
    assert sum(losses[-7:]) < sum(losses[:7])
    loaded = load_run(path).model
    assert loaded.config.encoder == "volume"
    assert loaded.window == WindowGrid((12, 16, 24), (4, 8, 8))


def test_memory_for_one_window_gives_the_gradients_of_the_whole_batch(tmp_path, config):
    (whole, log), (chunked, log_of_chunks) = (
        run(tmp_path / str(most), config, chunk_crops=most, epochs=1) for most in (0, 1)
    )
    for a, b in zip(log, log_of_chunks, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["gradient"] == pytest.approx(b["gradient"], rel=1e-3)
    weights = [load_run(path).model.vision.state_dict() for path in (whole, chunked)]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=2e-3, rtol=1e-2)


class Interrupt(Exception):
    pass


def test_a_run_goes_on_with_blocks_that_are_recomputed(tmp_path, config):
    def stop_in_the_second_epoch(done, total, line):
        if done == total // 2 + 1:
            raise Interrupt

    with pytest.raises(Interrupt):
        run(tmp_path, config, progress=stop_in_the_second_epoch)
    with pytest.raises(InputError, match=r"volume_window=\(12, 16, 24\), asked for is volume_window=\(12, 16, 32\)"):
        run(tmp_path, replace(config, volume_window=(12, 16, 32)))
    path, log = run(tmp_path, replace(config, checkpoint_blocks=True))
    assert load_run(path).step == len(log)
    assert load_run(path).config.checkpoint_blocks
