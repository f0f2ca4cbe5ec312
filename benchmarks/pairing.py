"""Pairing targets: the project's kernels beside the usual numpy way and eager torch.

    python -m benchmarks.pairing [--sizes 512 2048 4096] [--anatomies 15] [--rounds 5] [--threads 2] [--device cpu]

Each round fills the targets of all anatomies in every way, in an order that turns; medians over the rounds, an anatomy.
As in a training step, those of an anatomy are dropped before the next one's are made.
  ours   `ctvlp.pairing.pairing_targets`
  numpy  the per-object way usual in this field: texts compared as strings, findings as Python sets' bit words in whole
         matrices, several (N, N) float64 temporaries; the first three anatomies only, since it is slow
  torch  `ctvlp.pairing_torch.targets_torch`, plain tensor operations
  copy   an (N, N) float32 copied; softmax: `torch.softmax` of the same matrix. Both write a new matrix.
`excluded`: with pairs left out (of 10 patients one has a second study, 1 report in 20 is uncertain) and texts numbered
by hashes, as in training; without the numpy way, and without a mark against `softmax`, which excludes nothing.
Peak: of one process that holds the inputs of one anatomy and makes its targets, over what it held before.

Exit status 1 if a figure misses its mark (N of 2048 and more; CPU).
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.marks import mark
from ctvlp.pairing import finding_bits, pairing_targets, relations
from ctvlp.pairing_torch import targets_torch

Array = npt.NDArray[Any]
KINDS = (("normal", "mixture"), ("disease", "sum"), ("disease", "mixture"))
JUDGED_FROM = 2048
FINDINGS = 8
SLOW = 3
"""Anatomies that the numpy way takes."""
PEAK = """
import resource, sys
import numpy as np
from benchmarks.pairing import arguments_of, draw
from ctvlp.pairing import pairing_targets
mode, mix, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
def held():
    with open("/proc/self/status") as stream:
        return {line.split(":")[0]: int(line.split()[1]) for line in stream if line.startswith(("VmHWM", "VmRSS"))}
pairing_targets(mode=mode, mix=mix, **arguments_of(draw(8, 0)))  # compiles
batch = arguments_of(draw(count, 0))
with open("/proc/self/clear_refs", "w") as stream:
    stream.write("5")
before = held()["VmRSS"]
pairing_targets(mode=mode, mix=mix, **batch)
print(held()["VmHWM"] - before)
"""
"""Prints kilobytes that the targets took at most."""


class Batch(NamedTuple):
    """One anatomy's samples.

    Attributes:
        texts: N.
        abnormal: (N,).
        present: (N, K) findings.
        peer_cosine: (N, N).
        exclude: (N, N) pairs left out, or None.
    """

    texts: list[str]
    abnormal: Array
    present: Array
    peer_cosine: Array
    exclude: Array | None = None


def draw(count: int, seed: int, *, related: bool = False) -> Batch:
    """Samples of which 3 in 10 are abnormal, a fifth of them with equal texts; `related` ones exclude each other."""
    random = np.random.default_rng(seed)
    abnormal = random.random(count) < 0.3
    present = (random.random((count, FINDINGS)) < 0.2) & abnormal[:, None]
    texts = [f"finding {random.integers(count)}" if sick else f"normal {random.integers(20)}" for sick in abnormal]
    features = random.normal(size=(count, 32)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    exclude = None
    if related:
        patients = np.where(random.random(count) < 0.1, random.integers(count, size=count), np.arange(count))
        exclude = relations(patients, random.random(count) < 0.05)
    return Batch(texts, abnormal, present, features @ features.T, exclude)


def arguments_of(batch: Batch) -> dict[str, Any]:
    """What the kernels take."""
    ids = np.unique(batch.texts, return_inverse=True)[1].astype(np.int64)
    if batch.exclude is not None:
        ids = np.random.default_rng(0).integers(2**62, size=len(ids))[ids]
    return {
        "abnormal": batch.abnormal,
        "text_id": ids,
        "findings": finding_bits(batch.present),
        "peer_cosine": batch.peer_cosine,
        "exclude": batch.exclude,
    }


def usual_targets(batch: Batch, *, mode: str, mix: str) -> Array:
    """The same targets, written the usual way: an object each, whole matrices of float64 for each part."""
    texts = np.array(batch.texts, dtype=object)
    sick = batch.abnormal
    eye = np.eye(len(texts))
    same = (texts[:, None] == texts[None, :]).astype(np.float64)
    allowed = np.ones_like(eye) if batch.exclude is None else (~batch.exclude).astype(np.float64)
    match = np.maximum(np.maximum(eye, same), np.outer(~sick, ~sick).astype(np.float64)) * allowed
    if mode == "normal":
        return match / match.sum(axis=1, keepdims=True)
    both = np.outer(sick, sick) * (1.0 - eye) * allowed
    present = batch.present.astype(np.float64)
    common = present @ present.T
    sizes = present.sum(axis=1)
    union = sizes[:, None] + sizes[None, :] - common
    overlap = np.where(same > 0, 1.0, common / np.maximum(union, 1.0)) * both
    logits = batch.peer_cosine.astype(np.float64) / 0.1
    if mix == "sum":
        peer = np.exp(logits - logits.max(axis=1, keepdims=True)) * allowed
        peer = peer / peer.sum(axis=1, keepdims=True) * both
        weight = np.minimum(match + 0.5 * overlap + 0.5 * peer, 1.0)
        return weight / weight.sum(axis=1, keepdims=True)
    peer = np.exp(logits - logits.max(axis=1, keepdims=True)) * both
    sums = [part.sum(axis=1, keepdims=True) for part in (overlap, peer)]
    share = np.where(sums[0] == 0, 0.0, np.where(sums[1] > 0, 0.5, 1.0))
    spread = share * overlap / np.maximum(sums[0], 1e-12) + (1 - share) * peer / np.maximum(sums[1], 1e-12)
    alone = (sums[0] == 0) & (sums[1] == 0)
    mixed = np.where(alone, eye, 0.5 * eye + 0.5 * spread)
    return np.where(sick[:, None], mixed, match / match.sum(axis=1, keepdims=True))


def ways(batches: list[Batch], mode: str, mix: str, device: torch.device) -> dict[str, list[Callable[[], Any]]]:
    """What is timed: of each way, what makes an anatomy's matrix."""
    given = [{k: _tensor(v, device) for k, v in arguments_of(batch).items()} for batch in batches]
    rest: Any = {"mode": mode, "mix": mix}
    plain: Any = rest | {"share": 0.5, "own": 0.5, "temperature": 0.1}
    found: dict[str, list[Callable[[], Any]]] = {
        "ours": [partial(pairing_targets, **one, **rest) for one in given],
        "torch": [partial(targets_torch, **one, **plain) for one in given],
        "copy": [one["peer_cosine"].clone for one in given],
        "softmax": [partial(torch.softmax, one["peer_cosine"], dim=1) for one in given],
    }
    if batches[0].exclude is None:
        found["numpy"] = [partial(usual_targets, batch, **rest) for batch in batches[:SLOW]]
    return found


