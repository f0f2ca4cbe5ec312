"""Two processes take the step that one takes alone, whatever their parts of the batch hold."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rank_cases import BROKEN, CASES, take_step
from tiny_learner import differences
from tiny_text import write_tiny_encoder
from torch import nn

from ctvlp.ranks import ALONE, join_ranks
from preprocess.errors import InputError

SCRIPT = Path(__file__).with_name("rank_cases.py")


def torchrun(*words, start=False, timeout=300):
    """Run two processes, as a user does, and return what came of it; or start them and return at once."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", *map(str, words)]
    if start:
        return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(write_tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="module")
def together(encoder, tmp_path_factory):
    out = tmp_path_factory.mktemp("ranks")
    done = torchrun(SCRIPT, encoder, out)
    assert done.returncode == 0, done.stderr
    return [torch.load(out / f"rank{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_give_the_loss_and_the_gradients_of_one(case, encoder, together):
    alone = take_step(encoder, case)
    for part in (ranks[case] for ranks in together):
        assert part["losses"] == pytest.approx(alone["losses"], rel=1e-4, abs=1e-5)
        assert part["gradients"].keys() == alone["gradients"].keys()
        for name, gradient in alone["gradients"].items():
            torch.testing.assert_close(part["gradients"][name], gradient, atol=1e-5, rtol=1e-3, msg=name)
    assert alone["losses"]["gradient"] > 1e-3


@pytest.mark.parametrize("case", CASES)
def test_both_ranks_have_the_same_weights_to_the_last_digit(case, together):
    first, second = (ranks[case] for ranks in together)
    assert differences(first["state"], second["state"]) == []
    assert differences(first["gradients"], second["gradients"]) == []


@pytest.mark.parametrize("case", CASES)
def test_what_two_ranks_keep_is_what_one_keeps_and_can_be_taken_up_again(case, encoder, together):
    alone, parts = take_step(encoder, case)["state"], together[0][case]["state"]
    assert parts["optimizer"].keys() == alone["optimizer"].keys()
    for name, values in alone["optimizer"].items():
        assert values.keys() == parts["optimizer"][name].keys()
        torch.testing.assert_close(parts["optimizer"][name]["exp_avg"], values["exp_avg"], atol=1e-5, rtol=1e-3)
    for ranks in together:
        for name, value in ranks[case]["state"].items():
            assert name == "settings" or differences(value, ranks[case]["restored"][name]) == []


def test_ranks_share_the_weights_of_the_blocks(together):
    whole = together[0]["dealt"]["held"]
    for ranks in together:
        assert ranks["weights in parts"]["held"] == pytest.approx(whole / 2, rel=0.01)


def test_each_rank_encodes_for_itself_between_steps(encoder, together):
    case = "weights in parts, a rank without studies"
    alone = take_step(encoder, case)["encoded"]
    assert together[0][case]["encoded"].keys() == alone.keys()
    for name, values in alone.items():
        torch.testing.assert_close(together[0][case]["encoded"][name], values, atol=1e-3, rtol=1e-3)
    assert together[1][case]["encoded"] == {}


def test_parameters_that_no_rank_used_keep_no_gradient(together):
    """An optimiser changes weights whose gradient is zero, and leaves those alone that have none."""
    names = together[0]["a rank without studies"]["gradients"]
    assert "alignment.bias" in names
    assert "alignment.bias" not in together[0]["no labels"]["gradients"]


def test_numbers_that_break_on_one_rank_stop_both_and_name_the_whole_batch(together):
    for ranks in together:
        assert ranks[BROKEN]["step"] == 0
        message = ranks[BROKEN]["error"]
        assert message.startswith("step 1: loss nan")
        assert all(f"s{number:03d}" in message for number in range(8))


def test_one_process_sends_nothing():
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.full((2,), 3.0)
    assert torch.equal(ALONE.add_gradients([parameter], torch.ones(1)), torch.ones(1))
    assert parameter.grad.tolist() == [3.0, 3.0]
    assert [part.tolist() for part in ALONE.gather_rows(torch.arange(3), [3])] == [[0, 1, 2]]
    assert ALONE.gather_values({"a": 1}) == [{"a": 1}]
    assert join_ranks("cpu") == (ALONE, torch.device("cpu"))


def test_a_device_of_no_kind_is_refused():
    with pytest.raises(InputError, match="device=gpu: should be cpu, cuda"):
        join_ranks("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="device=cuda: torch finds no CUDA device"):
        join_ranks("cuda")
