"""How long one study takes, beside a floor and a chain of scripts: see `benchmarks.preprocess`."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import SimpleITK
from numcodecs import Zstd

from benchmarks.marks import mark
from benchmarks.script_chain import run_chain
from preprocess.crops import CropGrid, nearest_indices, resample_image
from preprocess.label_places import take
from preprocess.publish import publish
from preprocess.readers_nifti import open_nifti, read_nifti, read_nifti_grid
from preprocess.series import SeriesSource
from preprocess.store import Store
from preprocess.structures import structure_numbers
from preprocess.study import Settings, StudySource, StudyTask, process_study
from preprocess.vocabulary_files import load_anatomies

VOXELS = (488, 404, 224)
"""Along (x, y, z); over the whole CT, so that voxels are 0.75 x 0.75 x 1.5 mm."""
IMAGE, MASK, STRUCTURES = "ct.nii.gz", "totalseg_v2.nii.gz", "structures"
LEVEL = 3
"""Of Zstandard in the store."""
IN_A_ROW = 3
"""Studies that a variant does when its turn comes."""


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
    series = SeriesSource(IMAGE, "nifti", (str(inputs / IMAGE),))
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


def decoding_of(inputs: Path) -> Callable[[], None]:
    """Return what decodes one file a structure, all that there are, and does nothing with them."""

    def run() -> None:
        for path in sorted((inputs / STRUCTURES).iterdir()):
            for _ in open_nifti(path).slabs():
                pass

    return run


def chain_of(inputs: Path, masks: str, out: Path) -> Callable[[], None]:
    """Return what runs the scripts."""
    out.mkdir()
    organs = {name: anatomy.structures for name, anatomy in load_anatomies().items()}
    return lambda: run_chain(inputs / IMAGE, inputs / masks, organs, structure_numbers(), out)


class Variant:
    """One way to do the study, in a process of its own that stays and does one after the other, as a worker's does.

    So what the others leave in memory, or take of it, is no part of its time.
    """

    def __init__(self, make: Callable[..., Callable[[], Any]], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, make, arguments), daemon=True)
        self._process.start()
        other.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.send(False)
        self._process.join()

    def run(self) -> tuple[float, float, Any]:
        """Seconds that passed and those of the processor, for one of `IN_A_ROW`, and what the last one gave.

        Raises:
            EOFError: Where the process ended; it has printed why.
        """
        self._connection.send(True)
        passed, busy, result = self._connection.recv()
        return passed, busy, result


def _serve(connection: Connection, make: Callable[..., Callable[[], Any]], arguments: Sequence[Any]) -> None:
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    run = make(*arguments)
    while connection.recv():
        start, busy = time.perf_counter(), time.process_time()
        results = [run() for _ in range(IN_A_ROW)]
        passed, busy = time.perf_counter() - start, time.process_time() - busy
        connection.send((passed / IN_A_ROW, busy / IN_A_ROW, results[-1]))


def measure_speed(real: Path, scratch: Path, rounds: int) -> list[bool]:
    """Print seconds and bytes of all variants and their ratios; return whether each reaches its mark."""
    inputs = write_inputs(real, scratch / "speed", VOXELS)
    write_structures(inputs)
    study_of(inputs, MASK, scratch / "store for floor")()
    with ExitStack() as stack:
        variants = {
            name: stack.enter_context(Variant(*made))
            for name, made in {
                "chain": (chain_of, inputs, MASK, scratch / "chain"),
                "study": (study_of, inputs, MASK, scratch / "store"),
                "chain, files": (chain_of, inputs, STRUCTURES, scratch / "chain files"),
                "floor": (floor_of, inputs, scratch / "store for floor", scratch / "floor.bin"),
                "study, files": (study_of, inputs, STRUCTURES, scratch / "store files"),
                "decode files": (decoding_of, inputs),
            }.items()
        }
        times = {name: Times([], []) for name in variants}
        stages: dict[str, list[float]] = {}
        for number in range(rounds + 1):
            names = list(variants)
            for name in (*names[number % len(names) :], *names[: number % len(names)]):
                passed, busy, result = variants[name].run()
                if number:  # the first round warms up
                    times[name].passed.append(passed)
                    times[name].busy.append(busy)
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
    one, _ = ratios(times["chain"], times["study"], "chain over study, both from one file of structures")
    ratios(times["chain, files"], times["study, files"], "chain over study, both from one file a structure")
    ratios(times["study, files"], times["decode files"], "study from one file a structure over decoding them")
    share = size["study"] / size["chain"]
    return [
        mark("(a) study over floor", over, over <= 1.5, "at most 1.5"),
        mark("(b) chain over study, both from one file of structures", one, one >= 10, "at least 10"),
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
