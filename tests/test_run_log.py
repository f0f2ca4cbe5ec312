"""The log of a run: a line a step, lines of steps that were lost dropped, the same figures in TensorBoard."""

import importlib.util
import json
import sys
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
import torch

from ctvlp.run_log import memory_figures, open_log
from preprocess.errors import InputError


def lines_of(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_line_holds_the_figures_that_are_finite_numbers(tmp_path):
    with open_log(tmp_path, 0, None) as log:
        log.write(1, {"loss": 0.5, "val_within": float("nan"), "epoch": 0})
    assert lines_of(tmp_path) == [{"step": 1, "loss": 0.5, "epoch": 0}]


@pytest.mark.parametrize(
    "rest",
    ["", '{"step": 4, "lo', "\0" * 40 + "\n"],
    ids=["whole lines", "half a line", "a line that never reached the disk"],
)
def test_a_run_that_goes_on_drops_what_no_checkpoint_holds(tmp_path, rest):
    with open_log(tmp_path, 0, None) as log:
        for step in (1, 2, 3):
            log.write(step, {"loss": float(step)})
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write(rest)
    with open_log(tmp_path, 2, None) as log:
        log.write(3, {"loss": 9.0})
    assert [(line["step"], line["loss"]) for line in lines_of(tmp_path)] == [(1, 1.0), (2, 2.0), (3, 9.0)]


def test_from_the_first_line_on_that_is_not_whole_all_are_dropped(tmp_path):
    lines = [f'{{"step": {step}}}\n' for step in (1, 2, 3, 4)]
    (tmp_path / "log.jsonl").write_text("".join([*lines[:2], "\0" * 11 + "\n", lines[3]]))
    with open_log(tmp_path, 4, None) as log:
        log.write(5, {})
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 5]


def test_a_rank_that_does_not_write_leaves_the_folder_alone(tmp_path):
    with open_log(tmp_path, 0, "tensorboard", writes=False) as log:
        log.write(1, {"loss": 0.5})
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_shows_the_figures_once_after_a_run_went_on(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        with open_log(tmp_path, first, "tensorboard") as log:
            for step in steps:
                log.write(step, {"loss": step + first / 10})
    shown = EventAccumulator(str(tmp_path / "tensorboard"))
    shown.Reload()
    found = [(event.step, round(event.value, 3)) for event in shown.Scalars("loss")]
    assert found == [(1, 1.0), (2, 2.0), (3, 3.2), (4, 4.2)]
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3, 4]


def test_wandb_is_started_offline_in_the_folder_of_the_run(tmp_path, monkeypatch):
    asked, shown = [], []

    @contextmanager
    def init(**options):
        asked.append(options)
        yield SimpleNamespace(log=lambda values, step: shown.append((step, values)))
        shown.append("end")

    module = ModuleType("wandb")
    module.__spec__ = ModuleSpec("wandb", None)
    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    with open_log(tmp_path, 0, "wandb") as log:
        log.write(1, {"loss": 0.5})
    assert asked == [{"project": tmp_path.name, "dir": str(tmp_path), "mode": "offline"}]
    assert shown == [(1, {"loss": 0.5}), "end"]


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_tracker_that_is_not_installed_is_refused_before_any_work(tmp_path):
    with pytest.raises(InputError, match="tracker=wandb: the package is not installed"), open_log(tmp_path, 0, "wandb"):
        raise AssertionError
    assert list(tmp_path.iterdir()) == []


def test_memory_is_that_of_this_process():
    figures = memory_figures(torch.device("cpu"))
    assert list(figures) == ["peak_memory_mib"]
    kept = torch.ones(60 * 2**20 // 4 + int(figures["peak_memory_mib"]) * 2**18)
    assert memory_figures(torch.device("cpu"))["peak_memory_mib"] > figures["peak_memory_mib"] + 20
    assert float(kept[0]) == 1.0
