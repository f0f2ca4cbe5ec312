"""Kills runs of `ctvlp preprocess` at random instants, and compares what is left in the end to an undisturbed run.

    python -m benchmarks.kill_test [--kills 20] [--studies 6] [--seed 0] [--folder FOLDER]

An archive is simulated and a store is made from it undisturbed. Then another store is made again and again: a run is
started, and after a random time one of its processes, drawn at random (the run itself, a reader of headers or a
child), is killed by SIGKILL, and so on while the run lasts. Runs follow each other until one ends with every study
done; then studies must be equal byte for byte and tables row for row, and the next store begins. Exit status 1 if one
differs.
"""

import argparse
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil

from preprocess.check import check_store
from preprocess.pieces import read_pieces
from preprocess.simulate.archive import simulate_archive

TABLES = ("manifest.parquet", "series.parquet", "failures.jsonl")
TEXTS = ("links", "anatomies", "sentences", "labels", "evidence")
MOST_SECONDS = 600


def start(folder: Path, store: Path, workers: int) -> psutil.Popen:
    """Start a run."""
    words = [f"archive={folder / 'archive'}", f"masks={folder / 'masks'}", f"out={store}", f"workers={workers}"]
    words += [f"reports={folder / 'archive' / 'reports.csv'}", f"key_file={folder / 'key'}"]
    command = [sys.executable, "-m", "ctvlp.cli", "preprocess", *words]
    return psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def processes(run: psutil.Popen) -> dict[str, list[psutil.Process]]:
    """Processes of a run by what they are, `other` being those that Python needs."""
    kinds: dict[str, list[psutil.Process]] = {"run": [run]}
    for process in run.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            words = " ".join(process.cmdline())
            kind = "child" if "preprocess.child" in words else "reader" if "spawn_main" in words else "other"
            kinds.setdefault(kind, []).append(process)
    return kinds


def wait(run: psutil.Popen, seconds: float = float("inf"), *, store: Path | None = None) -> bool:
    """Wait some time, or until a run has begun to write a study; whether the run is still there."""
    before = None if store is None else written(store)
    end = time.monotonic() + seconds
    while time.monotonic() < end and (store is None or written(store) == before):
        if run.poll() is not None:
            return False
        time.sleep(0.005)
    return True


def written(store: Path) -> set[str]:
    """Names of the studies' files, whole or not."""
    return {path.name for path in (store / "studies").glob("*.zarr.zip*")}


def kill_one(
    run: psutil.Popen, store: Path, seconds: float, draw: random.Random
) -> tuple[str | None, list[psutil.Process]]:
    """Kill a process of the run; what it was, or None where the run ended before, and all processes that there were.

    One of four falls within `seconds` from now, the others within `seconds` from when the run writes its next study.
    """
    if draw.random() < 0.75 and not wait(run, store=store):
        return None, []
    if not wait(run, draw.uniform(0, seconds)):
        return None, []
    kinds = processes(run)
    kind = draw.choice([kind for kind in sorted(kinds) if kind != "other"])
    with suppress(psutil.NoSuchProcess):
        draw.choice(kinds[kind]).kill()
    return kind, [process for several in kinds.values() for process in several if process is not run]


def differences(store: Path, expected: Path) -> Iterator[str]:
    """What a store has otherwise than another, save for `run.json` and the time that things took."""
    for name in sorted({path.name for one in (store, expected) for path in (one / "studies").iterdir()}):
        one, other = store / "studies" / name, expected / "studies" / name
        if not (one.exists() and other.exists()):
            yield f"studies/{name} is in one store only"
        elif one.suffix != ".json" and one.read_bytes() != other.read_bytes():
            yield f"studies/{name} differs"
    records = [[{**vars(piece), "seconds": ()} for piece in read_pieces(one / "studies")] for one in (store, expected)]
    if records[0] != records[1]:
        yield "the records of studies differ"
    for name in (*TABLES, *(f"text/{text}.parquet" for text in TEXTS)):
        parquet = name.endswith(".parquet")
        read = pd.read_parquet if parquet else lambda path: pd.read_json(path, lines=True)
        if not read(store / name).equals(read(expected / name)):
            yield f"{name} differs"
    yield from check_store(store)
    yield from (f"{path.name} was left behind" for path in store.rglob("*.tmp"))


def disturb(folder: Path, store: Path, seconds: float, draw: random.Random, workers: int, most: int) -> Counter[str]:
    """Make a store by runs that lose processes, until one ends with every study done; what was killed.

    Raises:
        TimeoutError: A process outlives the run that it belongs to by a minute.
    """
    killed: Counter[str] = Counter()
    while True:
        run = start(folder, store, workers)
        tree: list[psutil.Process] = []
        while run.poll() is None and killed.total() < most:
            kind, tree = kill_one(run, store, seconds, draw)
            killed.update([] if kind is None else [kind])
        run.wait(MOST_SECONDS)
        _, alive = psutil.wait_procs(tree, timeout=60)
        if alive:
            raise TimeoutError(f"still there after the run: {[process.cmdline() for process in alive]}")
        if run.returncode == 0:
            return killed


def try_kills(folder: Path, kills: int, studies: int, seed: int) -> bool:
    """Print what was killed and whether the stores are equal; return whether they all are."""
    draw = random.Random(seed)
    simulate_archive(folder, studies=studies, seed=seed)
    (folder / "key").write_text("0123456789abcdef" * 2)
    run = start(folder, folder / "undisturbed", 1)
    wait(run, store=folder / "undisturbed")
    began = time.monotonic()
    run.wait(MOST_SECONDS)
    seconds = time.monotonic() - began
    print(f"{studies} simulated studies; {seconds:.1f} s from the first file to the end, undisturbed", flush=True)
    total: Counter[str] = Counter()
    good = True
    for number in itertools.count(1):
        store, workers = folder / f"store-{number}", 1 + number % 2
        killed = disturb(folder, store, seconds, draw, workers, kills - total.total())
        found = list(differences(store, folder / "undisturbed"))
        good &= not found
        total += killed
        what = ", ".join(f"{count} x {kind}" for kind, count in sorted(killed.items())) or "nothing"
        print(f"store {number}, workers={workers}: killed {what}: {'; '.join(found) or 'identical'}", flush=True)
        if total.total() >= kills:
            break
    print(f"{total.total()} kills: {dict(sorted(total.items()))}; {'all stores identical' if good else 'DIFFERENT'}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--studies", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="an empty folder to work in and keep; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if options.folder is None else options.folder
        return 0 if try_kills(folder / "simulated", options.kills, options.studies, options.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
