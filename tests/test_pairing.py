"""Targets of the pairing against a slow double loop over the table of the design, on every path."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctvlp import pairing_cpu
from ctvlp.pairing import finding_bits, pairing_targets, relations
from ctvlp.pairing_torch import targets_torch

ROOT = Path(__file__).parents[1]
FORKED = """
import os, signal
import numpy as np
from ctvlp import pairing_cpu
from ctvlp.pairing import pairing_targets
kinds = {{"findings": np.uint64, "peer_cosine": np.float32}}
case = {{key: np.array(value, kinds.get(key)) for key, value in {arguments}.items()}}
straight = pairing_targets(**case, mode="disease")
pairing_cpu._FEW, pairing_cpu.torch.get_num_threads = 1, lambda: 3
print(np.array_equal(pairing_targets(**case, mode="disease"), straight), flush=True)
child = os.fork()
if child == 0:
    signal.alarm(60)  # a child that waits for its parent's threads would wait for ever
    print(np.array_equal(pairing_targets(**case, mode="disease"), straight), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
"""Prints whether threads give the same rows in a process and in its fork."""
MODES = [("patient", "mixture"), ("normal", "mixture"), ("disease", "sum"), ("disease", "mixture")]


def softmax_over(cosines, allowed, temperature):
    exponentials = {j: np.exp(float(cosines[j]) / temperature) for j in allowed}
    total = sum(exponentials.values())
    return {j: value / total for j, value in exponentials.items()}


def overlap(i, j, text_id, findings):
    if text_id[i] == text_id[j] and text_id[i] >= 0:
        return 1.0
    mine, other = ({k for k in range(64) if int(findings[n]) >> k & 1} for n in (i, j))
    return len(mine & other) / len(mine | other) if mine | other else 0.0


def slow_row(i, sick, text_id, findings, peer, exclude, mode, mix, share, own, temperature):
    count = len(sick)
    if mode == "patient":
        return np.eye(count)[i]
    share = 0.0 if findings is None else share
    share = 1.0 if peer is None else share
    allowed = [j for j in range(count) if not exclude[i, j]]
    row = np.zeros(count)
    for j in allowed:
        same = text_id[i] == text_id[j] and text_id[i] >= 0
        row[j] = 1.0 if i == j or (not sick[i] and not sick[j]) or same else 0.0
    if mode == "normal" or (mix == "mixture" and not sick[i]):
        return row / row.sum()
    others = [j for j in allowed if j != i and sick[j] and sick[i]]
    jaccard = {j: 0.0 if findings is None else overlap(i, j, text_id, findings) for j in others}
    if mix == "sum":
        likeness = {} if peer is None else softmax_over(peer[i], allowed, temperature)
        for j in others:
            row[j] = min(1.0, row[j] + share * jaccard[j] + (1 - share) * likeness.get(j, 0.0))
        return row / row.sum()
    total = sum(jaccard.values())
    parts = []
    if total > 0:
        parts.append((share, {j: value / total for j, value in jaccard.items()}))
    if peer is not None and others:
        parts.append((1 - share, softmax_over(peer[i], others, temperature)))
    row = np.zeros(count)
    if not parts:
        row[i] = 1.0
        return row
    row[i] = own
    for weight, spread in parts:
        for j, value in spread.items():
            row[j] += (1 - own) * (1.0 if len(parts) == 1 else weight) * value
    return row


def slow_targets(sick, text_id, findings, peer, exclude, **rest):
    exclude = np.zeros((len(sick), len(sick)), bool) if exclude is None else exclude
    return np.array([slow_row(i, sick, text_id, findings, peer, exclude, **rest) for i in range(len(sick))])


def draw(rng, count, rate=0.5, excluded=0.2, bits=6):
    features = rng.normal(size=(count, 5))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    exclude = np.triu(rng.random((count, count)) < excluded, 1)
    return {
        "abnormal": rng.random(count) < rate,
        "text_id": rng.integers(-1, max(2, count // 2), count),
        "findings": finding_bits(rng.random((count, bits)) < 0.3) << np.uint64(64 - bits),
        "peer_cosine": (features @ features.T).astype(np.float32),
        "exclude": exclude | exclude.T,
    }


def every_path(case, **options):
    """The numba kernels on arrays and on tensors, and the tensor operations that other devices use."""
    yield "numpy", pairing_targets(*[case[k] for k in list(case)[:4]], exclude=case["exclude"], **options)
    tensors = {
        name: None if value is None else torch.from_numpy(value.view(np.int64) if name == "findings" else value)
        for name, value in case.items()
    }
    values = [tensors[k] for k in list(case)[:4]]
    yield "tensor", pairing_targets(*values, exclude=tensors["exclude"], **options).numpy()
    share = 1.0 if case["peer_cosine"] is None else 0.0 if case["findings"] is None else options["overlap_weight"]
    yield (
        "plain torch",
        targets_torch(
            *values,
            tensors["exclude"],
            mode=options["mode"],
            mix=options["mix"],
            share=share,
            own=options["self_weight"],
            temperature=options["peer_temperature"],
        ).numpy(),
    )


CASES = {
    "mixed": {"count": 13},
    "one sample": {"count": 1},
    "two samples": {"count": 2},
    "all normal": {"count": 7, "rate": 0.0},
    "all abnormal": {"count": 7, "rate": 1.1},
    "everything excluded": {"count": 6, "excluded": 1.1},
    "all 64 findings": {"count": 9, "rate": 0.9, "bits": 64},
}


@pytest.mark.parametrize(
    "drop", [(), ("findings",), ("peer_cosine",), ("findings", "peer_cosine"), ("exclude",)], ids=str
)
@pytest.mark.parametrize(("mode", "mix"), MODES)
@pytest.mark.parametrize("name", CASES)
def test_targets_equal_a_double_loop(name, mode, mix, drop):
    case = draw(np.random.default_rng(len(name)), **CASES[name])
    case.update(dict.fromkeys(drop))
    for share, own, temperature in [(0.5, 0.5, 0.1), (0.0, 0.3, 0.07), (1.0, 0.0, 1.0)]:
        expected = slow_targets(*case.values(), mode=mode, mix=mix, share=share, own=own, temperature=temperature)
        options = {"overlap_weight": share, "self_weight": own, "peer_temperature": temperature}
        for path, found in every_path(case, mode=mode, mix=mix, **options):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=2e-6, err_msg=f"{path} {options}")


def test_texts_numbered_by_hashes_count_as_those_numbered_from_zero():
    case = draw(np.random.default_rng(4), 25)
    hashes = np.random.default_rng(5).integers(2**62, size=25)
    hashed = np.where(case["text_id"] < 0, -(2**62), hashes[case["text_id"]])
    for mode, mix in MODES:
        found = pairing_targets(**case | {"text_id": hashed}, mode=mode, mix=mix)
        np.testing.assert_array_equal(found, pairing_targets(**case, mode=mode, mix=mix))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 12), rate=st.floats(0, 1), which=st.sampled_from(MODES))
