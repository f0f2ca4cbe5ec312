"""Training: it learns plain findings, goes on exactly where it stopped, and stops where numbers break."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_store import FINDINGS, small_store, small_vocabulary
from tiny_text import write_tiny_encoder

from ctvlp import train as train_module
from ctvlp.augmentation import AugmentationSettings
from ctvlp.batches import build_image_batch
from ctvlp.checkpoint import find_checkpoints, load_run, read_checkpoint
from ctvlp.data import TokenSource, build_batch
from ctvlp.learner import build_learner
from ctvlp.model import build_config
from ctvlp.samples import read_samples
from ctvlp.settings import PairingSettings, TrainingSettings
from ctvlp.train import train, train_step
from preprocess.errors import CtvlpError, InputError

VOCABULARY = small_vocabulary()
QUICK = TrainingSettings(epochs=4, batch_studies=4, learning_rate=2e-3, checkpoint_epochs=1, shifts=2, seed=3)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    encoder = str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))
    return build_config(width=16, depth=1, heads=2, stem_width=4, embed_dim=16, text_encoder=encoder)


class Interrupt(Exception):
    pass


def interrupt_at(step):
    def progress(done, total, line):
        if done == step:
            raise Interrupt

    return progress


def run(out, config, settings=QUICK, store=None, **options):
    return train(
        store or small_store(10), out, vocabulary=VOCABULARY, model_config=config, settings=settings, **options
    )


def differences(first, second, path=""):
    """Places at which two checkpoints differ."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [path]
    if isinstance(first, dict):
        assert list(first) == list(second)
        return [place for key in first for place in differences(first[key], second[key], f"{path}.{key}")]
    if isinstance(first, list | tuple):
        assert len(first) == len(second)
        return [
            p for i, (a, b) in enumerate(zip(first, second, strict=True)) for p in differences(a, b, f"{path}[{i}]")
        ]
    return [] if first == second else [path]


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen text", "text that learns"])
def test_a_run_that_was_interrupted_ends_with_the_same_weights(tmp_path, config, frozen):
    config = replace(config, text_frozen=frozen)
    straight = run(tmp_path / "straight", config)
    assert find_checkpoints(tmp_path / "straight")[-1] == straight
    for step in (3, 7):  # in the second and in the fourth epoch
        with pytest.raises(Interrupt):
            run(tmp_path / "broken", config, progress=interrupt_at(step))
    resumed = run(tmp_path / "broken", config)
    assert differences(read_checkpoint(straight), read_checkpoint(resumed)) == []
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("straight", "broken")]
    steps = [[(line["step"], line["loss"]) for line in map(json.loads, log)] for log in logs]
    assert steps[0] == steps[1]
    assert [step for step, _ in steps[0]] == list(range(1, len(steps[0]) + 1))


def test_two_checkpoints_are_kept_and_nothing_half_written(tmp_path, config):
    run(tmp_path, config)
    names = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("text_"))
    assert len(find_checkpoints(tmp_path)) == 2
    assert names == sorted([path.name for path in find_checkpoints(tmp_path)] + ["log.jsonl", "split.parquet"])


def test_a_finished_run_does_nothing_more(tmp_path, config):
    path = run(tmp_path, config)
    before = path.stat().st_mtime_ns
    steps = []
    assert run(tmp_path, config, progress=lambda done, total, line: steps.append(done)) == path
    assert (steps, path.stat().st_mtime_ns) == ([], before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": replace(QUICK, seed=4)}, "was made with seed=3, asked for is seed=4"),
        (
            {"settings": replace(QUICK, shuffle_reports=True)},
            "shuffle_reports=False, asked for is shuffle_reports=True",
        ),
        ({"model": {"depth": 2}}, "was made with a model of depth=1, asked for is depth=2"),
    ],
    ids=["seed", "control", "model"],
)
def test_a_folder_of_another_run_is_refused(tmp_path, config, change, message):
    short = replace(QUICK, epochs=1)
    run(tmp_path, config, short)
    settings = replace(change.get("settings", QUICK), epochs=1)
    with pytest.raises(InputError, match=message):
        run(tmp_path, replace(config, **change.get("model", {})), settings)


def test_the_split_of_a_run_says_what_it_was_trained_on(tmp_path, config):
    run(tmp_path, config, replace(QUICK, epochs=1), small_store(6, test=3))
    table = pd.read_parquet(load_run(tmp_path).split_path).set_index("study_id")
    assert table["split"].to_dict() == {f"s{i:03d}": "train" if i < 6 else "test" for i in range(9)}
    assert table["patient_id"].nunique() < 9


def test_the_control_trains_on_other_studies_reports(tmp_path, config, monkeypatch):
    seen = {}
    original = train_module.build_batch

    def spy(studies, samples, *rest, **options):
        seen.update({(s.study_id, s.anatomy): s.labels.tolist() for group in samples.values() for s in group})
        return original(studies, samples, *rest, **options)

    monkeypatch.setattr(train_module, "build_batch", spy)
    store = small_store(12)
    run(tmp_path, config, replace(QUICK, epochs=1, shuffle_reports=True), store)
    own = {(s.study_id, s.anatomy): s.labels.tolist() for s in read_samples(store, VOCABULARY)}
    assert seen.keys() == own.keys()
    assert seen != own


