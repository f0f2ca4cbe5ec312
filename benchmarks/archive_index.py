"""Index an archive of many files: rate, memory, size, what a refresh looks into, and the plan made from it.

    python -m benchmarks.archive_index [--files 200000] [--changed 3] [--real 10000] [--folder FOLDER]

The files of the large archive are not made: lists of entries and contents of headers come from memory, in place of the
file system and of pydicom. All that follows is what a run does: the comparison with the known rows, batches, grouping
into series and studies, their summaries, the plan. A study has 850 files in 5 series, a folder each. What listing and
reading cost is measured apart, on `--real` small DICOM files.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from preprocess.dicom_headers import DicomHeader, SharedHeader
from preprocess.index import ArchiveIndex
from preprocess.index_files import Facts, FileFacts, facts_of
from preprocess.index_refresh import RefreshCounts, RefreshMode
from preprocess.index_trees import DiskTree, Entry
from preprocess.plan import Naming, PlannedStudy, plan_studies

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
    shared = SharedHeader(
        study_uid=uid, accession=f"ACC{study:08d}", patient=f"PAT{study // 2:07d}", series_uid=f"{uid}.{number}",
        orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        pixel_spacing=(0.7421875, 0.7421875), size=(512, 512), refusal=None, day=None, age_years=61.0, sex="F",
        manufacturer="SIMULATED", model="Scanner 64", description=f"Abdomen series {number} portal venous",
        contrast=True, kernel="B30f", original=True, splits=(("acquisition", str(number)), ("kernel", "B30f")),
    )  # fmt: skip
    return DicomHeader(f"{ROOT}/{series}/IM00000", "", b"", shared)


def write_real(root: Path, files: int) -> None:
    """As many DICOM files without pixels, 850 a study, as old as files of an archive are."""
    tags = {
        "SOPClassUID": CTImageStorage, "Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.7421875, 0.7421875], "Rows": 512,
        "Columns": 512, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "StudyDate": "20240102",
        "Manufacturer": "SIMULATED", "ConvolutionKernel": "B30f",
    }  # fmt: skip
    for number in range(files):
        study, series, place = number // (SERIES * SLICES), number // SLICES % SERIES, number % SLICES
        dataset = Dataset()
        dataset.update(tags)
        uid = f"1.2.826.0.1.3680043.8.498.{study}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid, f"{uid}.{series}"
        dataset.SOPInstanceUID, dataset.ImagePositionPatient = f"{uid}.{series}.{place}", [0, 0, 1.25 * place]
        path = root / f"study{study:06d}" / f"s{series}" / f"IM{place:05d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(dataset, path)
    for folder, _, _ in os.walk(root):
        os.utime(folder, ns=(OLD, OLD))


def save_file(dataset: Dataset, path: Path) -> None:
    """Writes a DICOM file with its preamble, dated long ago."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    os.utime(path, ns=(OLD, OLD))


def refresh(place: Path, tree: SimulatedTree, mode: RefreshMode = "folders") -> tuple[RefreshCounts, int, float]:
    """Counts, files read and seconds of a refresh."""
    reader, start = SimulatedReader(), time.perf_counter()
    with ArchiveIndex(place) as index:
        counts = index.refresh(tree, read=reader, mode=mode)
    return counts, reader.read, time.perf_counter() - start


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_index(place: Path, studies: int, changed: frozenset[int]) -> None:
    """Prints what the first look and further ones cost."""
    before = peak_mib()
    worked = time.process_time()
    _, files, seconds = refresh(place, SimulatedTree(studies))
    worked = time.process_time() - worked
    print(f"{files} files of {studies} studies: {seconds:.1f} s, {worked:.1f} s of them at work, "
          f"{files / worked:.0f} files a second of work")  # fmt: skip
    print(f"peak memory grew by {peak_mib() - before:.0f} MiB (from {before:.0f} before); "
          f"index of {place.stat().st_size / 2**20:.0f} MiB, "
          f"{place.stat().st_size / files:.0f} bytes a file")  # fmt: skip
    looks: tuple[tuple[str, SimulatedTree, RefreshMode], ...] = (
        ("refresh=folders, nothing changed", SimulatedTree(studies), "folders"),
        (f"refresh=folders, {len(changed)} studies changed", SimulatedTree(studies, changed), "folders"),
        ("refresh=files, nothing changed", SimulatedTree(studies, changed), "files"),
    )
    for title, tree, mode in looks:
        counts, read, seconds = refresh(place, tree, mode)
        looked = f"{counts.visited} folders looked at, {counts.listed} listed"
        print(f"{title}: {looked}, {read} files read, {counts.studies} studies put together, {seconds:.2f} s")
    print(f"peak memory after the refreshes: {peak_mib():.0f} MiB")


def measure_plan(place: Path) -> None:
    """Prints what the plan of all studies costs, and one study's files."""
    with ArchiveIndex(place, read_only=True) as index:
        plan: list[PlannedStudy] = []
        seconds = timed(lambda: plan.extend(plan_studies(index.summaries(), Naming(b"a key of the benchmark"))))
        print(f"plan of {len(plan)} studies: {seconds:.2f} s")
        some = [study.summary.key for study in plan[:50]]
        one = timed(lambda: [index.study(key) for key in some]) / len(some)
    print(f"one study with its {SERIES * SLICES} files: {one * 1000:.1f} ms")
    print(f"peak memory at the end: {peak_mib():.0f} MiB")


def measure_real(folder: Path, files: int) -> None:
    """Prints what listing and reading real files costs, in one process."""
    root, place = folder / "archive", folder / "real.index.sqlite"
    write_real(root, files)

    def look(mode: RefreshMode) -> float:
        with ArchiveIndex(place) as index:
            return timed(lambda: index.refresh(DiskTree(root.resolve()), mode=mode))

    first, again, every = look("files"), look("folders"), look("files")
    print(f"{files} real files, one process: {first:.1f} s, {files / first:.0f} files a second; "
          f"again by folders {again:.2f} s, by files {every:.2f} s")  # fmt: skip


def main() -> None:
    """Print the measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--changed", type=int, default=3)
    parser.add_argument("--real", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where the index and the real files are made for a while")
    arguments = parser.parse_args()
    studies = max(arguments.files // (SERIES * SLICES), 1)
    changed = frozenset(studies * number // arguments.changed for number in range(arguments.changed))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        place = Path(folder) / "archive.index.sqlite"
        refresh(Path(folder) / "warm.sqlite", SimulatedTree(1))
        measure_index(place, studies, changed)
        measure_plan(place)
        measure_real(Path(folder), arguments.real)


if __name__ == "__main__":
    main()
