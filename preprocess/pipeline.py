"""The whole way from an archive to a store: index, plan, run, and the tables at the end."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from preprocess.archive_plan import ArchivePlan, PlanOptions, indexing, open_plan, verifying
from preprocess.deidentify import Deidentifier
from preprocess.errors import InputError
from preprocess.identity import load_key, read_split_file, save_key, write_id_map
from preprocess.index_refresh import RefreshMode
from preprocess.limits import DEFAULT_SECONDS, Limits, default_workers
from preprocess.output_folder import check_out, prepared_out
from preprocess.pieces import Piece
from preprocess.places import private_places
from preprocess.plan import Naming, PlannedStudy, StudyIds, Tasks, already_ended
from preprocess.reports import link_reports, read_report_table
from preprocess.run_options import build_limits, build_network, build_settings, check_choices, check_segmenter, existing
from preprocess.run_tables import write_tables
from preprocess.runner import Children, run_tasks
from preprocess.series import SeriesChoice
from preprocess.shards import read_shard
from preprocess.stack import Gaps
from preprocess.study_identifiers import known_of_reports
from preprocess.text_tables import write_text_tables
from preprocess.vocabulary import Vocabulary, load_vocabulary

logger = logging.getLogger(__name__)

Progress = Callable[..., None]


@dataclass(frozen=True)
class RunSummary:
    """What a run did; of a shard, all numbers are the shard's.

    Attributes:
        patients: Number of patients of the archive.
        studies: Number of its studies.
        series: Number of its series, usable or not.
        done: Studies that this run wrote.
        skipped: Studies that were in the store already.
        failed: Studies that are not in the store.
        reasons: Reason to number of failed studies.
        unreadable: Files and folders of the archive that the file system refused to read.
    """

    patients: int
    studies: int
    series: int
    done: int
    skipped: int
    failed: int
    reasons: Mapping[str, int]
    unreadable: int = 0


@dataclass
class _Tally:
    """What came of a run's studies so far."""

    done: int = 0
    skipped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    children: Children = field(default_factory=partial(Children, 0, 0))


def preprocess_archive(
    archive: Path | str,
    out: Path | str,
    *,
    masks: Path | str | None = None,
    reports: Path | str | None = None,
    segmenter: str = "files",
    segmenter_labels: Path | str | None = None,
    fast: bool = True,
    weights: Path | str | None = None,
    device: str = "cpu",
    study_id: StudyIds = "pseudonym",
    key_file: Path | str | None = None,
    vocabulary: str | Path | Vocabulary = "ct54",
    split: Path | str | None = None,
    series: SeriesChoice = "primary",
    gaps: Gaps = "refuse",
    decisions: Path | str | None = None,
    keep: Sequence[str] = (),
    refresh: RefreshMode = "files",
    retry_failed: bool = True,
    workers: int | None = None,
    cluster: str | None = None,
    shard: str | None = None,
    time_limit: float | None = DEFAULT_SECONDS,
    memory_limit: float | None = None,
    id_column: str = "study_id",
    text_column: str = "report_text",
    patient_column: str = "patient_id",
    abnormal_rule: Literal["any", "impression"] = "any",
    deidentify: bool | None = None,
    mix_segmenters: bool = False,
    progress: Progress | None = None,
) -> RunSummary:
    """Writes the studies of an archive, and their reports, into a store; a second run does only what is missing.

    Args:
        archive: Folder or file of DICOM and images, or a DICOMDIR file, which stands for the files that it names.
        out: Folder of the store; made if missing.
        masks: File or folder with masks (`segmenter="files"`).
        reports: Table of reports (csv or parquet).
        segmenter: `files` takes `masks`, `totalsegmentator` runs its networks; else the folder of an nnU-Net v2 model.
        segmenter_labels: What that model's labels mean, see `model_folder.read_model_folder`.
        mix_segmenters: Let masks of several segmenters, or versions of one, lie in the store.
        fast: TotalSegmentator's 3 mm network; else the 1.5 mm networks.
        weights: Folder of TotalSegmentator's weights; by default where TotalSegmentator itself looks.
        device: Where the networks run: `cpu`, `cuda` or `cuda:<number>`.
        study_id: `pseudonym` (keyed hash) or `keep`.
        key_file: Secret key; by default `<out>.key`, made if missing. The map back and the archive's index lie beside.
        vocabulary: Name, path or vocabulary; its anatomies are cropped.
        split: Table with study_id and split; by default the split is a keyed hash of the patient.
        series: `primary` takes one volume a study, `one_per_phase` the best of each contrast phase, `all` every usable
            one.
        gaps: `refuse` leaves out series with missing or irregular slices, `resample` interpolates between them.
        decisions: Table of decisions on single studies, see `decisions.read_decisions`.
        keep: `volume` keeps the whole volume at 1 x 1 x 3 mm too.
        refresh: `files` looks at every file of the archive, `folders` only into folders that changed.
        retry_failed: Try studies again that failed before with the same files and settings.
        workers: Processes; by default one a core, or fewer where memory is short. 0 works in this process,
            without limits.
        cluster: Address of a dask scheduler whose workers do the studies.
        shard: `k/n` does the k-th of n parts, for job arrays: it needs the index that `ctvlp plan` makes, writes its
            own studies alone, and leaves reports and tables to a run without `shard`.
        time_limit: Seconds for one attempt at a study, or None.
        memory_limit: GiB for one study; by default a share of the machine's.
        id_column: Column of the study's key in `reports`.
        text_column: Column of the report.
        patient_column: Column of the patient; need not be there.
        abnormal_rule: Which statement makes an anatomy abnormal.
        deidentify: Remove identifiers from the reports' texts before they are read; by default with pseudonyms.
        progress: Called with (0, 0, words) while the archive is indexed and the store verified, then with (studies
            ended, studies to do, studies failed).

    Raises:
        InputError: Where something given cannot be used, before anything is written into the store; or where the store
            can no longer be written.
    """
    archive, out, places = Path(archive), Path(out), private_places(Path(out), key_file)
    words = vocabulary if isinstance(vocabulary, Vocabulary) else load_vocabulary(vocabulary)
    check_choices(
        segmenter=segmenter, study_id=study_id, series=series, gaps=gaps, refresh=refresh, keep=keep, workers=workers
    )
    part = None if shard is None else read_shard(shard)
    mask_place = existing(masks, "masks")
    network = build_network(segmenter, mask_place, fast=fast, weights=weights, device=device, labels=segmenter_labels)
    limits = build_limits(time_limit, memory_limit)
    table = None
    if reports is not None:
        table = read_report_table(reports, id_column=id_column, text_column=text_column, patient_column=patient_column)
    splits = None if split is None else read_split_file(Path(split))
    check_out(archive, out)
    naming = _naming(places.key, study_id, new=part is None)
    settings = build_settings(out, words, network, series, keep, naming, gaps=gaps, decisions=decisions)
    check_segmenter(settings, mix=mix_segmenters)
    workers = default_workers(network=network is not None) if workers is None else workers
    options = PlanOptions(mask_place, _patients(table), splits, part, refresh, workers)
    start = time.perf_counter()
    with ExitStack() as stack:
        with prepared_out(out):
            opened = open_plan(archive, settings, naming, places.index, options, progress=indexing(progress))
            plan = stack.enter_context(opened)
        if part is None:
            save_key(places.key, naming.key)
            write_id_map(places.ids, (study.identifiers for study in plan.studies))
        replaced: dict[str, int] = {}
        tally = _run(plan, limits, workers, cluster, progress, retry_failed=retry_failed)
        if part is None and table is not None:
            cleaner = Deidentifier() if (deidentify if deidentify is not None else not naming.keep) else None
            linked = _linked(table, plan.studies, naming, known=cleaner is not None)
            text = write_text_tables(linked, words, out / "text", abnormal_rule=abnormal_rule, deidentifier=cleaner)
            replaced = dict(text.replaced)
        summary = _summary(plan, tally)
    if part is None:
        counts: dict[str, Any] = {**asdict(summary), "other_files": plan.archive.other_files}
        counts |= {"children": asdict(tally.children), "identifiers_replaced": replaced}
        write_tables(settings, counts=counts, seconds=time.perf_counter() - start)
    return summary


