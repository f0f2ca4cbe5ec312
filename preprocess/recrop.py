"""Makes a stored study's crops anew for changed anatomies, from its stored label maps and the source: no network."""

from dataclasses import dataclass, replace
from typing import Any

from preprocess.attempt import ANY_WAY, Attempt, Clock, Tell, keep_silent
from preprocess.crops import OVERVIEW_SPACING_MM, build_crops, resample_volume
from preprocess.decisions import decisions_of, judged, ruling_on, turned_volume
from preprocess.errors import Reason, StoreError, StudyError
from preprocess.estimate import admit
from preprocess.masks import place_labels
from preprocess.pieces import Piece, file_sha256, read_piece, write_piece
from preprocess.quality import without_padding
from preprocess.readers import read_series
from preprocess.segment import networks_loaded
from preprocess.series import SeriesSource
from preprocess.store import StoredVolume, StudyFile, study_path, write_study
from preprocess.study import KEPT_SPACING_MM, Settings, StudyTask, failed_piece, mask_files
from preprocess.study_source import content_digest

RECROP_STUDY = "preprocess.recrop:try_recrop"


@dataclass(frozen=True)
class Recropped(Piece):
    """What became of a study that was to be recropped.

    Attributes:
        networks_loaded: Networks that were read from disk for it.
    """

    networks_loaded: int = 0


def try_recrop(
    task: StudyTask, settings: Settings, attempt: Attempt = ANY_WAY, *, tell: Tell = keep_silent
) -> Recropped:
    """Recrops a study, or says why it cannot be; then its file and record stay as they are.

    Args:
        task: See `recrop_study`.
        settings: Of the run, with `leave_failed`.
        attempt: How it is done.
        tell: See `study.process_study`.

    Raises:
        InputError: Where the store itself can no longer be written.
    """
    clock, before = Clock(tell), networks_loaded()
    try:
        piece = recrop_study(task, settings, attempt, clock)
    except Exception as error:  # noqa: BLE001 - the study loop: one study's failure must not stop the others
        cause: Exception = error
        if isinstance(error, StoreError):
            cause = StudyError(Reason.UNREADABLE, f"{error}: preprocess it anew")
        piece = failed_piece(
            Piece(task.study_id, task.patient_id, "done", task.digest), cause, task, settings, clock.stage
        )
    return Recropped(**vars(piece), networks_loaded=networks_loaded() - before)


def recrop_study(task: StudyTask, settings: Settings, attempt: Attempt = ANY_WAY, clock: Clock | None = None) -> Piece:
    """Replaces a study's file by one with crops of `settings.anatomies`; label maps and all else stay as they are.

    The result is, byte for byte, what preprocessing anew with the same masks would write.

    Args:
        task: The study, with its names, where its source lies and the digests that its record is to carry.
        settings: With the new anatomies; `keep` says whether the whole volume is to be kept, as in preprocessing.
        attempt: How it is done.
        clock: Told of each stage.

    Returns:
        The study's new record, written.

    Raises:
        StoreError: The stored file is missing or damaged.
        StudyError: `MASK_MISSING` where the study was never finished, `UNREADABLE` where its source is gone or it would
            be made from something else today, and whatever reading it raises.
    """
    clock = clock or Clock()
    before = read_piece(settings.store / "studies", task.study_id)
    if before is None or before.status != "done":
        raise StudyError(Reason.MASK_MISSING, f"study {task.study_id} is not in the store: preprocess it first")
    with StudyFile(study_path(settings.store, task.study_id), task.study_id) as stored:
        attributes = {key: value for key, value in stored.attributes.items() if key != "schema_version"}
        series = {volume: _source_of(task, stored, volume) for volume in stored.volumes}
        _check_source(task, before, series, attributes["source_digest"])
        volumes = {
            name: _recropped(stored, name, source, task, settings, attempt, clock) for name, source in series.items()
        }
    names = {"patient_id": task.patient_id, "split": task.split, "study_day": task.study_day}
    with clock.at("write"):
        path = write_study(settings.store, task.study_id, attributes | names, volumes)
        piece = replace(before, patient_id=task.patient_id, digest=task.digest, file_sha256=file_sha256(path))
        write_piece(settings.store / "studies", piece)
    return piece


def _source_of(task: StudyTask, stored: StudyFile, volume: str) -> SeriesSource:
    """The series of the archive that a stored volume was made from."""
    name = stored.volume_attributes(volume)["series"]
    for series in task.source.series:
        if task.series_ids[series.name] == name:
            return series
    raise StudyError(Reason.UNREADABLE, f"study {task.study_id}: the series of its {volume} is not in the archive")


def _check_source(task: StudyTask, before: Piece, series: dict[str, SeriesSource], digest: str | None) -> None:
    """Refuses a study whose files or label maps would be others today."""
    masks = [] if task.masks is None else mask_files(task.masks)
    files = [path for source in series.values() for path in source.files]
    if content_digest([*files, *masks]) != digest:
        raise StudyError(Reason.UNREADABLE, f"study {task.study_id}: its files have changed, preprocess it anew")
    if task.uncropped_digest != before.uncropped_digest:
        raise StudyError(
            Reason.UNREADABLE,
            f"study {task.study_id}: its files were added to or touched, or it was stored with other series=, gaps= or "
            "decisions=, preprocess it anew",
        )


def _recropped(
    stored: StudyFile,
    name: str,
    series: SeriesSource,
    task: StudyTask,
    settings: Settings,
    attempt: Attempt,
    clock: Clock,
) -> StoredVolume:
    attributes: dict[str, Any] = stored.volume_attributes(name)
    label_map = stored.labels(name)
    ruling = ruling_on(decisions_of(settings.decisions, task.source.keys), series.name)
    with clock.at("admit"):
        admit(series, attempt.memory_bytes, network=False, tell=clock.tell)
    with clock.at("read"):
        volume = read_series(series, gaps="resample" if ruling.resample else settings.gaps)
    with clock.at("quality"):
        volume = turned_volume(without_padding(judged(volume, ruling)), ruling)
    with clock.at("crops"):
        crops = build_crops(volume, place_labels(label_map, volume), settings.anatomies)
        overview = resample_volume(volume, OVERVIEW_SPACING_MM)
        whole = resample_volume(volume, KEPT_SPACING_MM) if "volume" in settings.keep else None
    return StoredVolume(attributes, label_map, overview, crops, whole)