def test_rows_are_distributions_that_leave_out_excluded_pairs_and_follow_a_permutation(seed, count, rate, which):
    case = draw(np.random.default_rng(seed), count, rate)
    mode, mix = which
    found = pairing_targets(**case, mode=mode, mix=mix)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (found >= 0).all()
    assert (np.diagonal(found) > 0).all()
    assert (found[case["exclude"]] == 0).all()
    order = np.random.default_rng(seed + 1).permutation(count)
    moved = {name: value[order][:, order] if value.ndim == 2 else value[order] for name, value in case.items()}
    np.testing.assert_allclose(pairing_targets(**moved, mode=mode, mix=mix), found[order][:, order], atol=1e-6)


@pytest.mark.parametrize(("mode", "mix"), MODES)
def test_rows_shared_out_to_threads_are_the_same_rows(monkeypatch, mode, mix):
    case = draw(np.random.default_rng(1), 41)
    straight = pairing_targets(**case, mode=mode, mix=mix)
    monkeypatch.setattr(pairing_cpu, "_FEW", 1)
    monkeypatch.setattr(pairing_cpu.torch, "get_num_threads", lambda: 3)
    np.testing.assert_array_equal(pairing_targets(**case, mode=mode, mix=mix), straight)


@pytest.mark.parametrize(("mode", "mix"), MODES)
def test_rows_too_long_for_the_caches_are_the_same_rows(mode, mix):
    case = draw(np.random.default_rng(2), 1027, excluded=0.05, bits=40)
    paths = every_path(case, mode=mode, mix=mix, overlap_weight=0.5, self_weight=0.5, peer_temperature=0.1)
    found = dict(paths)
    np.testing.assert_allclose(found["numpy"], found["plain torch"], atol=2e-6)
    np.testing.assert_array_equal(found["numpy"], found["tensor"])