def _tensor(array: Array | None, device: torch.device) -> Tensor | None:
    if array is None:
        return None
    return torch.from_numpy(array.view(np.int64) if array.dtype == np.uint64 else array).to(device)


def measure(count: int, arguments: argparse.Namespace, *, related: bool) -> list[bool]:
    """Print the times of all ways for batches of one size; return whether each figure reaches its mark."""
    device, results = torch.device(arguments.device), []
    judged = count >= JUDGED_FROM and device.type == "cpu"
    batches = [draw(count, seed, related=related) for seed in range(arguments.anatomies)]
    for mode, mix in KINDS:
        name = f"N = {count}, {mode if mode == 'normal' else f'{mode}, {mix}'}{', excluded' if related else ''}"
        several = ways(batches, mode, mix, device)
        ours = pairing_targets(**arguments_of(batches[0]), mode=mode, mix=mix)  # type: ignore[arg-type]
        off = float(np.abs(ours - usual_targets(batches[0], mode=mode, mix=mix)).max())
        times: dict[str, list[float]] = {way: [] for way in several}
        for turn in range(arguments.rounds + 1):
            names = list(several)
            for way in (*names[turn % len(names) :], *names[: turn % len(names)]):
                spent = seconds(several[way], device)
                if turn:  # the first round warms up
                    times[way].append(spent)
        medians = {way: statistics.median(spent) for way, spent in times.items()}
        print(f"{name}: " + ", ".join(f"{way} {1000 * spent:.2f} ms" for way, spent in medians.items()), flush=True)
        results += judge(name, times, judged=judged)
        results.append(mark(f"{name}: largest difference from numpy", off, off < 1e-5, "below 1e-5"))
        if judged and not related:
            results.append(peak(count, mode, mix, name=name))
    return results


def seconds(calls: Sequence[Callable[[], Any]], device: torch.device) -> float:
    """Time of one of the calls, on average."""
    start = time.perf_counter()
    for call in calls:
        call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / len(calls)


def judge(name: str, times: Mapping[str, list[float]], *, judged: bool) -> list[bool]:
    """Print the medians of the rounds' ratios; return whether those that have a mark reach it."""
    bounds = {"copy": (5, True), "softmax": (None, True), "torch": (None, False), "numpy": (None, False)}
    if "disease" in name:
        most = None if "excluded" in name else 1
        bounds = {"copy": (None, True), "softmax": (most, True), "torch": (3, False), "numpy": (20, False)}
    results = []
    for other, (bound, at_most) in bounds.items():
        if other not in times:
            continue
        pairs = zip(times["ours"], times[other], strict=True)
        ratio = statistics.median(ours / them if at_most else them / ours for ours, them in pairs)
        what = f"{name}: ours over {other}" if at_most else f"{name}: {other} over ours"
        if judged and bound is not None:
            good = ratio <= bound if at_most else ratio >= bound
            results.append(mark(what, ratio, good, f"at {'most' if at_most else 'least'} {bound}"))
        else:
            print(f"{what}: {ratio:.2f}")
    return results


def peak(count: int, mode: str, mix: str, *, name: str) -> bool:
    """Print what one process takes at most for the targets of one anatomy, in outputs; whether at most 1.1."""
    command = [sys.executable, "-c", PEAK, mode, mix, str(count)]
    kilobytes = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    share = kilobytes * 1024 / (4 * count * count)
    return mark(f"{name}: memory taken over the output's", share, share <= 1.1, "at most 1.1")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 2048, 4096])
    parser.add_argument("--anatomies", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch and of the kernels")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    several = itertools.product(arguments.sizes, (False, True))
    results = [good for count, related in several for good in measure(count, arguments, related=related)]
    print(f"{sum(results)} of {len(results)} marks reached")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
