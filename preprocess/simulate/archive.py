"""Simulate a hospital's archive: DICOM, reports and masks for the methods, and the truth apart from them."""

import json
import logging
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from preprocess.errors import InputError
from preprocess.publish import publish, publishing
from preprocess.simulate.delivery import UNFINISHED, StudyJob
from preprocess.simulate.identity import draw_identities, stream
from preprocess.simulate.mess import clean_row, draw_case, load_cases
from preprocess.simulate.persona import parse_language
from preprocess.simulate.planted import Planted
from preprocess.simulate.prevalence import load_prevalence
from preprocess.simulate.site import load_site
from preprocess.simulate.study import StudyRecord, finding_ids, simulate_study
from preprocess.simulate.version import SIMULATOR_VERSION, simulator_digest

logger = logging.getLogger(__name__)

TEST_SHARE = 1 / 3
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SimulationSummary:
    """What was simulated.

    Attributes:
        patients: Number of patients.
        studies: Number of studies.
        series: Number of series, localizers included.
        lesions: Number of findings drawn.
        seconds: Time it took.
        version: Version of the simulator.
        digest: Digest of its source and data, to be printed with every figure.
    """

    patients: int
    studies: int
    series: int
    lesions: int
    seconds: float
    version: str
    digest: str


def simulate_archive(
    out: Path | str,
    *,
    studies: int,
    seed: int,
    site: str = "A",
    prevalence: str = "default",
    identifiers: str = "en",
    mess: str = "none",
    workers: int | None = None,
    progress: Progress | None = None,
) -> SimulationSummary:
    """Simulate an archive; the same arguments give the same files, whatever the number of workers.

    Args:
        out: Folder to fill: `archive/`, `masks/`, `truth/`. Must be empty or not exist.
        studies: Number of studies.
        seed: Seed, not negative.
        site: "A" or "B".
        prevalence: "default" or "realistic".
        identifiers: Language of the persons and places that headers and reports name, "en" or "de"; "none": they name
            nobody.
        mess: How messy the files are: "none", "real" (cases at the rates of `mess.yaml`), "all", or names of cases with
            commas, which the studies get in turn.
        workers: Processes; the number of cores by default. One works in this process.
        progress: Called with the number of finished studies and of all.

    Raises:
        InputError: An argument cannot be used, `out` is not empty, or it cannot be written.
    """
    started = time.perf_counter()
    folder = Path(out)
    _check(folder, studies, seed, workers)
    place = load_site(site)
    load_prevalence(prevalence)
    language = parse_language(identifiers)
    jobs = [
        StudyJob(
            identity,
            seed,
            place.name,
            prevalence,
            folder.absolute(),
            draw_case(mess, identity, seed, site),
            language,
        )
        for identity in draw_identities(studies, seed, place)
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        records = _run(jobs, min(workers or os.cpu_count() or 1, studies), progress)
        _write_tables(folder, records, seed)
        if mess != "none":
            _write_mess(folder, jobs)
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
        summary = SimulationSummary(
            patients=len({record.identity.patient for record in records}),
            studies=len(records),
            series=sum(record.series for record in records),
            lesions=sum(len(record.lesions) for record in records),
            seconds=time.perf_counter() - started,
            version=SIMULATOR_VERSION,
            digest=simulator_digest(),
        )
        options: dict[str, int | str] = {
            "seed": seed,
            "site": site,
            "prevalence": prevalence,
            "identifiers": identifiers,
        }
        _write_summary(folder, summary, options if mess == "none" else {**options, "mess": mess})
    except OSError as error:
        raise InputError(f"out={str(folder)!r} cannot be written: {error}") from error
    return summary


def _check(folder: Path, studies: int, seed: int, workers: int | None) -> None:
    if studies < 1:
        raise InputError(f"studies={studies} must be at least 1")
    if seed < 0:
        raise InputError(f"seed={seed} must not be negative")
    if workers is not None and workers < 1:
        raise InputError(f"workers={workers} must be at least 1")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"out={str(folder)!r} is a file; a folder is needed")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"out={str(folder)!r} is not empty; simulate into a new or an empty folder")


