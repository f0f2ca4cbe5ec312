"""An archive's plan, ready to be carried out: the index brought up to date, the studies named, their tasks at hand."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from preprocess.archive import index_archive
from preprocess.errors import InputError, StudyError
from preprocess.estimate import read_extent
from preprocess.identity import Split
from preprocess.index import ArchiveIndex, IndexCounts
from preprocess.index_refresh import BATCH, RefreshCounts, RefreshMode
from preprocess.index_trees import build_tree
from preprocess.masks import find_masks
from preprocess.plan import Naming, PlannedStudy, TaskSource, plan_studies
from preprocess.shards import Shard
from preprocess.study import Settings


@dataclass(frozen=True)
class ArchivePlan:
    """What a run is going to do.

    Attributes:
        archive: What the whole archive holds.
        studies: Those of this run, sorted by name: all, or its shard's.
        source: What builds their tasks.
    """

    archive: IndexCounts
    studies: Sequence[PlannedStudy]
    source: TaskSource


@dataclass(frozen=True)
class PlanOptions:
    """What a plan follows besides the archive.

    Attributes:
        masks: The user's masks.
        patients: See `plan.plan_studies`; so is `splits`.
        splits: Study key to split.
        shard: Plan this shard alone, from the index as it is: shards never write to it.
        refresh: How the index is brought up to date, see `index_refresh.refresh_files`.
        workers: Processes that read headers.
    """

    masks: Path | None = None
    patients: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, Split] | None = None
    shard: Shard | None = None
    refresh: RefreshMode = "files"
    workers: int = 1


@contextmanager
def open_plan(
    archive: Path,
    settings: Settings,
    naming: Naming,
    index_place: Path,
    options: PlanOptions,
    *,
    progress: Callable[[RefreshCounts], None] | None = None,
) -> Iterator[ArchivePlan]:
    """The plan, as long as the block lasts, for its tasks come from the open index.

    Args:
        archive: Folder or file.
        settings: Of the run.
        naming: How identifiers become names.
        index_place: The index's file.
        options: What else it follows.
        progress: Called after each batch of files read.

    Raises:
        InputError: Where the archive, the index, the masks or the splits cannot be used, or the archive is one file
            that is no image.
    """
    masks, shard = options.masks, options.shard
    leave_out = [place for place in (settings.store, masks) if isinstance(place, Path)]
    with closing(ArchiveIndex(index_place, read_only=shard is not None)) as index:
        if shard is None:
            _refresh(index, archive, leave_out, options, progress)
        else:
            _check_ready(index, archive, leave_out)
        if archive.is_file() and not any(_has_image(index, key) for key in index.study_keys()):
            index.discard()
            raise InputError(f"archive {archive} cannot be read as an image")
        studies = plan_studies(index.summaries(), naming, patients=options.patients, splits=options.splits)
        source = TaskSource(index, settings, naming, masks, only_study=len(studies) == 1)
        if masks is not None:
            with suppress(StudyError):  # raises InputError where no study could use the masks
                find_masks(masks, studies[0].summary.keys, only_study=source.only_study)
        if shard is not None:
            studies = [study for study in studies if shard.holds(study.study_id, naming.key)]
        yield ArchivePlan(index.counts(), studies, source)


def indexing(progress: Callable[..., None] | None) -> Callable[[RefreshCounts], None] | None:
    """Says how far the index is, once more than a batch was read."""
    if progress is None:
        return None

    def tell(counts: RefreshCounts) -> None:
        if counts.read >= BATCH:
            progress(0, 0, f"{counts.read} files, {counts.studies} studies indexed")

    return tell


def verifying(progress: Callable[..., None] | None) -> Callable[[int], None] | None:
    """Says how many studies of the store were verified."""
    return None if progress is None else lambda count: progress(0, 0, f"{count} studies verified")


def _refresh(
    index: ArchiveIndex,
    archive: Path,
    leave_out: Sequence[Path],
    options: PlanOptions,
    progress: Callable[[RefreshCounts], None] | None,
) -> None:
    try:
        index_archive(
            index, archive, leave_out=leave_out, mode=options.refresh, workers=options.workers, progress=progress
        )
    except InputError:
        if not index.counts().studies:
            index.discard()
        raise


def _has_image(index: ArchiveIndex, key: str) -> bool:
    """Whether the headers of any series of a study can be read."""
    return any(series.refusal is not None or read_extent(series) is not None for series in index.study(key).series)


def _check_ready(index: ArchiveIndex, archive: Path, leave_out: Sequence[Path]) -> None:
    """Shards may start only from an index that is whole and of the same archive."""
    if not index.complete or index.place != build_tree(archive, leave_out).place:
        state = "is of another archive or other masks" if index.complete else "is not finished"
        raise InputError(f"the archive's index {index.path} {state}: run `ctvlp plan` with the same paths first")
