"""The whole way from an archive to a store: find, plan, run, and the tables at the end."""

import hashlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from preprocess.archive import Listing, find_studies
from preprocess.errors import InputError
from preprocess.identity import load_key, read_split_file, save_key, write_id_map
from preprocess.output_folder import check_out, prepare_out
from preprocess.pieces import Piece
from preprocess.plan import Naming, StudyIds, already_done, plan_tasks
from preprocess.reports import link_reports, read_report_table
from preprocess.run_tables import write_tables
from preprocess.runner import run_tasks
from preprocess.segment import describe_segmenter
from preprocess.study import FILES, NetworkOptions, SeriesChoice, Settings, StudyTask
from preprocess.study_file import SCHEMA_VERSION
from preprocess.text_tables import write_text_tables
from preprocess.vocabulary import Vocabulary, load_vocabulary

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, int], None]
KEEPABLE = ("volume",)


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
        patients: Number of patients of the archive.
        studies: Number of its studies.
        series: Number of its series, usable or not.
        done: Studies that this run wrote.
        skipped: Studies that were in the store already.
        failed: Studies that are not in the store.
        reasons: Reason to number of failed studies.
    """

    patients: int
    studies: int
    series: int
    done: int
    skipped: int
    failed: int
    reasons: Mapping[str, int]


def preprocess_archive(
    archive: Path | str,
    out: Path | str,
    *,
    masks: Path | str | None = None,
    reports: Path | str | None = None,
    segmenter: Literal["files", "totalsegmentator"] = "files",
    fast: bool = True,
    weights: Path | str | None = None,
    device: str = "cpu",
    study_id: StudyIds = "pseudonym",
    key_file: Path | str | None = None,
    vocabulary: str | Path | Vocabulary = "ct54",
    split: Path | str | None = None,
    series: SeriesChoice = "primary",
    keep: Sequence[str] = (),
    workers: int | None = None,
    id_column: str = "study_id",
    text_column: str = "report_text",
    patient_column: str = "patient_id",
    abnormal_rule: Literal["any", "impression"] = "any",
    progress: Progress | None = None,
) -> RunSummary:
    """Writes the studies of an archive, and their reports, into a store; a second run does only what is missing.

    Args:
        archive: Folder or file of DICOM and NIfTI.
        out: Folder of the store; made if missing.
        masks: File or folder with masks (`segmenter="files"`).
        reports: Table of reports (csv or parquet).
        segmenter: `files` takes `masks`, `totalsegmentator` runs the network.
        fast: TotalSegmentator's 3 mm network; else the 1.5 mm networks.
        weights: Folder of TotalSegmentator's weights; by default where TotalSegmentator itself looks.
        device: Where TotalSegmentator runs, `cpu` or `cuda`.
        study_id: `pseudonym` (keyed hash) or `keep`.
        key_file: Secret key; by default `<out>.key`, made if missing. The map back lies beside it.
        vocabulary: Name, path or vocabulary; its anatomies are cropped.
        split: Table with study_id and split; by default the split is a keyed hash of the patient.
        series: `primary` takes one volume a study, `all` every usable one.
        keep: `volume` keeps the whole volume at 1 x 1 x 3 mm too.
        workers: Processes; by default one a core. 1 works in this process.
        id_column: Column of the study's key in `reports`.
        text_column: Column of the report.
        patient_column: Column of the patient; need not be there.
        abnormal_rule: Which statement makes an anatomy abnormal.
        progress: Called with (studies ended, studies to do, studies failed).

    Raises:
        InputError: Where something given cannot be used, before anything is written; or where the store can no longer
            be written.
    """
    archive, out = Path(archive), Path(out)
    words = vocabulary if isinstance(vocabulary, Vocabulary) else load_vocabulary(vocabulary)
    _check_options(segmenter, study_id, series, keep, workers)
    mask_place = _existing(masks, "masks")
    network = _network(segmenter, mask_place, fast=fast, weights=weights, device=device)
    table = None
    if reports is not None:
        table = read_report_table(reports, id_column=id_column, text_column=text_column, patient_column=patient_column)
    splits = None if split is None else read_split_file(Path(split))
    key_place = Path(key_file) if key_file is not None else out.with_name(f"{out.resolve().name}.key")
    check_out(archive, out)
    workers = workers or os.cpu_count() or 1
    listing = find_studies(archive, leave_out=[out, *([mask_place] if mask_place else [])], workers=workers)
    naming = Naming(load_key(key_place), keep=study_id == "keep")
    settings = _settings(out, words, network, series, keep, naming)
    tasks = plan_tasks(listing.studies, settings, naming, patients=_patients(table), splits=splits, masks=mask_place)
    prepare_out(out)
    save_key(key_place, naming.key)
    write_id_map(key_place.with_name(f"{out.resolve().name}.ids.csv"), [task.identifiers for task in tasks])
    start = time.perf_counter()
    pieces, skipped = _run(tasks, settings, workers, progress)
    if table is not None:
        write_text_tables(_linked(table, tasks, naming), words, out / "text", abnormal_rule=abnormal_rule)
    summary = _summary(listing, tasks, pieces, skipped)
    counts = {**asdict(summary), "other_files": listing.other_files}
    write_tables(settings, counts=counts, seconds=time.perf_counter() - start)
    return summary


def _check_options(segmenter: str, study_id: str, series: str, keep: Sequence[str], workers: int | None) -> None:
    allowed = [
        ("segmenter", segmenter, ("files", "totalsegmentator")),
        ("study_id", study_id, ("pseudonym", "keep")),
        ("series", series, ("primary", "all")),
        *(("keep", name, KEEPABLE) for name in keep),
    ]
    for name, value, choices in allowed:
        if value not in choices:
            raise InputError(f"{name}={value!r} is unknown; it is one of {', '.join(choices)}")
    if workers is not None and workers < 1:
        raise InputError(f"workers={workers}: at least one process is needed")


def _existing(path: Path | str | None, name: str) -> Path | None:
    if path is not None and not Path(path).exists():
        raise InputError(f"{name} {path} does not exist")
    return None if path is None else Path(path)


def _network(
    segmenter: str, masks: Path | None, *, fast: bool, weights: Path | str | None, device: str
) -> NetworkOptions | None:
    """How to run TotalSegmentator, or None where masks come from files."""
    if segmenter == "files":
        if masks is None:
            raise InputError("masks are needed: give masks=PATH, or segmenter=totalsegmentator")
        return None
    if masks is not None:
        raise InputError(f"masks={masks} and segmenter={segmenter} exclude each other: give one of them")
    return NetworkOptions(fast, None if weights is None else Path(weights), device)


def _settings(
    out: Path,
    words: Vocabulary,
    network: NetworkOptions | None,
    series: SeriesChoice,
    keep: Sequence[str],
    naming: Naming,
) -> Settings:
    segmenter = FILES if network is None else describe_segmenter(fast=network.fast, weights=network.weights)
    content = {
        "schema": SCHEMA_VERSION,
        "anatomies": {name: anatomy.model_dump(mode="json") for name, anatomy in words.anatomies.items()},
        "segmenter": dict(segmenter),
        "series": series,
        "keep": sorted(keep),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return Settings(
        store=out,
        anatomies=words.anatomies,
        segmenter=segmenter,
        network=network,
        series=series,
        keep=tuple(sorted(keep)),
        private=not naming.keep,
        digest=digest,
    )


def _patients(table: pd.DataFrame | None) -> dict[str, str]:
    """Report's key to the patient that the report table names."""
    if table is None:
        return {}
    pairs = zip(table["report_id"], table["patient_id"], strict=True)
    return {key: patient for key, patient in pairs if isinstance(patient, str) and patient}


