"""Tells what a run will take before it starts: studies, hours, bytes read and written, from a sample of the archive."""

import heapq
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from preprocess.archive_plan import ArchivePlan, indexing, open_plan, verifying
from preprocess.archive_run import Progress, Run, prepare_run
from preprocess.errors import InputError
from preprocess.identity import pseudonym, save_key
from preprocess.limits import Limits
from preprocess.pieces import Piece
from preprocess.plan import PlannedStudy, TaskSource, already_ended
from preprocess.run_options import PreprocessOptions, build_network, check_segmenter, describe_network
from preprocess.runner import run_tasks
from preprocess.series import SeriesSource, choose_series, passed_over
from preprocess.store import study_path
from preprocess.store_place import StorePath, store_place
from preprocess.study import StudyTask, mask_files

_READ_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Forecast:
    """What a run is expected to take.

    Attributes:
        patients: Patients of the archive.
        studies: Its studies.
        series: Its series, usable or not.
        files: Their files.
        bytes: Their size.
        other_files: Files that are neither DICOM nor images.
        unreadable: Files and folders that cannot be read.
        to_do: Studies without an outcome for these files and settings.
        sampled: Studies whose headers were judged.
        usable: Those of them that have a volume by their headers.
        refused: Why series of the sampled studies are no volume, to how many.
        trials: Studies that were done for the forecast, in a place of their own.
        trial_failures: Reason to number of trials that failed.
        read_bytes: Bytes that the run will read.
        read_rate: Bytes a second at which the trials' files were read; None without trials.
        written_bytes: Bytes that the run will write; None without a trial that succeeded.
        hours: Duration with `workers` at a time; None without trials.
        hours_range: The same if all studies were like the quickest trial, and like the slowest.
        workers: Studies at a time that `hours` counts on.
    """

    patients: int
    studies: int
    series: int
    files: int
    bytes: int
    other_files: int
    unreadable: int
    to_do: int
    sampled: int
    usable: int
    refused: Mapping[str, int]
    trials: int
    trial_failures: Mapping[str, int]
    read_bytes: int
    read_rate: float | None
    written_bytes: int | None
    hours: float | None
    hours_range: tuple[float, float] | None
    workers: int


@dataclass(frozen=True)
class _Sampled:
    """A study of the sample: its task, and the files that would be read, none where it has no volume."""

    task: StudyTask
    files: tuple[Path, ...]

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)


@dataclass(frozen=True)
class _Trial:
    """A study that was done: how long its bytes took to read, how long the rest took, and what was written."""

    piece: Piece
    read_bytes: int
    read_seconds: float
    written_bytes: int | None

    @property
    def seconds(self) -> float:
        return self.read_seconds + sum(self.piece.seconds.values())


def plan_archive(
    archive: Path | str,
    out: StorePath | str,
    *,
    sample: int = 50,
    trials: int = 3,
    progress: Progress | None = None,
    **options: Any,
) -> Forecast:
    """Indexes an archive and forecasts a run; makes the key and the index beside the store, and writes nothing else.

    The trials' files are read once, timed, and the trials then go the whole way into a folder that is removed again.
    With `shard`, all but the archive's own counts is of that shard.

    Args:
        archive: See `pipeline.preprocess_archive`.
        out: Where the store is, or will be.
        sample: Studies whose headers are judged.
        trials: Studies of the sample that are done; 0 forecasts no hours.
        progress: Called with (0, 0, words) while the archive is indexed and the store verified, then with (trials
            ended, trials).
        options: Those of the run, `run_options.PreprocessOptions`.

    Raises:
        InputError: Where something given cannot be used.
    """
    if sample < 1 or trials < 0:
        raise InputError(f"sample={sample}, trials={trials}: at least one study is sampled, and no trials is 0")
    asked = PreprocessOptions(**options)
    network = build_network(asked)
    run = prepare_run(Path(archive), store_place(out), asked, describe_network(network), network=network)
    check_segmenter(run.settings, mix=asked.mix_segmenters)
    of_archive = replace(run.plan, shard=None)
    with open_plan(
        run.archive, run.settings, run.naming, run.places.index, of_archive, progress=indexing(progress)
    ) as plan:
        save_key(run.places.key, run.naming.key)
        part = run.plan.shard
        if part is not None:
            plan = replace(plan, studies=[one for one in plan.studies if part.holds(one.study_id, run.naming.key)])
        return _forecast(plan, run, sample, trials, progress, retry_failed=asked.retry_failed)


