"""All studies of a store cropped anew for a changed vocabulary, from their label maps and the archive: no network."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from preprocess.archive_plan import ArchivePlan, verifying
from preprocess.archive_run import Progress, Run, Tally, open_run, prepare_run, text_counts, write_text
from preprocess.errors import InputError, Reason
from preprocess.pieces import Piece
from preprocess.plan import PlannedStudy, Tasks, already_ended
from preprocess.recrop import RECROP_STUDY, Recropped
from preprocess.run_options import RunOptions, build_settings
from preprocess.run_tables import rebuild_manifest, write_tables
from preprocess.runner import Children, run_tasks
from preprocess.segmenters import segmenters_by_study
from preprocess.store_place import StorePath, store_place
from preprocess.study import FILES

logger = logging.getLogger(__name__)

Segmenter = Mapping[str, Any]
Group = tuple[Segmenter, list[str]]
"""A segmenter, and the studies of the store that it segmented."""


@dataclass(frozen=True)
class RecropSummary:
    """What a run did; of a shard, all numbers are the shard's.

    Attributes:
        stored: Studies in the store.
        done: Those that this run cropped anew.
        skipped: Those that had these crops already.
        failed: Those that cannot be cropped anew; they have the file that they had.
        reasons: Reason to number of failed studies.
        not_stored: Studies of the archive that are not in the store.
        networks_loaded: Networks that were read from disk.
        unreadable: Files and folders of the archive that the file system refused to read.
    """

    stored: int
    done: int
    skipped: int
    failed: int
    reasons: Mapping[str, int]
    not_stored: int
    networks_loaded: int
    unreadable: int = 0


@dataclass
class _Tally(Tally):
    """What came of the studies so far, and how many networks were read for them."""

    networks_loaded: int = 0

    def add(self, piece: Piece) -> None:
        super().add(piece)
        if isinstance(piece, Recropped):
            self.networks_loaded += piece.networks_loaded
        if piece.status == "failed":
            logger.warning("study %s keeps its crops: %s: %s", piece.study_id, piece.reason, piece.message)


def recrop_store(
    archive: Path | str, out: StorePath | str, *, progress: Progress | None = None, **options: Any
) -> RecropSummary:
    """Crops the studies of a store anew where vocabulary, `keep` or names have changed; a second run does nothing.

    The studies are those that `preprocess_archive` would write with the same options and the segmenters that the store
    holds. One that cannot be cropped anew keeps its file and record, and stands in `run.json`.

    Args:
        archive: Of which the store was made.
        out: The store.
        progress: See `pipeline.preprocess_archive`.
        options: Those of `run_options.RunOptions`.

    Raises:
        InputError: Where something given cannot be used or is not what the store was made of, before anything is
            written into it; or where it can no longer be written.
    """
    asked, place = RunOptions(**options), store_place(out)
    groups = _by_segmenter(segmenters_by_study(place))
    if asked.masks is None and any(segmenter == FILES for segmenter, _ in groups):
        raise InputError(f"masks are needed: those of store {place} came from files; give masks=PATH")
    first = groups[0][0] if groups else FILES
    hint = "give the store's own by key_file="
    run = prepare_run(Path(archive), place, asked, first, without_key=hint, leave_failed=True)
    start = time.perf_counter()
    with open_run(run, progress) as plan:
        summary, tally, children = _do_missing(run, plan, groups, progress)
        if asked.shard is not None:
            return summary
        text = write_text(run, plan, rebuild_manifest(run.settings, leave_damaged=True))
    counts: dict[str, Any] = {**asdict(summary), "children": asdict(children), **text_counts(text)}
    rows = [{"study": one.study_id, "reason": one.reason, "message": one.message} for one in tally.failures]
    counts["not_recropped"] = rows
    write_tables(run.settings, counts=counts, seconds=time.perf_counter() - start)
    return summary


def _by_segmenter(found: Mapping[str, Sequence[Segmenter | None]]) -> list[Group]:
    """Segmenters with their studies, that of most studies first; damaged studies count as nobody's."""
    groups: dict[str, Group] = {}
    for study_id, segmenters in found.items():
        segmenter = next(iter(segmenters), None) or {}
        groups.setdefault(json.dumps(segmenter, sort_keys=True), (segmenter, []))[1].append(study_id)
    return sorted(groups.values(), key=lambda group: -len(group[1]))


def _do_missing(
    run: Run, plan: ArchivePlan, groups: Sequence[Group], progress: Progress | None
) -> tuple[RecropSummary, _Tally, Children]:
    """Crops what has other crops."""
    planned = {study.study_id: study for study in plan.studies}
    stored = _stored(run, groups, planned)
    missing = [_missing(run, plan, group, planned, progress) for group in groups]
    gone = [_gone(study_id) for study_id in sorted(stored - planned.keys())]
    tally = _Tally(sum(map(len, missing)) + len(gone), progress)
    for piece in gone:
        tally.add(piece)
    children = Children(0, 0)
    for tasks in missing:
        new = run_tasks(
            tasks,
            tasks.source.settings,
            workers=run.plan.workers,
            on_piece=tally.add,
            limits=run.limits,
            cluster=run.options.cluster,
            target=RECROP_STUDY,
        )
        children = Children(children.started + new.started, children.restarted + new.restarted)
    summary = RecropSummary(
        stored=len(stored),
        done=tally.done,
        skipped=len(stored) - tally.to_do,
        failed=len(tally.failures),
        reasons=dict(sorted(tally.reasons.items())),
        not_stored=len(planned.keys() - stored),
        networks_loaded=tally.networks_loaded,
        unreadable=plan.archive.unreadable,
    )
    return summary, tally, children


def _stored(run: Run, groups: Sequence[Group], planned: Mapping[str, PlannedStudy]) -> set[str]:
    """Names of the store's studies, or of its shard's.

    Raises:
        InputError: The archive has none of them.
    """
    shard, key = run.plan.shard, run.naming.key
    stored = {study_id for _, names in groups for study_id in names if shard is None or shard.holds(study_id, key)}
    if stored and not stored & planned.keys():
        raise InputError(
            f"archive {run.archive} has none of the {len(stored)} studies of store {run.settings.store}: "
            "give the archive, key_file and study_id that the store was made with"
        )
    return stored


def _missing(
    run: Run, plan: ArchivePlan, group: Group, planned: Mapping[str, PlannedStudy], progress: Progress | None
) -> Tasks:
    """Tasks of those of a segmenter's studies that have other crops."""
    segmenter, names = group
    settings = build_settings(run.settings.store, run.options, run.words, segmenter, leave_failed=True)
    source = replace(plan.source, settings=settings, masks=plan.source.masks if segmenter == FILES else None)
    studies = [planned[study_id] for study_id in names if study_id in planned]
    ended = already_ended(studies, source, progress=verifying(progress))
    return Tasks([study for study in studies if study.study_id not in ended.done], source)


def _gone(study_id: str) -> Piece:
    message = f"study {study_id} is not in the archive"
    return Piece(study_id, "", "failed", "", stage="find", reason=str(Reason.UNREADABLE), message=message)