def _run(jobs: Sequence[StudyJob], workers: int, progress: Progress | None) -> list[StudyRecord]:
    """Simulate all studies; records come back in the jobs' order."""
    records: dict[int, StudyRecord] = {}

    def take(record: StudyRecord) -> None:
        records[record.identity.index] = record
        if progress is not None:
            progress(len(records), len(jobs))

    if workers == 1:
        for job in jobs:
            take(simulate_study(job))
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
            waiting = [pool.submit(simulate_study, job) for job in jobs]
            try:
                for done in as_completed(waiting):
                    take(done.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [records[index] for index in sorted(records)]


def _one_thread() -> None:
    """Keep each worker to one core; the pool already uses all of them."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def _write_tables(folder: Path, records: Sequence[StudyRecord], seed: int) -> None:
    truth = folder / "truth"
    keys = [{"study_id": r.identity.study_uid, "patient_id": r.identity.patient_id} for r in records]
    texts = [
        {**key, "accession_number": r.identity.accession, "report_text": r.people.text}
        for key, r in zip(keys, records, strict=True)
    ]
    publish(folder / "archive" / "reports.csv", pd.DataFrame(texts).to_csv(index=False).encode())
    findings = pd.DataFrame([{**key, **record.findings} for key, record in zip(keys, records, strict=True)])
    _write_parquet(truth / "findings.parquet", findings.astype(dict.fromkeys(finding_ids(), "Int8")))
    lesions = [row for record in records for row in record.lesions]
    _write_parquet(truth / "lesions.parquet", pd.DataFrame(lesions))
    reports = [{**key, **_report_row(record)} for key, record in zip(keys, records, strict=True)]
    _write_parquet(truth / "reports.parquet", pd.DataFrame(reports))
    failures = [
        {"study_id": r.identity.study_uid, "kind": f.kind, "structure": f.structure, "voxels": f.voxels}
        for r in records
        for f in r.failures
    ]
    columns = ["study_id", "kind", "structure", "voxels"]
    _write_parquet(truth / "segmenter_failures.parquet", pd.DataFrame(failures, columns=columns))
    headers = [{**key, **record.header} for key, record in zip(keys, records, strict=True)]
    _write_parquet(truth / "headers.parquet", pd.DataFrame(headers))
    _write_parquet(truth / "planted.parquet", _planted(records))
    split = pd.DataFrame(keys).assign(split=_split(records, seed))
    publish(truth / "split.csv", split.to_csv(index=False).encode())


def _write_mess(folder: Path, jobs: Sequence[StudyJob]) -> None:
    """Write which study got which case, and what must happen to it."""
    cases = load_cases()
    rows = [clean_row(job.identity) if job.mess is None else cases[job.mess].row(job.identity) for job in jobs]
    _write_parquet(folder / "truth" / "mess.parquet", pd.DataFrame(rows).astype("string"))


def _planted(records: Sequence[StudyRecord]) -> pd.DataFrame:
    """A row for each identifier in headers and reports: its place ("report" or a DICOM keyword), and what it is."""
    rows = [
        {"study_id": r.identity.study_uid, "patient_id": r.identity.patient_id, "place": place, **asdict(one)}
        for r in records
        for place, one in r.people.planted
    ]
    return pd.DataFrame(rows, columns=["study_id", "patient_id", "place", *(field.name for field in fields(Planted))])


def _report_row(record: StudyRecord) -> dict[str, object]:
    report = record.report
    return {
        "text": report.text,
        "stated": json.dumps(report.stated, sort_keys=True),
        "omitted": list(report.omitted),
        "overcalled": list(report.overcalled),
        "wrong_side": list(report.wrong_side),
    }


def _split(records: Sequence[StudyRecord], seed: int) -> list[str]:
    """Put a third of the patients into the test part, at random."""
    patients = sorted({record.identity.patient for record in records})
    shuffled = stream(seed, "split").permutation(np.array(patients))
    test = set(shuffled[: round(len(patients) * TEST_SHARE)].tolist())
    return ["test" if record.identity.patient in test else "train" for record in records]


def _write_summary(folder: Path, summary: SimulationSummary, options: dict[str, int | str]) -> None:
    """Write `simulation.json`, the last file: where it stands, the archive is complete."""
    counts = {"patients": summary.patients, "studies": summary.studies, "series": summary.series}
    content = {"version": summary.version, "digest": summary.digest, "options": options, **counts}
    publish(folder / "truth" / "simulation.json", (json.dumps(content, indent=2) + "\n").encode())
    logger.info("simulated %d studies of %d patients, digest %s", summary.studies, summary.patients, summary.digest)


def _write_parquet(path: Path, table: pd.DataFrame) -> None:
    with publishing(path) as stream:
        table.to_parquet(stream, index=False)
