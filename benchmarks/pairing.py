"""Pairing targets: the project's kernels beside the usual numpy way and eager torch.

    python -m benchmarks.pairing [--sizes 512 2048 4096] [--anatomies 15] [--rounds 5] [--threads 2] [--device cpu]

Each round fills the targets of all anatomies in every way, in an order that turns; medians over the rounds.
  ours   `ctvlp.pairing.pairing_targets`
  numpy  the per-object way usual in this field: texts compared as strings, findings as Python sets' bit words in whole
         matrices, several (N, N) float64 temporaries
  torch  `ctvlp.pairing_torch.targets_torch`, plain tensor operations
  copy   an (N, N) float32 copied; softmax: `torch.softmax` of the same matrix. Both write a new matrix.
Peak: of one process that holds the inputs of one anatomy and makes its targets, over what it held before.

Exit status 1 if a figure misses its mark (N of 2048 and more; CPU).
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.marks import mark
from ctvlp.pairing import finding_bits, pairing_targets
from ctvlp.pairing_torch import targets_torch

Array = npt.NDArray[Any]
KINDS = (("normal", "mixture"), ("disease", "sum"), ("disease", "mixture"))
JUDGED_FROM = 2048
FINDINGS = 8
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
    """One anatomy's samples: texts and whether each is abnormal, present findings (N, K), the peer's cosines (N, N)."""

    texts: list[str]
    abnormal: Array
    present: Array
    peer_cosine: Array


def draw(count: int, seed: int) -> Batch:
    """Samples of which 3 in 10 are abnormal, a fifth of them with equal texts."""
    random = np.random.default_rng(seed)
    abnormal = random.random(count) < 0.3
    present = (random.random((count, FINDINGS)) < 0.2) & abnormal[:, None]
    texts = [f"finding {random.integers(count)}" if sick else f"normal {random.integers(20)}" for sick in abnormal]
    features = random.normal(size=(count, 32)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return Batch(texts, abnormal, present, features @ features.T)


def arguments_of(batch: Batch) -> dict[str, Array]:
    """What the kernels take."""
    ids = np.unique(batch.texts, return_inverse=True)[1].astype(np.int64)
    return {
        "abnormal": batch.abnormal,
        "text_id": ids,
        "findings": finding_bits(batch.present),
        "peer_cosine": batch.peer_cosine,
    }


def usual_targets(batch: Batch, *, mode: str, mix: str) -> Array:
    """The same targets, written the usual way: an object each, whole matrices of float64 for each part."""
    texts = np.array(batch.texts, dtype=object)
    sick = batch.abnormal
    eye = np.eye(len(texts))
    same = (texts[:, None] == texts[None, :]).astype(np.float64)
    match = np.maximum(np.maximum(eye, same), np.outer(~sick, ~sick).astype(np.float64))
    if mode == "normal":
        return match / match.sum(axis=1, keepdims=True)
    both = np.outer(sick, sick) * (1.0 - eye)
    present = batch.present.astype(np.float64)
    common = present @ present.T
    sizes = present.sum(axis=1)
    union = sizes[:, None] + sizes[None, :] - common
    overlap = np.where(same > 0, 1.0, common / np.maximum(union, 1.0)) * both
    logits = batch.peer_cosine.astype(np.float64) / 0.1
    if mix == "sum":
        peer = np.exp(logits - logits.max(axis=1, keepdims=True))
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


def ways(batches: list[Batch], mode: str, mix: str, device: torch.device) -> Mapping[str, Callable[[], Any]]:
    """What is timed: the targets of all anatomies, one after the other, in every way."""
    given = [{k: _tensor(v, device) for k, v in arguments_of(batch).items()} for batch in batches]
    rest: Any = {"mode": mode, "mix": mix}
    plain: Any = rest | {"exclude": None, "share": 0.5, "own": 0.5, "temperature": 0.1}
    peers = [one["peer_cosine"] for one in given]
    return {
        "ours": lambda: [pairing_targets(**one, **rest) for one in given],
        "numpy": lambda: [usual_targets(batch, **rest) for batch in batches],
        "torch": lambda: [targets_torch(**one, **plain) for one in given],
        "copy": lambda: [peer.clone() for peer in peers],
        "softmax": lambda: [torch.softmax(peer, dim=1) for peer in peers],
    }


def _tensor(array: Array, device: torch.device) -> Tensor:
    return torch.from_numpy(array.view(np.int64) if array.dtype == np.uint64 else array).to(device)


def measure(count: int, arguments: argparse.Namespace) -> list[bool]:
    """Print the times of all ways for batches of one size; return whether each figure reaches its mark."""
    device, results = torch.device(arguments.device), []
    batches = [draw(count, seed) for seed in range(arguments.anatomies)]
    for mode, mix in KINDS:
        name = mode if mode == "normal" else f"{mode}, {mix}"
        several = ways(batches, mode, mix, device)
        ours = pairing_targets(**arguments_of(batches[0]), mode=mode, mix=mix)  # type: ignore[arg-type]
        off = float(np.abs(ours - usual_targets(batches[0], mode=mode, mix=mix)).max())
        times: dict[str, list[float]] = {way: [] for way in several}
        for turn in range(arguments.rounds + 1):
            names = list(several)
            for way in (*names[turn % len(names) :], *names[: turn % len(names)]):
                start = time.perf_counter()
                several[way]()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if turn:  # the first round warms up
                    times[way].append(time.perf_counter() - start)
        medians = {way: statistics.median(spent) / arguments.anatomies for way, spent in times.items()}
        print(f"N = {count}, {name}: " + ", ".join(f"{way} {1000 * spent:.2f} ms" for way, spent in medians.items()))
        results += judge(f"N = {count}, {name}", times, judged=count >= JUDGED_FROM and device.type == "cpu")
        results.append(mark(f"N = {count}, {name}: largest difference from numpy", off, off < 1e-5, "below 1e-5"))
        if device.type == "cpu" and count >= JUDGED_FROM:
            results.append(peak(count, mode, mix, several=name))
    return results


def judge(name: str, times: Mapping[str, list[float]], *, judged: bool) -> list[bool]:
    """Print the medians of the rounds' ratios; return whether those that have a mark reach it."""
    bounds = {"copy": (5, True), "softmax": (None, True), "torch": (None, False), "numpy": (None, False)}
    if "disease" in name:
        bounds = {"copy": (None, True), "softmax": (1, True), "torch": (3, False), "numpy": (20, False)}
    results = []
    for other, (bound, at_most) in bounds.items():
        pairs = zip(times["ours"], times[other], strict=True)
        ratio = statistics.median(ours / them if at_most else them / ours for ours, them in pairs)
        what = f"{name}: ours over {other}" if at_most else f"{name}: {other} over ours"
        if judged and bound is not None:
            good = ratio <= bound if at_most else ratio >= bound
            results.append(mark(what, ratio, good, f"at {'most' if at_most else 'least'} {bound}"))
        else:
            print(f"{what}: {ratio:.2f}")
    return results


def peak(count: int, mode: str, mix: str, *, several: str) -> bool:
    """Print what one process takes at most for the targets of one anatomy, in outputs; whether at most 1.1."""
    command = [sys.executable, "-c", PEAK, mode, mix, str(count)]
    kilobytes = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    share = kilobytes * 1024 / (4 * count * count)
    return mark(f"N = {count}, {several}: memory taken over the output's", share, share <= 1.1, "at most 1.1")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 2048, 4096])
    parser.add_argument("--anatomies", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch and of the kernels")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = [good for count in arguments.sizes for good in measure(count, arguments)]
    print(f"{sum(results)} of {len(results)} marks reached")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
