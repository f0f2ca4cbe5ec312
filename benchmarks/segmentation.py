"""What the segmenter costs beside the network itself, held against TotalSegmentator's own way with the same network.

    python -m benchmarks.segmentation

prints, for a volume of 488 x 404 x 224 voxels of 0.75 x 0.75 x 1.5 mm, seconds and peak memory of bringing it to the
networks' spacing and the labels back, and for a small network seconds of a further case. Labels are compared on the
way. The network is a small one with random weights, made by the tests' own builder: times of real networks come on top
and are the same for both. `benchmarks.segmentation_memory` tells the memory that networks of real size take.
"""

import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from totalsegmentator.alignment import as_closest_canonical, undo_canonical
from totalsegmentator.resampling import change_spacing

from preprocess.geometry import affine_from_axes, nifti_from_affine
from preprocess.segment import segment
from preprocess.total import lower, raise_back
from preprocess.volume import Volume

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
REPEATS = 5


def draw_volume(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Volume:
    hu = np.random.default_rng(0).integers(-1000, 1000, shape, dtype=np.int16)
    return Volume(hu, affine_from_axes((0.0, 0.0, 0.0), np.eye(3)[::-1], spacing_mm))


def measure(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """The value, the median of CPU seconds, and the peak of what numpy allocates in MiB."""
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        value = work()
        seconds.append(time.process_time() - start)
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return value, statistics.median(seconds), peak


def compare_resampling(spacing_mm: float) -> None:
    volume = draw_volume((224, 404, 488), (1.5, 0.75, 0.75))
    image = nibabel.Nifti1Image(volume.hu.transpose(2, 1, 0), nifti_from_affine(volume.affine))
    upright = as_closest_canonical(image)

    def their_lower() -> Any:
        given = nibabel.Nifti1Image(image.get_fdata(caching="unchanged"), image.affine)
        return change_spacing(as_closest_canonical(given), [spacing_mm] * 3, order=1, dtype=np.int32)

    low, *ours = measure(lambda: lower(volume, spacing_mm))
    expected, *theirs = measure(their_lower)
    assert np.array_equal(low.hu.transpose(2, 1, 0), expected.get_fdata())
    tell(f"to {spacing_mm} mm", ours, theirs)
    labels = np.random.default_rng(0).integers(0, 118, low.hu.shape, dtype=np.uint8)

    def their_back() -> Any:
        given = nibabel.Nifti1Image(labels.transpose(2, 1, 0), upright.affine)
        up = change_spacing(
            given, [spacing_mm] * 3, upright.shape, order=0, dtype=np.uint8, force_affine=upright.affine
        )
        return undo_canonical(up, image).get_fdata().astype(np.uint8)

    back, *ours = measure(lambda: raise_back(labels, volume))
    expected, *theirs = measure(their_back)
    assert np.array_equal(back.transpose(2, 1, 0), expected)
    tell(f"labels back from {spacing_mm} mm", ours, theirs)


def tell(what: str, ours: list[float], theirs: list[float]) -> None:
    """Seconds and MiB, ours and TotalSegmentator's."""
    print("{}: {:.2f} s, {:.0f} MiB; TotalSegmentator {:.2f} s, {:.0f} MiB".format(what, *ours, *theirs))


def compare_cases(weights: Path) -> None:
    """A case after the first, with the network kept and with TotalSegmentator's API."""
    from totalsegmentator_api import api_labels

    volume = draw_volume((40, 50, 60), (5.0, 2.5, 1.75))
    segment(volume, weights=weights)
    start = time.perf_counter()
    ours = segment(volume, weights=weights).labels
    middle = time.perf_counter()
    theirs = api_labels(volume, weights, weights / "home", fast=True, in_processes=True)
    end = time.perf_counter()
    assert np.array_equal(ours, theirs)
    print(f"a further case, small network: {middle - start:.1f} s; TotalSegmentator's API {end - middle:.1f} s")


def main() -> None:
    from nnunet_folder import build_random_networks

    for spacing_mm in (3.0, 1.5):
        compare_resampling(spacing_mm)
    with tempfile.TemporaryDirectory() as folder:
        compare_cases(build_random_networks(Path(folder), fast=True))


if __name__ == "__main__":
    main()