def _naming(key_place: Path, study_id: str, *, new: bool) -> Naming:
    """Names by the key in a file; a new key only where shards could not each make their own."""
    if not new and not key_place.exists():
        raise InputError(f"key file {key_place} is not there: run `ctvlp plan` before the shards, it makes one")
    return Naming(load_key(key_place), keep=study_id == "keep")


def _patients(table: pd.DataFrame | None) -> dict[str, str]:
    """Report's key to the patient that the report table names."""
    if table is None:
        return {}
    pairs = zip(table["report_id"], table["patient_id"], strict=True)
    return {key: patient for key, patient in pairs if isinstance(patient, str) and patient}


def _run(
    plan: ArchivePlan,
    limits: Limits,
    workers: int,
    cluster: str | None,
    progress: Progress | None,
    *,
    retry_failed: bool,
) -> _Tally:
    """Does what is missing."""
    ended = already_ended(plan.studies, plan.source, progress=verifying(progress))
    kept = {} if retry_failed else ended.failed
    tally = _Tally(skipped=len(ended.done), reasons=Counter(kept.values()))
    over = ended.done | kept.keys()
    missing = Tasks([study for study in plan.studies if study.study_id not in over], plan.source)
    logger.info("%d studies are in the store, %d to do", len(ended.done), len(missing))
    before = len(kept)

    def on_piece(piece: Piece) -> None:
        if piece.status == "done":
            tally.done += 1
        else:
            tally.reasons[str(piece.reason)] += 1
        if progress is not None:
            failed = tally.reasons.total() - before
            progress(tally.done + failed, len(missing), failed)

    tally.children = run_tasks(
        missing, plan.source.settings, workers=workers, on_piece=on_piece, limits=limits, cluster=cluster
    )
    return tally


def _linked(table: pd.DataFrame, studies: Sequence[PlannedStudy], naming: Naming, *, known: bool) -> pd.DataFrame:
    """Reports with the names of studies, patients and reports in the store, and what is `known` of each, if asked."""
    linked = link_reports(table, {study.study_id: study.summary.keys for study in studies})
    if known:
        keys = {study.study_id: (*study.summary.keys, study.summary.patient or "") for study in studies}
        found = known_of_reports(linked, keys, {study.study_id: study.summary.first for study in studies})
        linked["known"] = pd.Series(found, index=linked.index, dtype=object)
    owners = {study.study_id: study.patient_id for study in studies}
    linked["patient_id"] = [owners.get(study_id) for study_id in linked["study_id"]]
    for column in ("report_id", "key"):
        linked[column] = [naming.name(value) if isinstance(value, str) and value else None for value in linked[column]]
    return linked


def _summary(plan: ArchivePlan, tally: _Tally) -> RunSummary:
    return RunSummary(
        patients=len({study.patient_id for study in plan.studies}),
        studies=len(plan.studies),
        series=sum(study.summary.series for study in plan.studies),
        done=tally.done,
        skipped=tally.skipped,
        failed=tally.reasons.total(),
        reasons=dict(sorted(tally.reasons.items())),
        unreadable=plan.archive.unreadable,
    )