@pytest.mark.parametrize(("temperature", "tolerance"), [(1.0, 1e-6), (0.1, 3e-6), (0.02, 2e-5)])
def test_a_peers_softmax_is_exact_to_the_rounding_of_its_exponents(temperature, tolerance):
    count = 97
    cosines = np.random.default_rng(5).uniform(-1, 1, (count, count)).astype(np.float32)
    found = pairing_targets(
        np.ones(count, bool),
        np.arange(count),
        None,
        cosines,
        mode="disease",
        self_weight=0.0,
        peer_temperature=temperature,
    )
    expected = np.exp(cosines.astype(np.float64) / temperature)
    np.fill_diagonal(expected, 0)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=1e-37)


@pytest.mark.parametrize("mix", ["sum", "mixture"])
def test_a_temperature_far_below_the_cosines_spread_leaves_the_peers_choice(mix):
    cosines = np.array([[1, 0.5, -1, 0.6], [0.5, 1, -0.9, -1], [-1, -0.9, 1, -1], [0.6, -1, -1, 1]], np.float32)
    found = pairing_targets(
        np.ones(4, bool), np.arange(4), None, cosines, mode="disease", mix=mix, self_weight=0.25, peer_temperature=1e-4
    )
    chosen = np.zeros((4, 4))
    chosen[np.arange(4), [3, 0, 1, 0]] = 1
    expected = np.eye(4) if mix == "sum" else 0.25 * np.eye(4) + 0.75 * chosen
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_fork_of_a_process_that_has_used_threads_makes_its_own():
    case = draw(np.random.default_rng(1), 41)
    code = FORKED.format(arguments={key: value.tolist() for key, value in case.items()})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.stdout.split() == ["True", "True"], done.stderr


def test_mixture_keeps_the_shares_of_self_findings_and_peer_whatever_the_batch_size():
    for count in (4, 40):
        sick, texts = np.ones(count, bool), np.arange(count)
        same = finding_bits(np.tile([True, False], (count, 1)))
        peer = np.eye(count, dtype=np.float32)
        found = pairing_targets(sick, texts, same, peer, mode="disease", self_weight=0.4)
        np.testing.assert_allclose(np.diagonal(found), 0.4, atol=1e-6)
        np.testing.assert_allclose(found.sum(axis=1) - np.diagonal(found), 0.6, atol=1e-5)


def test_two_livers_with_a_cyst_pull_each_other_and_a_healthy_one_does_not():
    sick = np.array([True, True, True, False])
    sets = finding_bits(np.array([[1, 0], [1, 0], [0, 1], [0, 0]], bool))
    found = pairing_targets(sick, np.arange(4), sets, mode="disease")
    np.testing.assert_allclose(found, [[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], atol=1e-6)


def test_relations_exclude_one_patient_and_uncertain_samples_but_never_the_diagonal():
    patient, uncertain = np.array([5, -6, 5, 7]), np.array([False, False, False, True])
    expected = np.zeros((4, 4), bool)
    expected[0, 2] = expected[2, 0] = True
    expected[3, :3] = expected[:3, 3] = True
    np.testing.assert_array_equal(relations(patient, uncertain), expected)
    exclude = relations(torch.from_numpy(patient), torch.from_numpy(uncertain))
    np.testing.assert_array_equal(exclude.numpy(), expected)


def test_finding_bits_set_one_bit_a_finding_up_to_the_64th():
    bits = finding_bits(np.eye(64, dtype=bool))
    assert [int(value) for value in bits] == [1 << k for k in range(64)]
    assert finding_bits(np.zeros((3, 0), bool)).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="at most 64 findings, got 65"):
        finding_bits(np.zeros((2, 65), bool))


BAD = {
    "mode": ({"mode": "both"}, "mode='both'"),
    "mix": ({"mix": "max"}, "mix='max'"),
    "overlap": ({"overlap_weight": 1.5}, "overlap_weight=1.5"),
    "temperature": ({"peer_temperature": 0.0}, "peer_temperature must be positive, got 0.0"),
    "shape": (
        {"peer_cosine": np.eye(3, dtype=np.float32)},
        r"peer_cosine must be \(2, 2\) for 2 samples, got \(3, 3\)",
    ),
    "kind": ({"findings": np.arange(2, dtype=np.int32)}, "findings must be uint64 or int64, got int32"),
    "kind of a tensor": (
        {"abnormal": torch.zeros(2, dtype=torch.bool), "text_id": torch.zeros(2, dtype=torch.int32)},
        "text_id must be int64, got int32",
    ),
    "diagonal": ({"exclude": np.eye(2, dtype=bool)}, "diagonal must be false"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_arguments_are_refused_by_name(name):
    change, message = BAD[name]
    arguments = {"abnormal": np.zeros(2, bool), "text_id": np.arange(2), "mode": "disease", **change}
    with pytest.raises(ValueError, match=message):
        pairing_targets(**arguments)