def test_mixed_texts_are_trained_on_in_both_wordings(tmp_path, config, monkeypatch):
    seen = set()
    original = train_module.build_batch

    def spy(*arguments, **options):
        batch = original(*arguments, **options)
        seen.update(batch.texts)
        return batch

    monkeypatch.setattr(train_module, "build_batch", spy)
    store = small_store(6, rate=1.0)
    run(tmp_path, config, replace(QUICK, epochs=2, text="mixed"), store)
    raw, canonical = ({row[column] for row in store.texts} for column in ("text", "canonical"))
    assert seen <= raw | canonical
    assert seen & raw
    assert seen & canonical


def test_numbers_that_break_stop_the_run_and_name_the_batch(tmp_path, config, monkeypatch):
    monkeypatch.setattr(train_module, "alignment_loss", lambda logits, labels: logits.sum() * float("nan"))
    with pytest.raises(CtvlpError, match=r"step 1: .*nan.*studies of the batch: s\d\d\d, s\d\d\d"):
        run(tmp_path, config)
    assert find_checkpoints(tmp_path) == []


def one_batch(config, settings, store):
    learner = build_learner(config, VOCABULARY, settings, total_steps=10)
    samples = {}
    for sample in read_samples(store, VOCABULARY):
        samples.setdefault(sample.study_id, []).append(sample)
    source = TokenSource(store, learner.model, shifts=1, seed=0, in_memory=True)
    return learner, build_batch(sorted(samples), samples, source, VOCABULARY, np.random.default_rng(0))


def test_gradients_gathered_anatomy_by_anatomy_are_those_of_the_whole_loss(config, monkeypatch):
    still = AugmentationSettings(offset_hu=0, contrast=0, noise_hu=0, size=0)
    settings = replace(QUICK, augmentation=still, alignment_weight=0.7, contrastive_weight=1.3)
    learner, batch = one_batch(config, settings, small_store(8))
    monkeypatch.setattr(learner, "update", lambda: 0.0)
    prompts_rng = np.random.default_rng(5)
    prompts = {name: train_module.draw_prompts(VOCABULARY.of(name), prompts_rng) for name in batch.anatomies}
    losses = train_step(learner, batch, VOCABULARY, np.random.default_rng(5))
    gathered = {name: p.grad.clone() for name, p in learner.model.named_parameters() if p.grad is not None}
    learner.model.zero_grad()

    model, parts = learner.model, batch.anatomies
    texts = model.encode_text(batch.texts)
    known = sum(int((~part.labels.isnan()).sum()) for part in parts.values())
    whole = torch.zeros(())
    for name, part in parts.items():
        image, said = model.encode_image(part.image), texts[part.text_row]
        targets = train_module.pairing_targets(
            part.abnormal,
            part.text_id,
            part.findings,
            (said @ said.T).detach(),
            mode="disease",
            exclude=part.exclude,
        )
        term = train_module.contrastive_loss(image, said, model.logit_scale, targets, exclude=part.exclude)
        whole = whole + 1.3 * term / len(parts)
        logits = model.alignment(image, *(model.encode_text(side) for side in prompts[name]))
        whole = whole + 0.7 * train_module.alignment_loss(logits, part.labels) / known
    whole.backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert gathered.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(gathered[name], expected[name], atol=1e-5, rtol=1e-3, msg=name)
    assert losses["contrastive"] + losses["entropy"] > 0


def test_plain_findings_are_found_in_studies_that_were_not_trained_on(tmp_path, config):
    store = small_store(48, seed=1, test=40)
    settings = TrainingSettings(epochs=50, batch_studies=12, learning_rate=5e-3, shifts=1, average=0.9)
    loaded = load_run(run(tmp_path, replace(config, stem_width=8), settings, store))
    studies = [study for study in store.studies if int(study[1:]) >= 48]
    truth = pd.DataFrame(store.labels).set_index("study_id").loc[studies, "liver.fatty_liver"].to_numpy()
    tokens = [loaded.model.tokenize(store.studies[study].crops["liver"], "liver") for study in studies]
    finding = VOCABULARY.finding("liver.fatty_liver")
    with torch.no_grad():
        image = loaded.model.encode_image(build_image_batch("liver", tokens))
        stating, denying = (loaded.model.encode_text(side).mean(0) for side in (finding.positive, finding.negative))
    margin = (image @ (stating - denying)).numpy()
    pairs = margin[truth == 1][:, None] > margin[truth == 0][None]
    assert pairs.mean() > 0.9
    assert FINDINGS[0] == finding.id


def test_settings_reach_the_targets(config, monkeypatch):
    asked = []
    original = train_module.pairing_targets

    def spy(*arguments, **options):
        asked.append((arguments, options))
        return original(*arguments, **options)

    monkeypatch.setattr(train_module, "pairing_targets", spy)
    pairing = PairingSettings(mode="disease", mix="sum", overlap_weight=0.2, peer_temperature=0.3, use_peer=False)
    learner, batch = one_batch(config, replace(QUICK, pairing=pairing), small_store(6))
    train_step(learner, batch, VOCABULARY, np.random.default_rng(0))
    arguments, options = asked[0]
    assert arguments[3] is None
    assert (options["mix"], options["overlap_weight"], options["peer_temperature"]) == ("sum", 0.2, 0.3)
