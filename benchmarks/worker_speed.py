"""Studies an hour by one and by two workers, and how often networks are loaded: see `benchmarks.preprocess`."""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.marks import mark
from preprocess.simulate.archive import simulate_archive
from preprocess.weights import CHECKPOINT, total_mode

TESTS = Path(__file__).parents[1] / "tests"
NOTED = "NOTED_LOADS"
NOTE = f"""
import os, sys

def note(event, arguments):
    if event == "open" and str(arguments[0]).endswith("{CHECKPOINT}"):
        with open(os.environ["{NOTED}"], "a") as stream:
            print(os.getpid(), file=stream)

sys.addaudithook(note)
"""
"""Runs as each Python process starts: notes who opens a network's weights."""


class Run(NamedTuple):
    """What a run of `ctvlp preprocess` took, from its start to its end.

    Attributes:
        hourly: Studies an hour.
        busy: Seconds of the processor, of all its processes.
        process: Its number.
        counts: As `run.json` has them.
    """

    hourly: float
    busy: float
    process: int
    counts: Mapping[str, Any]


def simulated(scratch: Path, studies: int) -> Path:
    """The simulated archive with its masks, made once."""
    folder = scratch / "simulated"
    if not folder.exists():
        simulate_archive(folder, studies=studies, seed=0)
    return folder


def preprocess(archive: Path, store: Path, *, kill_after: int | None = None, **options: Any) -> Run:
    """Run the command.

    Args:
        archive: Folder of the archive.
        store: Made.
        kill_after: Kill the process that does the studies, once, when so many are in the store.
        options: Of the command.
    """
    words = [f"{name}={value}" for name, value in {"archive": archive, "out": store, **options}.items()]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run = psutil.Popen([sys.executable, "-m", "ctvlp.cli", "preprocess", *words], stdout=subprocess.DEVNULL)
    while kill_after is not None and run.poll() is None:
        if len(list((store / "studies").glob("*.json"))) >= kill_after:
            next(one for one in run.children(recursive=True) if "preprocess.child" in one.cmdline()).kill()
            kill_after = None
        time.sleep(0.2)
    if run.wait() != 0:
        raise SystemExit(f"the run ended with exit status {run.returncode}")
    passed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    counts = json.loads((store / "run.json").read_text())["counts"]
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(3600 * counts["done"] / passed, busy, run.pid, counts)


def measure_workers(scratch: Path, studies: int, rounds: int) -> list[bool]:
    """Print studies an hour by one and by two workers from given masks; return whether two are enough faster."""
    folder = simulated(scratch, studies)
    runs: dict[int, list[Run]] = {1: [], 2: []}
    for number in range(rounds):
        for workers, several in runs.items():
            store = scratch / f"store {workers} {number}"
            several.append(preprocess(folder / "archive", store, masks=folder / "masks", workers=workers))
            tell(f"masks given, {workers} workers", several[-1])
    one, two = (statistics.median(run.hourly for run in several) for several in runs.values())
    speedup = statistics.median(two.hourly / one.hourly for one, two in zip(*runs.values(), strict=True))
    print(f"median: {one:.0f} an hour by one, {two:.0f} by two")
    return [mark("two workers over one, masks given", speedup, speedup >= 1.6, "at least 1.6")]


def measure_networks(scratch: Path, studies: int) -> list[bool]:
    """Print how often a small network of TotalSegmentator's fast layout is loaded; return whether as often as due."""
    sys.path.insert(0, str(TESTS))
    from nnunet_folder import build_random_networks

    folder = simulated(scratch, studies)
    weights = build_random_networks(scratch / "weights", fast=True)
    (scratch / "note").mkdir()
    (scratch / "note" / "sitecustomize.py").write_text(NOTE)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(scratch / "note"), str(TESTS.parent)])
    results, hourly = [], []
    for workers, kill_after in ((1, None), (2, None), (2, studies // 3)):
        noted = scratch / f"loads {workers} {kill_after}"
        os.environ[NOTED] = str(noted)
        options = {"segmenter": "totalsegmentator", "weights": weights, "workers": workers, "kill_after": kill_after}
        run = preprocess(folder / "archive", noted.with_name(f"{noted.name} store"), **options)
        loads = sum(int(line) != run.process for line in noted.read_text().splitlines())  # that one digests them
        started, restarted = run.counts["children"]["started"], run.counts["children"]["restarted"]
        what = f"network, {workers} workers{', a child killed' if kill_after else ''}"
        tell(what, run)
        print(f"{what}: {loads} loads of {len(total_mode(fast=True).numbers)} network, {started} children started")
        results.append(loads == started == workers + restarted and (restarted > 0) == (kill_after is not None))
        hourly.append(run.hourly)
    speedup = hourly[1] / hourly[0]
    return [
        mark("runs whose loads are children started, workers and restarts", sum(results), all(results), "all 3"),
        mark("two workers over one, with the network", speedup, speedup >= 1.6, "at least 1.6"),
    ]


def tell(what: str, run: Run) -> None:
    children = run.counts["children"]
    print(
        f"{what}: {run.counts['done']} studies, {run.counts['failed']} failed, {run.hourly:.0f} an hour from start to "
        f"end, {run.busy:.1f} s of processor; {children['started']} children, {children['restarted']} of them restarts"
    )
