"""Validation during training: figures of split `val` by the averaged weights, the best of which are kept."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from screened_store import VOCABULARY, write_screened_store
from tiny_learner import SETTINGS, tiny_config
from tiny_text import write_tiny_encoder

from ctvlp import train as train_module
from ctvlp import validation
from ctvlp.checkpoint import BEST, find_checkpoints, load_run, read_checkpoint
from ctvlp.learner import build_learner
from ctvlp.metrics import auroc
from ctvlp.ranks import ALONE
from ctvlp.scoring import score_store
from ctvlp.train import train
from ctvlp.validation import validate
from preprocess.errors import StoreError
from preprocess.store import Store, study_path

QUICK = replace(SETTINGS, epochs=3, batch_studies=4, checkpoint_epochs=2, shifts=1, average=0.9)


class ValidatedStore(Store):
    """A store whose studies that are not trained on are for validation."""

    def manifest(self):
        table = super().manifest()
        return table.assign(split=table["split"].replace("test", "val"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("stored") / "store"
    write_screened_store(place, studies=20, train=8, seed=1)
    return ValidatedStore(place)


def run(store, out, encoder, settings=QUICK, **options):
    config = tiny_config(encoder)
    return train(store, out, vocabulary=VOCABULARY, model_config=config, settings=settings, **options)


def mean_auroc(store, model):
    """The same figure from the scores of screening, finding by finding."""
    scores, _ = score_store(store, model, VOCABULARY, splits=("val",))
    labels = store.table("labels").set_index("study_id")
    values = []
    for finding, rows in scores[scores["assessable"]].groupby("finding"):
        truth = labels.loc[rows["study_id"], finding].to_numpy(float) == 1
        if truth.any() and not truth.all():
            values.append(auroc(truth, rows["probability"].to_numpy(float)))
    return float(np.mean(values))


def test_the_figure_is_that_of_screening_with_the_averaged_weights_and_nothing_is_changed(store, encoder):
    learner = build_learner(tiny_config(encoder), VOCABULARY, QUICK, total_steps=10)
    for value in learner.average.values():
        value += 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
    before, state = {name: value.clone() for name, value in learner.model.state_dict().items()}, torch.get_rng_state()
    figures = validate(store, learner, VOCABULARY, ALONE)
    assert learner.model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in learner.model.state_dict().items())
    plain = mean_auroc(store, learner.model.eval())
    learner.model.load_state_dict(learner.average)
    assert figures["val_auroc"] == pytest.approx(mean_auroc(store, learner.model))
    assert figures["val_auroc"] != pytest.approx(plain)
    assert 0 <= figures["val_within"] <= 1
    labels = store.table("labels").set_index("study_id")
    assert figures["val_studies"] == 12
    assert 0 < figures["val_findings"] <= len(labels.columns) - 1


def test_each_epoch_is_validated_and_the_best_weights_are_kept(store, encoder, tmp_path):
    last = run(store, tmp_path, encoder)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    judged = {line["step"]: line["val_auroc"] for line in lines if "val_auroc" in line}
    assert list(judged) == [2, 4, 6]
    best = max(judged, key=lambda step: (judged[step], -step))
    kept = load_run(tmp_path / BEST)
    assert kept.step == best
    assert mean_auroc(store, kept.model) == pytest.approx(judged[best])
    assert kept.split_path.is_file()
    assert find_checkpoints(tmp_path)[-1] == last
    assert read_checkpoint(last)["best"] == {"step": best, "value": judged[best]}


def test_validation_does_not_change_the_weights(store, encoder, tmp_path):
    judged, plain = (
        read_checkpoint(run(store, tmp_path / name, encoder, replace(QUICK, validate_epochs=every)))
        for name, every in (("judged", 1), ("plain", 0))
    )
    for name, value in judged["model"]["weights"].items():
        assert torch.equal(plain["model"]["weights"][name], value), name
    assert plain["best"] is None
    assert not (tmp_path / "plain" / BEST).exists()


def test_a_run_that_goes_on_remembers_its_best(store, encoder, tmp_path, monkeypatch):
    values = iter([0.9, 0.5, 0.6, 0.7])
    monkeypatch.setattr(train_module, "validate", lambda *a: {"val_auroc": next(values)})

    def stop(done, total, line):
        if done == 5:  # after the checkpoint of the second epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, tmp_path, encoder, progress=stop)
    run(store, tmp_path, encoder)
    assert load_run(tmp_path / BEST).step == 2
    assert read_checkpoint(find_checkpoints(tmp_path)[-1])["best"] == {"step": 2, "value": 0.9}


@pytest.mark.parametrize(
    ("missing", "reasons"),
    [
        ("studies", []),
        ("positives", ["split 'val' is not judged: no finding has both a positive and a negative study"]),
    ],
)
def test_where_nothing_can_be_judged_the_reason_is_told_once(store, encoder, missing, reasons, monkeypatch, caplog):
    validation._warn_once.cache_clear()
    learner = build_learner(tiny_config(encoder), VOCABULARY, QUICK, total_steps=10)
    if missing == "studies":
        monkeypatch.setattr(store, "manifest", lambda: Store.manifest(store))
    else:
        table = Store.table(store, "labels")
        calm = table.assign(**dict.fromkeys(table.columns[2:], pd.array([0] * len(table), dtype="Int8")))
        monkeypatch.setattr(store, "table", lambda name: calm if name == "labels" else Store.table(store, name))
    for _ in range(2):
        assert validate(store, learner, VOCABULARY, ALONE) == {}
    assert caplog.messages == reasons


def test_a_damaged_study_stops_the_run_and_is_named(encoder, tmp_path):
    write_screened_store(tmp_path / "store", studies=6, train=4)
    for study in ("004abc", "005abc"):
        path = study_path(tmp_path / "store", study)
        data = bytearray(path.read_bytes())
        data[len(data) // 3 : len(data) // 3 + 400] = bytes(400)
        path.write_bytes(data)
    with pytest.raises(StoreError, match=r"split 'val': .*004abc"):
        run(ValidatedStore(tmp_path / "store"), tmp_path / "run", encoder)
