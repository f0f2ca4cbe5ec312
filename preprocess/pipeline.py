"""The whole way from an archive to a store: index, plan, run, and the tables at the end."""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from preprocess.archive_plan import ArchivePlan, verifying
from preprocess.archive_run import Progress, Run, Tally, open_run, prepare_run, text_counts, write_text
from preprocess.identity import save_key, write_id_map
from preprocess.plan import Tasks, already_ended
from preprocess.run_options import PreprocessOptions, build_network, check_segmenter, describe_network
from preprocess.run_tables import rebuild_manifest, write_tables
from preprocess.runner import Children, run_tasks
from preprocess.store_place import StorePath, store_place

logger = logging.getLogger(__name__)


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
        links: What links reports and studies, or why a report is not read, to how many there are.
    """

    patients: int
    studies: int
    series: int
    done: int
    skipped: int
    failed: int
    reasons: Mapping[str, int]
    unreadable: int = 0
    links: Mapping[str, int] = field(default_factory=dict)


def preprocess_archive(
    archive: Path | str, out: StorePath | str, *, progress: Progress | None = None, **options: Any
) -> RunSummary:
    """Writes the studies of an archive, and their reports, into a store; a second run does only what is missing.

    Args:
        archive: Folder or file of DICOM and images, or a DICOMDIR file, which stands for the files that it names.
        out: Folder of the store; made if missing.
        progress: Called with (0, 0, words) while the archive is indexed and the store verified, then with (studies
            ended, studies to do, studies failed).
        options: Those of `run_options.PreprocessOptions`.

    Raises:
        InputError: Where something given cannot be used, before anything is written into the store; or where the store
            can no longer be written.
    """
    asked = PreprocessOptions(**options)
    network = build_network(asked)
    whole = asked.shard is None
    without_key = None if whole else "run `ctvlp plan` before the shards, it makes one"
    segmenter = describe_network(network)
    run = prepare_run(Path(archive), store_place(out), asked, segmenter, network=network, without_key=without_key)
    check_segmenter(run.settings, mix=asked.mix_segmenters)
    start = time.perf_counter()
    with open_run(run, progress) as plan:
        if whole:
            save_key(run.places.key, run.naming.key)
            write_id_map(run.places.ids, (study.identifiers for study in plan.studies))
        summary, children = _do_missing(run, asked, plan, progress)
        if not whole:
            return summary
        text = write_text(run, plan, rebuild_manifest(run.settings))
    counts: dict[str, Any] = {**asdict(summary), "other_files": plan.archive.other_files}
    counts |= {"children": asdict(children), **text_counts(text)}
    write_tables(run.settings, counts=counts, seconds=time.perf_counter() - start)
    return summary if text is None else replace(summary, links=text.links)


def _do_missing(
    run: Run, asked: PreprocessOptions, plan: ArchivePlan, progress: Progress | None
) -> tuple[RunSummary, Children]:
    """Does the studies that have no outcome yet."""
    ended = already_ended(plan.studies, plan.source, progress=verifying(progress))
    kept = {} if asked.retry_failed else ended.failed
    over = ended.done | kept.keys()
    missing = Tasks([study for study in plan.studies if study.study_id not in over], plan.source)
    logger.info("%d studies are in the store, %d to do", len(ended.done), len(missing))
    tally = Tally(len(missing), progress)
    children = run_tasks(
        missing,
        run.settings,
        workers=run.plan.workers,
        on_piece=tally.add,
        limits=run.limits,
        cluster=asked.cluster,
    )
    reasons = tally.reasons + Counter(kept.values())
    summary = RunSummary(
        patients=len({study.patient_id for study in plan.studies}),
        studies=len(plan.studies),
        series=sum(study.summary.series for study in plan.studies),
        done=tally.done,
        skipped=len(ended.done),
        failed=reasons.total(),
        reasons=dict(sorted(reasons.items())),
        unreadable=plan.archive.unreadable,
    )
    return summary, children
