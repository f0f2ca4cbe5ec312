"""Crops a second: the loader on a store, beside files as they are usually kept; memory over a thousand steps.

    python -m benchmarks.loader [--part speed|workers|memory ...] [--rounds 5] [--studies 8] [--data DIR]

DIR holds `real_ct/` (by default, CTVLP_SHARED_DATA). Its CT and label map are resampled to 488 x 404 x 224 voxels of
0.75 x 0.75 x 1.5 mm, preprocessed into a store of one study, and that study's file is copied to make `--studies`
studies. Everything lies in the page cache, and one process has one thread.

speed: batches of all studies, with all their anatomies. In each round the variants take turns, in an order that turns;
medians over the rounds of milliseconds a crop, those that passed and those of the processor, and of the rounds' ratios.
On a machine with other work the processor's tell more.
  store   `ctvlp.data.build_batch`: opens each study's file once and reads its crops
  crops   one gzip NIfTI of the image and one of the mask for each crop, on the crop's own grid, read by nibabel
  volume  one gzip NIfTI of the CT and one of the label map for each study, read whole by nibabel for each crop and
          sliced at the crop's box; bringing the slice onto the crop's grid is not counted, for the stored crop is
          taken. Only four crops are read, since this takes seconds a crop
  All three end with the same arrays, of image and mask. `read` is that alone; `batch` also has what is common to all,
  tokens and augmentation, for the size `bench` or `base`.
workers: crops a second of the loader with 0, 1 and 2 processes, each started afresh and warm.
memory: memory (shared pages once) and file handles of all processes after 100 steps and after 1,000 further ones; a
step is three crops of one study.

Exit status 1 if a figure misses its mark.
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import SimpleITK
import torch
from threadpoolctl import threadpool_limits

from benchmarks.file_crops import FileStore, write_crops
from benchmarks.marks import mark
from benchmarks.study_speed import MASK, VOXELS, Times, ratios, study_of, write_inputs
from ctvlp.augmentation import AugmentationSettings
from ctvlp.batches import Batch
from ctvlp.data import build_batch
from ctvlp.loader import open_batches
from ctvlp.model import SIZES
from ctvlp.samples import Sample, SampleText
from ctvlp.sampling import build_schedule
from ctvlp.sources import TokenSource
from ctvlp.tokenizer import Tokenizer
from preprocess.store import Store, study_path
from preprocess.vocabulary_files import load_vocabulary

PARTS = ("speed", "workers", "memory")
VARIANTS = ("store", "crops", "volume")
VOCABULARY = load_vocabulary("ct54")
STEPS = 1000


def write_store(real: Path, scratch: Path, studies: int) -> Store:
    """Write the store: one study of the real CT, and copies of it."""
    write_inputs(real, scratch / "inputs", VOXELS)
    place = scratch / "store"
    study_of(scratch / "inputs", MASK, place)()
    first = study_path(place, "study")
    for number in range(studies):
        shutil.copyfile(str(first), str(study_path(place, name_of(number))))
    return Store(place)


def name_of(number: int) -> str:
    return f"study{number:02d}"


def samples_of(store: Store, studies: int) -> dict[str, list[Sample]]:
    """Invented reports for the crops that the store has."""
    with store.open_study("study") as study:
        shown = [name for name in study.anatomies("v0") if study.anatomy_attributes("v0", name)["extent"] != "absent"]
    return {name_of(i): [sample_of(name_of(i), name, abnormal=(i + j) % 3 == 0) for j, name in enumerate(shown)]
            for i in range(studies)}  # fmt: skip


def sample_of(study: str, anatomy: str, *, abnormal: bool) -> Sample:
    labels = np.zeros(len(VOCABULARY.of(anatomy)), dtype=np.float32)
    text = SampleText(f"{anatomy} of {study}" if abnormal else f"The {anatomy} is unremarkable.", True)
    return Sample(
        study_id=study,
        patient_id=study,
        anatomy=anatomy,
        volume="v0",
        texts=(text,),
        normal=not abnormal,
        abnormal=abnormal,
        uncertain=False,
        labels=labels,
        whole=True,
        beyond_view=False,
    )


def source_of(store: Any, size: str) -> TokenSource:
    """What cuts crops as a model of a size does."""
    config = SIZES[size]
    edges = dict.fromkeys(VOCABULARY.anatomies, config.patch_voxels[0])
    tokenizer = Tokenizer(VOCABULARY.anatomies, edges, config.block_voxels, config.max_tokens)
    model: Any = SimpleNamespace(tokenizer=tokenizer, window=None)
    return TokenSource(store, model, shifts=3, seed=0, memory_gb=0.0)


def builder_of(store: Any, size: str) -> Callable[..., Batch]:
    return partial(
        build_batch, source=source_of(store, size), vocabulary=VOCABULARY, seed=0, augmentation=AugmentationSettings()
    )


def read_all(store: Any, samples: dict[str, list[Sample]]) -> None:
    """Read the crops of all samples, and leave it at that."""
    for study_id, mine in samples.items():
        with store.open_study(study_id) as study:
            for sample in mine:
                study.crop(sample.volume, sample.anatomy)


def measure_speed(store: Store, scratch: Path, rounds: int, studies: int) -> list[bool]:
    """Print seconds a crop of each variant, and the ratios; return whether these reach their marks."""
    write_crops(store, scratch / "inputs")
    every = samples_of(store, studies)
    stores: dict[str, Any] = {"store": store}
    stores |= {name: FileStore(store, scratch / "inputs", whole=name == "volume") for name in VARIANTS[1:]}
    few = {study: mine[:: max(1, len(mine) // 4)][:4] for study, mine in list(every.items())[:1]}
    taken = {name: few if name == "volume" else every for name in VARIANTS}
    jobs: dict[tuple[str, str], Callable[[], object]] = {}
    for name in VARIANTS:
        jobs[name, "read"] = partial(read_all, stores[name], taken[name])
        for size in ("bench", "base"):
            jobs[name, f"batch {size}"] = partial(builder_of(stores[name], size), 0, taken[name])
    crops = {name: sum(map(len, taken[name].values())) for name in VARIANTS}
    times = {job: Times([], []) for job in jobs}
    for number in range(rounds + 1):
        names = list(jobs)
        for job in (*names[number % len(names) :], *names[: number % len(names)]):
            start, busy = time.perf_counter(), time.process_time()
            jobs[job]()
            passed, busy = time.perf_counter() - start, time.process_time() - busy
            if number:  # the first round warms up
                times[job].passed.append(1000 * passed / crops[job[0]])
                times[job].busy.append(1000 * busy / crops[job[0]])
    return report_speed(times)


def report_speed(times: dict[tuple[str, str], Times]) -> list[bool]:
    results = []
    print(f"{'ms a crop (processor)':28s}" + "".join(f"{name:>20s}" for name in VARIANTS))
    for kind in ("read", "batch bench", "batch base"):
        cells = [tuple(map(statistics.median, times[name, kind])) for name in VARIANTS]
        print(f"{kind:28s}" + "".join(f"{f'{passed:.2f} ({busy:.2f})':>20s}" for passed, busy in cells))
        for name, least in (("volume", 20), ("crops", 2)):
            what = f"{kind}: crops a second, store over {name}"
            passed, _ = ratios(times[name, kind], times["store", kind], what)
            results.append(mark(what, passed, passed >= least, f"at least {least}"))
    return results


@contextmanager
def opened(
    store: Store, studies: int, batch: int, workers: int, epochs: int, *, crops: int | None = None
) -> Iterator[Iterator[Any]]:
    samples = {study: mine[:crops] for study, mine in samples_of(store, studies).items()}
    schedule = build_schedule(samples, batch, epochs=epochs, seed=0)
    with open_batches(schedule.steps(), samples, builder_of(store, "bench"), workers=workers) as batches:
        yield batches


def measure_workers(store: Store, rounds: int, studies: int) -> None:
    """Print crops a second of the loader for a few numbers of processes."""
    for workers in (0, 1, 2):
        with opened(store, studies, studies // 2, workers, epochs=1 + rounds) as batches:
            rates = []
            next(batches), next(batches)
            for _ in range(rounds):
                start, crops = time.perf_counter(), 0
                for _ in range(2):
                    crops += sum(len(part) for part in next(batches)[1].anatomies.values())
                rates.append(crops / (time.perf_counter() - start))
        print(f"{workers} processes: {statistics.median(rates):.0f} crops a second (median of {rounds} epochs)")


def measure_memory(store: Store, studies: int) -> list[bool]:
    """Print memory and file handles of all processes early and late; return whether they stay."""
    results = []
    for workers in (0, 2):
        with opened(store, studies, 1, workers, epochs=1 + (STEPS + 100) // studies, crops=3) as batches:
            children = [psutil.Process(child.pid) for child in multiprocessing.active_children()]
            seen = []
            for steps in (100, STEPS):
                for _ in range(steps):
                    next(batches)
                seen.append(usage([psutil.Process(), *children]))
        (memory, handles), (later, handles_later) = seen
        print(f"{workers} processes: {memory / 1e6:.0f} MB after 100 steps, {later / 1e6:.0f} MB after {STEPS} more")
        growth = (later - memory) / 1e6
        results.append(mark(f"{workers} processes: growth in MB", growth, growth <= 20, "at most 20"))
        more = handles_later - handles
        results.append(mark(f"{workers} processes: further file handles", more, more <= 4, "at most 4"))
    return results


def usage(processes: Sequence[psutil.Process]) -> tuple[int, int]:
    """Bytes in memory of processes, shared ones counted once each, and their open file handles."""
    return sum(p.memory_full_info().pss for p in processes), sum(p.num_fds() for p in processes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--studies", type=int, default=8)
    parser.add_argument("--data", type=Path, default=os.environ.get("CTVLP_SHARED_DATA", "../shared/data"))
    arguments = parser.parse_args()
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    torch.set_num_threads(1)
    results: list[bool] = []
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        store = write_store(arguments.data / "real_ct", Path(folder), arguments.studies)
        if "speed" in arguments.part:
            results += measure_speed(store, Path(folder), arguments.rounds, arguments.studies)
        if "workers" in arguments.part:
            measure_workers(store, arguments.rounds, arguments.studies)
        if "memory" in arguments.part:
            results += measure_memory(store, arguments.studies)
    print(f"{sum(results)} of {len(results)} marks reached")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
