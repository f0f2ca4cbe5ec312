"""Preprocessing of one study against a floor and a chain of scripts; memory; two workers against one.

    python -m benchmarks.preprocess [--part speed|memory|workers ...] [--rounds 5] [--studies 100] [--data FOLDER]

FOLDER holds `real_ct/` (by default, CTVLP_SHARED_DATA). Its CT and label map are resampled to 488 x 404 x 224 voxels of
0.75 x 0.75 x 1.5 mm (image linear, labels nearest) and written as gzip NIfTI by SimpleITK. Processes have one thread.

speed: in each round every variant runs once, in an order that turns; medians over the rounds. Processor time is printed
beside the time that passed: on a machine with other work it tells more.
  study  `process_study`: read, check, crop, write and record; from the CT and one file of structures, or (`files`)
         from one file a structure, which is what the segmenter writes by default
  floor  what every way to this store has to do: decode the two files once, interpolate each stored image once and look
         up each stored mask once, compress the same arrays and write them. Decoder, interpolation, compression and its
         level and flushing to disk are those of `process_study`; the grids and the masks are given to it.
  chain  four scripts (`benchmarks.script_chain`), from one file of structures or from one file a structure; the second
         is what they are written for, and is held against `study`, which gets its structures in one piece
  Bytes are those left on disk: the study's two files; all that the chain writes.
memory: peak resident memory of one process that does all for one study, at this size and at 512 x 512 x 1000.
workers: simulated studies preprocessed by one and by two workers, in turn.

Exit status 1 if a figure misses its mark.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK
from numcodecs import Zstd
from threadpoolctl import threadpool_limits

from benchmarks.script_chain import run_chain
from preprocess.crops import CropGrid, nearest_indices, resample_image
from preprocess.label_places import take
from preprocess.pipeline import preprocess_archive
from preprocess.publish import publish
from preprocess.readers_nifti import read_nifti, read_nifti_grid
from preprocess.series import SeriesSource
from preprocess.simulate.archive import simulate_archive
from preprocess.store import Store
from preprocess.structures import structure_numbers
from preprocess.study import Settings, StudySource, StudyTask, process_study
from preprocess.vocabulary import load_anatomies

PARTS = ("speed", "memory", "workers")
VOXELS = {"488x404x224": (488, 404, 224), "512x512x1000": (512, 512, 1000)}
"""Along (x, y, z); both hold the whole CT, so that the first has voxels of 0.75 x 0.75 x 1.5 mm."""
MOST_MB = {"488x404x224": 800, "512x512x1000": 3000}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
IMAGE, MASK, STRUCTURES = "ct.nii.gz", "totalseg_v2.nii.gz", "structures"
LEVEL = 3
"""Of Zstandard in the store."""
CHILD = """
import sys
from pathlib import Path
from preprocess.pipeline import preprocess_archive
image, masks, store = sys.argv[1:]
summary = preprocess_archive(image, store, masks=masks, workers=0)
if summary.failed:
    sys.exit(str(summary.reasons))
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1])
"""
"""Does the study in its own process; prints the kilobytes of its peak, of which Linux keeps count."""


def write_inputs(real: Path, out: Path, voxels: Sequence[int]) -> Path:
    """Resample the CT and its label map to a number of voxels over the same extent, and write both."""
    out.mkdir(parents=True)
    for name, interpolator in ((IMAGE, SimpleITK.sitkLinear), (MASK, SimpleITK.sitkNearestNeighbor)):
        source = SimpleITK.ReadImage(real / name)
        spacing = np.array(source.GetSpacing()) * source.GetSize() / voxels
        turn = np.reshape(source.GetDirection(), (3, 3))
        resample = SimpleITK.ResampleImageFilter()
        resample.SetInterpolator(interpolator)
        resample.SetSize(voxels)
        resample.SetOutputSpacing(spacing.tolist())
        resample.SetOutputOrigin((np.array(source.GetOrigin()) + turn @ (spacing - source.GetSpacing()) / 2).tolist())
        resample.SetOutputDirection(source.GetDirection())
        resample.SetUseNearestNeighborExtrapolator(True)
        resample.SetOutputPixelType(SimpleITK.sitkUInt8 if name == MASK else SimpleITK.sitkInt16)
        SimpleITK.WriteImage(resample.Execute(source), out / name)
    return out


def write_structures(inputs: Path) -> None:
    """Write one file a structure beside the file with all, empty ones too."""
    (inputs / STRUCTURES).mkdir()
    labels = SimpleITK.ReadImage(inputs / MASK)
    for name, number in structure_numbers().items():
        SimpleITK.WriteImage(labels == number, inputs / STRUCTURES / f"{name}.nii.gz")


def study_of(inputs: Path, masks: str, store: Path) -> Callable[[], Mapping[str, float]]:
    """Return what does the study anew and gives its seconds a stage."""
    (store / "studies").mkdir(parents=True)
    series = SeriesSource(IMAGE, "nifti", (inputs / IMAGE,))
    task = StudyTask(
        source=StudySource(root=inputs, key="ct", keys=("ct",), patient=None, series=(series,)),
        study_id="study",
        patient_id="patient",
        split="train",
        study_day=None,
        series_ids={IMAGE: "series"},
        masks=inputs / masks,
        identifiers={},
        digest="",
    )
    settings = Settings(store=store, anatomies=load_anatomies())

    def run() -> Mapping[str, float]:
        piece = process_study(task, settings)
        if piece.status != "done":
            raise SystemExit(f"the study failed: {piece.message}")
        return piece.seconds

    return run


def floor_of(inputs: Path, store: Path, out: Path) -> Callable[[], None]:
    """Return what only decodes, resamples, compresses and writes; `store` holds the study."""
    with Store(store).open_study("study") as study:
        overview, affine = study.overview("v0")
        grids = [(overview.shape, affine)]
        crops = [study.crop("v0", name) for name in study.anatomies("v0")]
    grids += [(crop.image.shape, crop.affine) for crop in crops if crop.image is not None]
    masks = [None, *(crop.mask for crop in crops if crop.image is not None)]

    def run() -> None:
        volume = read_nifti(inputs / IMAGE)
        labels, _, _ = read_nifti_grid(inputs / MASK)
        arrays = [labels]
        for (shape, affine), mask in zip(grids, masks, strict=True):
            step = np.linalg.solve(volume.affine, affine)
            z, y, x = (step[axis, 3] + step[axis, axis] * np.arange(shape[axis]) for axis in range(3))
            grid = CropGrid((z, y, x), affine, (0.0, 0.0, 0.0))
            arrays.append(resample_image(volume.hu, grid))
            if mask is not None:
                take(labels, *nearest_indices(grid, volume.shape))
                arrays.append(mask)
        publish(out, b"".join(Zstd(level=LEVEL, checksum=True).encode(array) for array in arrays))

    return run


def chain_of(inputs: Path, masks: str, out: Path) -> Callable[[], None]:
    """Return what runs the scripts."""
    out.mkdir()
    organs = {name: anatomy.structures for name, anatomy in load_anatomies().items()}
    return lambda: run_chain(inputs / IMAGE, inputs / masks, organs, structure_numbers(), out)


def measure_speed(real: Path, scratch: Path, rounds: int) -> list[bool]:
    """Print seconds and bytes of all variants and the three ratios; return whether each reaches its mark."""
    inputs = write_inputs(real, scratch / "speed", VOXELS["488x404x224"])
    write_structures(inputs)
    study = study_of(inputs, MASK, scratch / "store")
    study()
    variants: dict[str, Callable[[], Any]] = {  # study and floor both come after a chain, with memory in the same state
        "chain": chain_of(inputs, MASK, scratch / "chain"),
        "study": study,
        "chain, files": chain_of(inputs, STRUCTURES, scratch / "chain files"),
        "floor": floor_of(inputs, scratch / "store", scratch / "floor.bin"),
        "study, files": study_of(inputs, STRUCTURES, scratch / "store files"),
    }
    times = {name: Times([], []) for name in variants}
    stages: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        names = list(variants)
        for name in (*names[number % len(names) :], *names[: number % len(names)]):
            start, busy = time.perf_counter(), time.process_time()
            result = variants[name]()
            if number:  # the first round warms up
                times[name].passed.append(time.perf_counter() - start)
                times[name].busy.append(time.process_time() - busy)
                for stage, spent in (result if name == "study" else {}).items():
                    stages.setdefault(stage, []).append(spent)
    print("stages of study: " + ", ".join(f"{stage} {statistics.median(v):.3f} s" for stage, v in stages.items()))
    return report_speed(times, scratch)


class Times(NamedTuple):
    """Seconds of each round: those that passed, and those of the processor."""

    passed: list[float]
    busy: list[float]


def report_speed(times: Mapping[str, Times], scratch: Path) -> list[bool]:
    """Print the table and the ratios; return whether each reaches its mark."""
    folders = {"study": "store", "study, files": "store files", "chain": "chain", "chain, files": "chain files"}
    size = {name: size_of(scratch / folder) for name, folder in folders.items()}
    print(f"{'variant':14s} {'median s':>9s} {'least':>7s} {'most':>7s} {'busy s':>7s} {'MB left':>8s}")
    for name, (passed, busy) in times.items():
        left = f"{size[name] / 1e6:8.1f}" if name in size else ""
        median = statistics.median(passed)
        print(f"{name:14s} {median:9.3f} {min(passed):7.3f} {max(passed):7.3f} {statistics.median(busy):7.3f} {left}")
    over, _ = ratios(times["study"], times["floor"], "study over floor")
    ratios(times["chain"], times["study"], "chain over study, both from one file of structures")
    ratios(times["chain, files"], times["study, files"], "chain over study, both from one file a structure")
    whole, _ = ratios(times["chain, files"], times["study"], "chain from one file a structure over study")
    share = size["study"] / size["chain"]
    return [
        mark("(a) study over floor", over, over <= 1.5, "at most 1.5"),
        mark("(b) chain from one file a structure over study", whole, whole >= 10, "at least 10"),
        mark("(c) bytes of study over chain", share, share <= 1 / 3, "at most a third"),
    ]


def ratios(one: Times, other: Times, what: str) -> tuple[float, float]:
    """Print and return the median over the rounds of one variant's seconds over the other's: passed, and busy."""
    passed, busy = (
        statistics.median(a / b for a, b in zip(*pair, strict=True)) for pair in zip(one, other, strict=True)
    )
    print(f"{what}, median of the rounds' ratios: {passed:.2f}; of processor time {busy:.2f}")
    return passed, busy


def size_of(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def mark(what: str, value: float, good: bool, wanted: str) -> bool:
    """Print a figure and whether it reaches its mark."""
    print(f"{what}: {value:.3g} ({wanted}){'' if good else '   <--'}")
    return good


def measure_memory(real: Path, scratch: Path) -> list[bool]:
    """Print the peak memory of one study of each size; return whether each reaches its mark."""
    results = []
    for name, voxels in VOXELS.items():
        inputs = write_inputs(real, scratch / name, voxels)
        command = [sys.executable, "-c", CHILD, inputs / IMAGE, inputs / MASK, scratch / f"{name} store"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak = int(text) * 1024 / 1e6
        results.append(mark(f"{name}: peak resident MB", peak, peak <= MOST_MB[name], f"at most {MOST_MB[name]}"))
    return results


def measure_workers(scratch: Path, studies: int, rounds: int) -> list[bool]:
    """Print studies an hour by one and by two workers; return whether two are enough faster."""
    simulated = scratch / "simulated"
    simulate_archive(simulated, studies=studies, seed=0)
    hourly: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for workers in hourly:
            ends: list[float] = []
            start = time.perf_counter()
            summary = preprocess_archive(
                simulated / "archive",
                scratch / f"store {workers} {number}",
                masks=simulated / "masks",
                workers=workers,
                progress=lambda ended, *_, ends=ends: ends.append(time.perf_counter()) if ended else None,
            )
            hourly[workers].append(3600 * summary.done / (time.perf_counter() - start))
            under_way = 3600 * (len(ends) - 1) / (ends[-1] - ends[0])
            print(
                f"{workers} workers: {summary.done} studies, {hourly[workers][-1]:.0f} an hour with index, start and "
                f"tables, {under_way:.0f} once under way; {summary.failed} failed"
            )
    speedup = statistics.median(two / one for one, two in zip(hourly[1], hourly[2], strict=True))
    print(f"median: {statistics.median(hourly[1]):.0f} an hour by one, {statistics.median(hourly[2]):.0f} by two")
    return [mark("two workers over one", speedup, speedup >= 1.6, "at least 1.6")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--data", type=Path, default=os.environ.get("CTVLP_SHARED_DATA", "../shared/data"))
    arguments = parser.parse_args()
    os.environ.update(ONE_THREAD)  # of the processes started here
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    results: list[bool] = []
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        scratch, real = Path(folder), arguments.data / "real_ct"
        if "speed" in arguments.part:
            results += measure_speed(real, scratch, arguments.rounds)
        if "memory" in arguments.part:
            results += measure_memory(real, scratch)
        if "workers" in arguments.part:
            results += measure_workers(scratch, arguments.studies, arguments.rounds)
    print(f"{sum(results)} of {len(results)} marks reached")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