def _run(
    tasks: Sequence[StudyTask], settings: Settings, workers: int, progress: Progress | None
) -> tuple[list[Piece], int]:
    """Does what is missing; the pieces of this run, and the number of studies that were there already."""
    done = already_done(tasks, settings.store)
    missing = [task for task in tasks if task.study_id not in done]
    logger.info("%d studies are in the store, %d to do", len(done), len(missing))
    pieces: list[Piece] = []

    def on_piece(piece: Piece) -> None:
        pieces.append(piece)
        if progress is not None:
            progress(len(pieces), len(missing), sum(one.status == "failed" for one in pieces))

    run_tasks(missing, settings, workers=workers, on_piece=on_piece)
    return pieces, len(done)


def _linked(table: pd.DataFrame, tasks: Sequence[StudyTask], naming: Naming) -> pd.DataFrame:
    """Reports with the names of studies, patients and reports in the store."""
    linked = link_reports(table, {task.study_id: task.source.keys for task in tasks})
    owners = {task.study_id: task.patient_id for task in tasks}
    linked["patient_id"] = [owners.get(study_id) for study_id in linked["study_id"]]
    for column in ("report_id", "key"):
        linked[column] = [naming.name(value) if isinstance(value, str) and value else None for value in linked[column]]
    return linked


def _summary(listing: Listing, tasks: Sequence[StudyTask], pieces: Sequence[Piece], skipped: int) -> RunSummary:
    failed = [piece for piece in pieces if piece.status == "failed"]
    return RunSummary(
        patients=len({task.patient_id for task in tasks}),
        studies=len(tasks),
        series=sum(len(study.series) for study in listing.studies),
        done=len(pieces) - len(failed),
        skipped=skipped,
        failed=len(failed),
        reasons=dict(sorted(Counter(str(piece.reason) for piece in failed).items())),
    )