def _forecast(
    plan: ArchivePlan, run: Run, sample: int, trials: int, progress: Progress | None, *, retry_failed: bool
) -> Forecast:
    ended = already_ended(plan.studies, plan.source, progress=verifying(progress))
    over = ended.done if retry_failed else ended.done | ended.failed.keys()
    missing = [study for study in plan.studies if study.study_id not in over]
    at_a_time = max(1, run.plan.workers)
    sampled, refused = _sample(missing, plan.source, sample)
    usable = [one for one in sampled if one.files]
    tried = _try(usable[:trials], plan.source, run.limits, progress)
    share = len(usable) / len(sampled) if sampled else 0.0
    volumes = share * len(missing)
    seconds = [trial.seconds for trial in tried]
    written = [trial.written_bytes for trial in tried if trial.written_bytes is not None]
    read_seconds = sum(trial.read_seconds for trial in tried)

    def hours(of_one: float) -> float:
        return volumes * of_one / at_a_time / 3600

    return Forecast(
        patients=len({study.patient_id for study in plan.studies}),
        studies=plan.archive.studies,
        series=sum(study.summary.series for study in plan.studies),
        files=plan.archive.files,
        bytes=plan.archive.bytes,
        other_files=plan.archive.other_files,
        unreadable=plan.archive.unreadable,
        to_do=len(missing),
        sampled=len(sampled),
        usable=len(usable),
        refused=refused,
        trials=len(tried),
        trial_failures=dict(Counter(str(trial.piece.reason) for trial in tried if trial.piece.status == "failed")),
        read_bytes=round(volumes * statistics.fmean(one.bytes for one in usable)) if usable else 0,
        read_rate=sum(trial.read_bytes for trial in tried) / read_seconds if read_seconds else None,
        written_bytes=round(volumes * statistics.fmean(written)) if written else None,
        hours=hours(statistics.fmean(seconds)) if seconds else None,
        hours_range=(hours(min(seconds)), hours(max(seconds))) if seconds else None,
        workers=at_a_time,
    )


def _sample(studies: Iterable[PlannedStudy], source: TaskSource, count: int) -> tuple[list[_Sampled], dict[str, int]]:
    """Some studies by keyed hash, so that neither place nor time decides, and why series of theirs are no volume."""
    key = source.naming.key
    chosen = heapq.nsmallest(count, studies, key=lambda study: pseudonym(key, f"sample:{study.study_id}"))
    sampled, refused = [], Counter[str]()
    for study in chosen:
        task = source.task(study)
        candidates, left_out = choose_series(task.source.series)
        refused.update(series.refusal for series, _ in left_out if series.refusal is not None)
        taken: list[SeriesSource] = []
        for series in candidates:
            if passed_over(series, taken, source.settings.series) is None:
                taken.append(series)
        files = [] if task.source.defect else [path for series in taken for path in series.files]
        if files and task.masks is not None:
            files += mask_files(task.masks)
        sampled.append(_Sampled(task, tuple(files)))
    return sampled, dict(refused.most_common())


def _try(sampled: Sequence[_Sampled], source: TaskSource, limits: Limits, progress: Progress | None) -> list[_Trial]:
    """Does some studies, one at a time, into a folder beside the store, or where temporary files lie."""
    if not sampled:
        return []
    pieces: dict[str, Piece] = {}
    store = source.settings.store
    beside = store.resolve().parent if isinstance(store, Path) else None

    def on_piece(piece: Piece) -> None:
        pieces[piece.study_id] = piece
        if progress is not None:
            progress(len(pieces), len(sampled))

    with tempfile.TemporaryDirectory(prefix=f".{store.name}.trial.", dir=beside) as folder:
        settings = replace(source.settings, store=Path(folder))
        (settings.store / "studies").mkdir()
        reads = [_timed_read(one.files) for one in sampled]
        run_tasks([one.task for one in sampled], settings, workers=1, on_piece=on_piece, limits=limits)
        trials = []
        for one, (size, seconds) in zip(sampled, reads, strict=True):
            piece = pieces[one.task.study_id]
            written = study_path(settings.store, piece.study_id).stat().st_size if piece.status == "done" else None
            trials.append(_Trial(piece, size, seconds, written))
    return trials


def _timed_read(files: Sequence[Path]) -> tuple[int, float]:
    """Bytes and seconds of reading files once, before anything else has brought them into memory."""
    size, start = 0, time.perf_counter()
    for path in files:
        with path.open("rb", buffering=0) as stream:
            while chunk := stream.read(_READ_AT_ONCE):
                size += len(chunk)
    return size, time.perf_counter() - start
