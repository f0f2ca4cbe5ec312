"""Training: it learns plain findings, goes on exactly where it stopped, and stops where numbers break."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from screened_store import write_screened_store
from small_store import FINDINGS, small_store, small_vocabulary
from test_ranks import torchrun
from tiny_learner import differences
from tiny_text import write_tiny_encoder

from ctvlp import step as step_module
from ctvlp import train as train_module
from ctvlp.batches import build_image_batch
from ctvlp.checkpoint import BEST, find_checkpoints, load_run, read_checkpoint
from ctvlp.model import build_config
from ctvlp.ranks import ALONE
from ctvlp.run_folder import LOCK, open_run
from ctvlp.samples import read_samples
from ctvlp.settings import PairingSettings, TrainingSettings
from ctvlp.train import train
from preprocess.errors import CtvlpError, InputError
from preprocess.signals import Terminated, raise_on_sigterm

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


def test_a_run_of_an_earlier_version_screens_and_does_not_go_on(tmp_path, config):
    path = run(tmp_path / "run", config)
    torch.save({**read_checkpoint(path), "schema": 1}, path)
    assert load_run(tmp_path / "run").path == path
    with pytest.raises(InputError, match="an earlier version made it"):
        run(tmp_path / "run", config)


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


def test_a_checkpoint_within_an_epoch_is_gone_on_from_to_the_same_weights(tmp_path, config):
    straight = read_checkpoint(run(tmp_path / "straight", config))
    timed = replace(QUICK, checkpoint_minutes=1e-6)
    with pytest.raises(Interrupt):
        run(tmp_path / "broken", config, timed, progress=interrupt_at(5))  # the second step of three
    state = read_checkpoint(find_checkpoints(tmp_path / "broken")[-1])
    assert (state["step"], state["epoch"]) == (5, 1)
    resumed = read_checkpoint(run(tmp_path / "broken", config))
    del straight["settings"], resumed["settings"]
    assert differences(straight, resumed) == []
    assert len(find_checkpoints(tmp_path / "broken")) == 2


def signal_at(step, number, *, times=1):
    """Sends a signal to this process and to those that build its batches, as a terminal or a cluster does."""

    def progress(done, total, line):
        if done == step:
            processes = [str(process.pid) for process in (psutil.Process(), *active_children())]
            for _ in range(times):
                subprocess.run(["kill", f"-{number:d}", *processes], check=True)

    return progress


@pytest.mark.parametrize(
    ("number", "stopped", "workers"),
    [(signal.SIGINT, KeyboardInterrupt, 0), (signal.SIGTERM, Terminated, 1)],
    ids=["SIGINT", "SIGTERM, loader process"],
)
def test_a_run_that_is_asked_to_end_does_so_after_its_step_and_loses_nothing(
    tmp_path, config, number, stopped, workers
):
    straight = read_checkpoint(run(tmp_path / "straight", config))
    settings = replace(QUICK, loader_workers=workers, loader_start="fork")
    with raise_on_sigterm(), pytest.raises(stopped):
        run(tmp_path / "broken", config, settings, progress=signal_at(1, number))
    assert [path.stem[-1] for path in find_checkpoints(tmp_path / "broken")] == ["2"]
    assert len((tmp_path / "broken" / "log.jsonl").read_text().splitlines()) == 2
    resumed = read_checkpoint(run(tmp_path / "broken", config))
    assert differences(straight, resumed) == []


def test_a_run_that_is_asked_twice_to_end_does_so_at_once(tmp_path, config):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, config, progress=signal_at(1, signal.SIGINT, times=2))
    assert find_checkpoints(tmp_path) == []
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_a_folder_in_which_another_run_works_is_refused_until_that_has_ended(tmp_path, config):
    with open_run(tmp_path, ALONE), pytest.raises(InputError, match=rf"process {os.getpid()} on \S+ trains here"):
        run(tmp_path, config, replace(QUICK, epochs=1))
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    run(tmp_path, config, replace(QUICK, epochs=1))


def test_what_a_run_left_that_was_killed_before_its_first_checkpoint_is_no_part_of_the_next_one(tmp_path, config):
    with pytest.raises(Interrupt):
        run(tmp_path, config, progress=interrupt_at(1))
    (tmp_path / BEST).write_bytes(b"of other weights")
    run(tmp_path, config, replace(QUICK, epochs=1, seed=5), small_store(4))
    assert not (tmp_path / BEST).exists()
    assert pd.read_parquet(tmp_path / "split.parquet")["used"].sum() == 4


def other_text(store):
    store.texts[0]["text"] = "Steatosis."


def other_label(store):
    store.labels[0][FINDINGS[0]] = 1 - store.labels[0][FINDINGS[0]]


def other_patient(store):
    for row in store.rows[:2]:
        row["patient_id"] = "p999"


def other_split(store):
    for row in store.rows[:2]:
        row["split"] = "test"


@pytest.mark.parametrize("change", [other_text, other_label, other_patient, other_split])
def test_a_run_goes_on_with_its_own_studies_alone_and_remembers_them(tmp_path, config, change):
    short = replace(QUICK, epochs=1)
    run(tmp_path, config, short)
    split = (tmp_path / "split.parquet").read_bytes()
    store = small_store(10)
    change(store)
    with pytest.raises(InputError, match="was made with other studies, reports or labels than the store now has"):
        run(tmp_path, config, short, store)
    assert (tmp_path / "split.parquet").read_bytes() == split


def test_a_run_that_goes_on_leaves_its_table_of_studies_as_it_was(tmp_path, config):
    run(tmp_path, config, replace(QUICK, epochs=1))
    split = (tmp_path / "split.parquet").read_bytes()
    run(tmp_path, config, replace(QUICK, epochs=1), small_store(10, test=2))  # more studies, none to train on
    assert (tmp_path / "split.parquet").read_bytes() == split


def test_two_checkpoints_are_kept_and_nothing_half_written(tmp_path, config):
    run(tmp_path, config)
    names = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("text_"))
    assert len(find_checkpoints(tmp_path)) == 2
    assert names == sorted([path.name for path in find_checkpoints(tmp_path)] + ["log.jsonl", LOCK, "split.parquet"])


def test_a_finished_run_does_nothing_more(tmp_path, config):
    path = run(tmp_path, config)
    before = path.stat().st_mtime_ns
    steps = []
    assert run(tmp_path, config, progress=lambda done, total, line: steps.append(done)) == path
    assert (steps, path.stat().st_mtime_ns) == ([], before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": replace(QUICK, seed=4)}, "was made with training.seed=3, asked for is training.seed=4"),
        (
            {"settings": replace(QUICK, shuffle_reports=True)},
            "shuffle_reports=False, asked for is training.shuffle_reports=True",
        ),
        (
            {"settings": replace(QUICK, pairing=PairingSettings(self_weight=0.25))},
            r"with training\.pairing\.self_weight=0\.5, asked for is training\.pairing\.self_weight=0\.25; go on",
        ),
        ({"model": {"depth": 2}}, "was made with a model of depth=1, asked for is depth=2"),
    ],
    ids=["seed", "control", "pairing", "model"],
)
def test_a_folder_of_another_run_is_refused(tmp_path, config, change, message):
    short = replace(QUICK, epochs=1)
    run(tmp_path, config, short)
    settings = replace(change.get("settings", QUICK), epochs=1)
    with pytest.raises(InputError, match=message):
        run(tmp_path, replace(config, **change.get("model", {})), settings)


def test_what_does_not_change_the_weights_may_change_when_a_run_goes_on(tmp_path, config):
    run(tmp_path, config, replace(QUICK, epochs=1))
    later = replace(
        QUICK,
        epochs=1,
        threads=1,
        chunk_crops=3,
        loader_workers=2,
        validate_epochs=0,
        checkpoint_minutes=0,
        tracker="tensorboard",
    )
    assert run(tmp_path, config, later) == find_checkpoints(tmp_path)[-1]


def test_chunks_and_loader_processes_give_the_weights_of_the_plain_run(tmp_path, config):
    plain = read_checkpoint(run(tmp_path / "plain", config, replace(QUICK, epochs=2)))
    later = replace(QUICK, epochs=2, chunk_crops=3, loader_workers=1, loader_start="fork")
    chunks = read_checkpoint(run(tmp_path / "chunks", config, later))
    for name, value in plain["model"]["weights"].items():
        torch.testing.assert_close(chunks["model"]["weights"][name], value, atol=1e-3, rtol=1e-2, msg=name)


def test_the_log_tells_of_each_step(tmp_path, config):
    run(tmp_path, config)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert sum(line["samples"] for line in lines) == 4 * 20
    assert sum(line["studies"] for line in lines) == 4 * 10
    for line in lines:
        parts = QUICK.contrastive_weight * line["contrastive"] + QUICK.alignment_weight * line["alignment"]
        assert line["loss"] == pytest.approx(parts)
        assert line["waited_share"] == pytest.approx(line["waited"] / line["seconds"])
        assert line["samples_per_second"] == pytest.approx(line["samples"] / line["seconds"])
        assert line["peak_memory_mib"] > 50
        assert 0 < line["learning_rate"] <= 2e-3
    ends = [
        line for line, following in zip(lines, [*lines[1:], {}], strict=True) if line["epoch"] != following.get("epoch")
    ]
    assert len(ends) == 4
    told = [line for line in lines if "self_share" in line]
    assert told == ends
    for line in told:
        assert line["self_share"] + line["findings_share"] + line["peer_share"] == pytest.approx(1)


def test_the_split_of_a_run_says_what_it_was_trained_on(tmp_path, config):
    run(tmp_path, config, replace(QUICK, epochs=1), small_store(6, test=3))
    table = pd.read_parquet(load_run(tmp_path).split_path).set_index("study_id")
    assert table["split"].to_dict() == {f"s{i:03d}": "train" if i < 6 else "test" for i in range(9)}
    assert table["patient_id"].nunique() < 9


def spy_on_batches(monkeypatch):
    """What batches are built from, and what comes of it."""
    seen = []
    original = train_module.build_batch

    def spy(step, studies, **options):
        batch = original(step, studies, **options)
        seen.append((studies, batch))
        return batch

    monkeypatch.setattr(train_module, "build_batch", spy)
    return seen


def test_the_control_trains_on_other_studies_reports(tmp_path, config, monkeypatch):
    seen = spy_on_batches(monkeypatch)
    store = small_store(12)
    run(tmp_path, config, replace(QUICK, epochs=1, shuffle_reports=True), store)
    given = {
        (s.study_id, s.anatomy): s.labels.tolist() for studies, _ in seen for mine in studies.values() for s in mine
    }
    own = {(s.study_id, s.anatomy): s.labels.tolist() for s in read_samples(store, VOCABULARY)}
    assert given.keys() == own.keys()
    assert given != own


def test_balance_draws_studies_beside_those_whose_turn_it_is(tmp_path, config, monkeypatch):
    seen = spy_on_batches(monkeypatch)
    run(tmp_path, config, replace(QUICK, epochs=1, balance=0.25), small_store(12))
    assert [len(studies) for studies, _ in seen] == [4] * 4  # of which three have their turn
    for studies, _ in seen:
        assert any(sample.pairs_abnormal for mine in studies.values() for sample in mine)


def test_mixed_texts_are_trained_on_in_both_wordings(tmp_path, config, monkeypatch):
    seen = spy_on_batches(monkeypatch)
    store = small_store(6, rate=1.0)
    run(tmp_path, config, replace(QUICK, epochs=2, text="mixed"), store)
    texts = {text for _, batch in seen for text in batch.texts}
    raw, canonical = ({row[column] for row in store.texts} for column in ("text", "canonical"))
    assert texts <= raw | canonical
    assert texts & raw
    assert texts & canonical


def test_numbers_that_break_stop_the_run_and_name_the_batch(tmp_path, config, monkeypatch):
    monkeypatch.setattr(step_module, "alignment_loss", lambda logits, labels: logits.sum() * float("nan"))
    with pytest.raises(CtvlpError, match=r"step 1: .*nan.*studies of the batch: s\d\d\d, s\d\d\d"):
        run(tmp_path, config)
    assert find_checkpoints(tmp_path) == []
    assert (tmp_path / "log.jsonl").read_text() == ""


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


def test_a_run_killed_at_every_instant_of_writing_ends_with_the_same_weights(tmp_path, config):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("killed_training.py")
    command = [sys.executable, str(script), str(tmp_path), config.text_encoder]
    kills = int(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)
    assert kills >= 6  # two checkpoints: in the middle, when whole, and when they have their name
    straight, killed = (find_checkpoints(tmp_path / name) for name in ("straight", "killed"))
    assert [path.name for path in straight] == [path.name for path in killed]
    for one, other in zip(straight, killed, strict=True):
        assert differences(read_checkpoint(one), read_checkpoint(other)) == []
    names = [
        sorted(path.name for path in (tmp_path / name).iterdir() if not path.name.startswith("text_"))
        for name in ("straight", "killed")
    ]
    assert names[0] == names[1]
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("straight", "killed")]
    steps = [[(line["step"], line["loss"]) for line in map(json.loads, log)] for log in logs]
    assert steps[0] == steps[1]


def command_line(folder, config, epochs):
    """Words of a run of two steps an epoch on a store that is written first."""
    if not (folder / "store").exists():
        write_screened_store(folder / "store", studies=8, train=6)
    words = [f"store={folder / 'store'}", f"model.text_encoder={config.text_encoder}"]
    words += [f"model.{name}={value}" for name, value in {"width": 16, "depth": 1, "heads": 2, "stem_width": 4}.items()]
    return [*words, "training.batch_studies=3", f"training.epochs={epochs}", "training.checkpoint_epochs=1"]


def test_torchrun_trains_from_the_command_line(tmp_path, config):
    words = command_line(tmp_path, config, 2)
    done = torchrun("-m", "ctvlp.cli", "train", *words, f"out={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(find_checkpoints(tmp_path / "run")[-1])]
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert [line["studies"] for line in lines] == [3] * 4
    assert len(find_checkpoints(tmp_path / "run")) == 2
    assert load_run(tmp_path / "run").step == 4


@pytest.mark.slow
def test_torchrun_that_is_asked_to_end_leaves_a_checkpoint_from_which_the_same_command_goes_on(tmp_path, config):
    words = [*command_line(tmp_path, config, 20), "training.checkpoint_epochs=20", "training.loader_workers=1"]
    command = ["-m", "ctvlp.cli", "train", *words]
    assert torchrun(*command, f"out={tmp_path / 'straight'}").returncode == 0
    command = [*command, f"out={tmp_path / 'broken'}"]
    broken, log = torchrun(*command, start=True), tmp_path / "broken" / "log.jsonl"
    while not log.is_file() or not log.read_text():
        assert broken.poll() is None
        time.sleep(0.01)
    broken.terminate()
    assert broken.wait(timeout=300) != 0
    kept = [int(path.stem[-8:]) for path in find_checkpoints(tmp_path / "broken")]
    assert len(kept) == 1
    assert 0 < kept[0] < 40
    assert len(log.read_text().splitlines()) == kept[0]
    assert torchrun(*command).returncode == 0
    straight, resumed = (read_checkpoint(find_checkpoints(tmp_path / name)[-1]) for name in ("straight", "broken"))
    assert differences(straight, resumed) == []


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("training.sharded=true",)], ids=["whole weights", "weights in parts"])
def test_a_process_killed_under_torchrun_ends_the_run_and_the_same_command_goes_on(tmp_path, config, more):
    words = command_line(tmp_path, config, 20)
    command = ["-m", "ctvlp.cli", "train", *words, *more]
    assert torchrun(*command, f"out={tmp_path / 'straight'}").returncode == 0
    command = [*command, f"out={tmp_path / 'broken'}"]
    broken = torchrun(*command, start=True)
    while not find_checkpoints(tmp_path / "broken"):
        assert broken.poll() is None
        time.sleep(0.01)
    victim = psutil.Process(broken.pid).children()[-1]
    victim.kill()
    assert broken.wait(timeout=300) != 0
    assert int(find_checkpoints(tmp_path / "broken")[-1].stem[-8:]) < 40
    assert torchrun(*command).returncode == 0
    straight, resumed = (read_checkpoint(find_checkpoints(tmp_path / name)[-1]) for name in ("straight", "broken"))
    assert straight["step"] == 40
    assert differences(straight, resumed) == []
