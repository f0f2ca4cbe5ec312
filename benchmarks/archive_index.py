"""Index a simulated archive of many files: rate, memory, size, and what a refresh looks into.

    python -m benchmarks.archive_index [--files 200000] [--changed 3]

No file is made: listing and reading are simulated, so that what is measured is the index itself. A study has 850 files
in 5 series, a folder each, and a time of modification of its own.
"""

import argparse
import json
import resource
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from preprocess.dicom_headers import DicomHeader
from preprocess.index import ArchiveIndex
from preprocess.index_files import Facts, FileFacts, facts_of
from preprocess.index_refresh import RefreshCounts
from preprocess.index_trees import Entry

ROOT = Path("/archive")
SERIES, SLICES = 5, 170
OLD = 1_700_000_000 * 10**9


class SimulatedTree:
    """An archive of `studies` folders with a folder for each series.

    Args:
        studies: How many.
        changed: Studies whose first series gained a slice.
    """

    root = ROOT
    place = json.dumps([str(ROOT)])

    def __init__(self, studies: int, changed: frozenset[int] = frozenset()) -> None:
        self.studies = studies
        self.changed = changed

    def mtime_ns(self, folder: str) -> int:
        """See `index_trees.Tree`."""
        return OLD + self._grown(folder)

    def entries(self, folder: str) -> Iterator[Entry]:
        """See `index_trees.Tree`."""
        depth = folder.count("/") + bool(folder)
        if depth < 2:
            names = (f"study{n:06d}" for n in range(self.studies)) if depth == 0 else (f"s{n}" for n in range(SERIES))
            yield from (Entry(name, True) for name in names)
        else:
            yield from (Entry(f"IM{n:05d}", False, 526_000, OLD) for n in range(SLICES + self._grown(folder)))

    def _grown(self, folder: str) -> bool:
        return folder.endswith("/s0") and int(folder[5:11]) in self.changed


class SimulatedReader:
    """Headers of the simulated files; counts them."""

    def __init__(self) -> None:
        self.read = 0
        self._series, self._facts = "", None

    def __call__(self, paths: Sequence[str]) -> list[Facts]:
        """What the files are."""
        self.read += len(paths)
        return [self._file(path) for path in paths]

    def _file(self, path: str) -> FileFacts:
        series, name = path.rsplit("/", 1)
        if series != self._series or self._facts is None:
            self._series, self._facts = series, facts_of(header(series), ROOT)
        number = int(name[2:])
        places = array("d", (-180.5, -172.25, 1.25 * number)).tobytes()
        kind, key, shared, _, _ = self._facts
        return FileFacts(kind, key, shared, f"{key}.{series[-1]}.{number}", places)


def header(series: str) -> DicomHeader:
    """The first slice's header."""
    study, number = int(series[5:11]), int(series[-1])
    uid = f"1.2.826.0.1.3680043.8.498.{study:039d}"
    return DicomHeader(
        path=ROOT / series / "IM00000", study_uid=uid, accession=f"ACC{study:08d}",
        patient=f"PAT{study // 2:07d}", series_uid=f"{uid}.{number}", instance_uid="",
        positions=((-180.5, -172.25, 0.0),), orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        pixel_spacing=(0.7421875, 0.7421875), size=(512, 512), refusal=None, day=None, age_years=61.0, sex="F",
        manufacturer="SIMULATED", model="Scanner 64", description=f"Abdomen series {number} portal venous",
        contrast=True, kernel="B30f", original=True, splits=(("acquisition", str(number)), ("kernel", "B30f")),
    )  # fmt: skip


def refresh(place: Path, tree: SimulatedTree) -> tuple[RefreshCounts, int, float]:
    """Counts, files read and seconds of a refresh."""
    reader, start = SimulatedReader(), time.perf_counter()
    with ArchiveIndex(place) as index:
        counts = index.refresh(tree, read=reader)
    return counts, reader.read, time.perf_counter() - start


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--changed", type=int, default=3)
    arguments = parser.parse_args()
    studies = max(arguments.files // (SERIES * SLICES), 1)
    changed = frozenset(range(0, studies, max(studies // arguments.changed, 1)))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "archive.index.sqlite"
        refresh(Path(folder) / "warm.sqlite", SimulatedTree(1))
        before = peak_mib()
        _, files, seconds = refresh(place, SimulatedTree(studies))
        print(f"{files} files of {studies} studies: {seconds:.1f} s, {files / seconds:.0f} files a second")
        print(f"peak memory grew by {peak_mib() - before:.0f} MiB (from {before:.0f}); "
              f"index of {place.stat().st_size / files:.0f} bytes a file")  # fmt: skip
        for title, tree in (("nothing changed", SimulatedTree(studies)),
                            (f"{len(changed)} studies changed", SimulatedTree(studies, changed))):  # fmt: skip
            counts, read, seconds = refresh(place, tree)
            looked = f"{counts.visited} folders looked at, {counts.listed} listed"
            print(f"{title}: {looked}, {read} files read, {seconds:.2f} s")
        with ArchiveIndex(place, read_only=True) as index:
            seconds = timed(lambda: sum(summary.files for summary in index.summaries()))
            some = list(index.study_keys())[: min(studies, 50)]
            one = timed(lambda: [index.study(key) for key in some]) / len(some)
        print(f"all summaries: {seconds:.2f} s; one study with its {SERIES * SLICES} files: {one * 1000:.1f} ms")
        print(f"peak memory at the end: {peak_mib():.0f} MiB")


if __name__ == "__main__":
    main()
