"""Preprocessing of one study against a floor and a chain of scripts; memory; two workers against one; networks.

    python -m benchmarks.preprocess [--part speed|memory|workers|networks ...] [--rounds 5] [--studies 100] [--data DIR]

DIR holds `real_ct/` (by default, CTVLP_SHARED_DATA). Its CT and label map are resampled to 488 x 404 x 224 voxels of
0.75 x 0.75 x 1.5 mm (image linear, labels nearest) and written as gzip NIfTI by SimpleITK. Processes have one thread.

speed: in each round every variant runs three times in a row, in an order that turns and each in a process of its own
that stays; medians over the rounds. Processor time is printed beside the time that passed: on a machine with other work
it tells more.
  study  `process_study`: read, check, crop, write and record; from the CT and one file of structures, or (`files`)
         from one file a structure, which is what the segmenter writes by default
  floor  what every way to this store has to do: decode the two files once, interpolate each stored image once and look
         up each stored mask once, compress the same arrays and write them. Decoder, interpolation, compression and its
         level and flushing to disk are those of `process_study`; the grids and the masks are given to it.
  chain  four scripts (`benchmarks.script_chain`), from one file of structures or from one file a structure, held
         against `study` from the same input
  decode files: no more than decoding one file a structure, all 117
  Bytes are those left on disk: the study's two files; all that the chain writes.
memory: peak resident memory of one process that does all for one study, at this size and at 512 x 512 x 1000.
workers: simulated studies with their masks, by `ctvlp preprocess` with one and with two workers, in turn; everything
  counts, from the start of the command to its end.
networks: the same studies without masks, by a small network of TotalSegmentator's fast layout: each opening of its
  weights is noted, by the interpreter's own audit hook, and compared with the children that the run says it started.
  In a third run a child is killed.

Exit status 1 if a figure misses its mark.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import SimpleITK
from threadpoolctl import threadpool_limits

from benchmarks.marks import mark
from benchmarks.study_speed import IMAGE, MASK, VOXELS, measure_speed, write_inputs
from benchmarks.worker_speed import measure_networks, measure_workers
from preprocess.worker import ONE_THREAD

PARTS = ("speed", "memory", "workers", "networks")
SIZES = {"488x404x224": VOXELS, "512x512x1000": (512, 512, 1000)}
MOST_MB = {"488x404x224": 800, "512x512x1000": 3000}
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


def measure_memory(real: Path, scratch: Path) -> list[bool]:
    """Print the peak memory of one study of each size; return whether each reaches its mark."""
    results = []
    for name, voxels in SIZES.items():
        inputs = write_inputs(real, scratch / name, voxels)
        command = [sys.executable, "-c", CHILD, inputs / IMAGE, inputs / MASK, scratch / f"{name} store"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak = int(text) * 1024 / 1e6
        results.append(mark(f"{name}: peak resident MB", peak, peak <= MOST_MB[name], f"at most {MOST_MB[name]}"))
    return results


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
        if "networks" in arguments.part:
            results += measure_networks(scratch, arguments.studies)
    print(f"{sum(results)} of {len(results)} marks reached")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
