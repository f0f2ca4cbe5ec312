"""Trains a small run, killed at one instant of writing after the other, in the middle of saves too."""

import io
import os
import sys
from pathlib import Path

import torch
from killing import kill_one_run_after_the_other
from small_store import small_store, small_vocabulary

from ctvlp.model import build_config
from ctvlp.settings import TrainingSettings
from ctvlp.train import train

SETTINGS = TrainingSettings(epochs=2, batch_studies=4, checkpoint_epochs=1, shifts=1, seed=3, threads=1)


def train_small(out, encoder):
    config = build_config(width=16, depth=1, heads=2, stem_width=4, embed_dim=16, text_encoder=encoder)
    train(small_store(6), out, vocabulary=small_vocabulary(), model_config=config, settings=SETTINGS)


def save_in_two(state, stream):
    """`torch.save`, with a flush to disk when half of the file is written: an instant at which a run is killed."""
    whole = io.BytesIO()
    save(state, whole)
    middle = len(whole.getbuffer()) // 2
    stream.write(whole.getbuffer()[:middle])
    stream.flush()
    os.fsync(stream.fileno())
    stream.write(whole.getbuffer()[middle:])


save = torch.save

if __name__ == "__main__":
    place = Path(sys.argv[1])
    torch.save = save_in_two
    kills = kill_one_run_after_the_other(lambda: train_small(place / "killed", sys.argv[2]))
    train_small(place / "straight", sys.argv[2])
    sys.stdout.write(str(kills))
