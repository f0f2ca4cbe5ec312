"""Peak memory of segmenting one volume with networks of TotalSegmentator's real size, held against its own Python API.

    python -m benchmarks.segmentation_memory

builds networks of the real architecture with random weights (1.4 GB in a temporary folder), and prints for volumes of
several sizes, in both modes, the peak resident memory of a process that segments them, what `preprocess.estimate` says
beforehand, and for one volume in `fast` mode the peak of TotalSegmentator's API with its child processes. A tile takes
some 20 s of one core, so that each network really runs on the first tile of a volume only; for the others zeros of the
same shape stand in, which takes no less memory: sums, labels and all else are made as usual.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

import preprocess.study  # what a study's process has loaded  # noqa: F401
from benchmarks.segmentation import draw_volume
from preprocess.estimate import Extent, estimate_bytes
from preprocess.segment import segment
from preprocess.worker import ONE_THREAD

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
VOLUMES = (
    ((100, 256, 256), (3.0, 1.4, 1.4)),
    ((224, 404, 488), (1.5, 0.75, 0.75)),
    ((160, 512, 512), (5.0, 0.98, 0.98)),
    ((1000, 512, 512), (1.0, 0.8, 0.8)),
)
COMPARED = ("fast", VOLUMES[1])
_LOOK_SECONDS = 0.02


def run_first_tile_only() -> None:
    """nnU-Net's predictors of this process answer the first tile that they get, and zeros from then on."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    own = nnUNetPredictor._internal_maybe_mirror_and_predict
    shapes: dict[int, Any] = {}

    def answer(predictor: Any, tile: Any) -> Any:
        if id(predictor) in shapes:
            return tile.new_zeros(shapes[id(predictor)])
        found = own(predictor, tile)
        shapes[id(predictor)] = found.shape
        return found

    nnUNetPredictor._internal_maybe_mirror_and_predict = answer


def segment_once(weights: Path, mode: str, way: str, extent: Extent) -> None:
    """In a process of its own; prints the peak in MiB."""
    volume = draw_volume(extent.shape, extent.spacing_mm)
    if way == "ours":
        run_first_tile_only()
        segment(volume, weights=weights, fast=mode == "fast")
    else:
        from totalsegmentator_api import api_labels

        run_first_tile_only()
        api_labels(volume, weights, weights / "home", fast=mode == "fast", in_processes=True)
    print(peak_mib())


def measure(weights: Path, mode: str, way: str, extent: Extent) -> tuple[int, float]:
    """Peak in MiB, of the process itself or, where it starts others, of all together; and seconds."""
    command = [sys.executable, "-m", "benchmarks.segmentation_memory", "--weights", str(weights), "--mode", mode]
    command += ["--way", way, "--extent", *map(str, (*extent.shape, *extent.spacing_mm))]
    before = time.perf_counter()
    together = 0
    with subprocess.Popen(command, env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE, text=True) as process:
        while way == "api" and process.poll() is None:
            together = max(together, _resident(psutil.Process(process.pid)))
            time.sleep(_LOOK_SECONDS)
        assert process.stdout is not None
        words = process.stdout.read().split()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return max(together >> 20, int(words[-1])), time.perf_counter() - before


def peak_mib() -> int:
    """The most resident memory that this process had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def _resident(process: psutil.Process) -> int:
    """Bytes that a process and its descendants hold; a page that n of them share counts 1/n for each."""
    total = 0
    try:
        for member in (process, *process.children(recursive=True)):
            total += member.memory_full_info().pss
    except psutil.Error:
        return total
    return total


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=Path, help="networks that were built before")
    parser.add_argument("--mode", choices=("fast", "full"))
    parser.add_argument("--way", choices=("ours", "api"))
    parser.add_argument("--extent", nargs=6, type=float, metavar=("Z", "Y", "X", "DZ", "DY", "DX"))
    options = parser.parse_args()
    if options.extent is not None:
        z, y, x, *spacing_mm = options.extent
        segment_once(options.weights, options.mode, options.way, Extent((int(z), int(y), int(x)), tuple(spacing_mm)))
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = options.weights or build(Path(folder))
        for mode in ("fast", "full"):
            for volume in VOLUMES:
                tell(weights, mode, Extent(*volume), compare=(mode, volume) == COMPARED)


def build(folder: Path) -> Path:
    from nnunet_folder import REAL_FAST, REAL_FULL, build_random_networks

    build_random_networks(folder, fast=True, size=REAL_FAST)
    return build_random_networks(folder, fast=False, size=REAL_FULL)


def tell(weights: Path, mode: str, extent: Extent, *, compare: bool) -> None:
    peak, seconds = measure(weights, mode, "ours", extent)
    estimated = estimate_bytes(extent, network=True) >> 20
    words = f"{mode}, {extent}: {peak} MiB, estimated {estimated} MiB ({seconds:.0f} s)"
    if compare:
        peak, seconds = measure(weights, mode, "api", extent)
        words += f"; TotalSegmentator's API {peak} MiB ({seconds:.0f} s)"
    print(words, flush=True)


if __name__ == "__main__":
    main()
