"""Makes a stored study's crops anew for changed anatomies, from its stored label maps and the source: no network."""

import logging
from dataclasses import replace
from typing import Any

from preprocess.archive import content_digest, read_series
from preprocess.crops import OVERVIEW_SPACING_MM, build_crops, resample_volume
from preprocess.decisions import decisions_of, judged, ruling_on, turned_volume
from preprocess.errors import Reason, StudyError
from preprocess.masks import place_labels
from preprocess.pieces import Piece, file_sha256, read_piece, write_piece
from preprocess.quality import without_padding
from preprocess.series import SeriesSource
from preprocess.store import StoredVolume, StudyFile, study_path, write_study
from preprocess.study import KEPT_SPACING_MM, Settings, StudyTask, mask_files

logger = logging.getLogger(__name__)


def recrop_study(task: StudyTask, settings: Settings) -> Piece:
    """Replaces a study's file by one with crops of `settings.anatomies`; label maps and all else stay as they are.

    The result is, byte for byte, what preprocessing anew with the same masks would write.

    Args:
        task: The study, with where its source lies and the digest that its record is to carry.
        settings: With the new anatomies; `keep` says whether the whole volume is to be kept, as in preprocessing.

    Returns:
        The study's new record, written.

    Raises:
        StoreError: The stored file is missing or damaged.
        StudyError: `MASK_MISSING` where the study was never finished, `UNREADABLE` where its source is gone or is no
            longer the one that was stored, and whatever reading it raises.
    """
    before = read_piece(settings.store / "studies", task.study_id)
    if before is None or before.status != "done":
        raise StudyError(Reason.MASK_MISSING, f"study {task.study_id} is not in the store: preprocess it first")
    with StudyFile(study_path(settings.store, task.study_id), task.study_id) as stored:
        attributes = {key: value for key, value in stored.attributes.items() if key != "schema_version"}
        series = {volume: _source_of(task, stored, volume) for volume in stored.volumes}
        _check_source(task, series, attributes["source_digest"])
        keys = task.source.keys
        volumes = {name: _recropped(stored, name, source, settings, keys) for name, source in series.items()}
    path = write_study(settings.store, task.study_id, attributes, volumes)
    piece = replace(before, digest=task.digest, file_sha256=file_sha256(path))
    write_piece(settings.store / "studies", piece)
    return piece


def _source_of(task: StudyTask, stored: StudyFile, volume: str) -> SeriesSource:
    """The series of the archive that a stored volume was made from."""
    name = stored.volume_attributes(volume)["series"]
    for series in task.source.series:
        if task.series_ids[series.name] == name:
            return series
    raise StudyError(Reason.UNREADABLE, f"study {task.study_id}: the series of its {volume} is not in the archive")


def _check_source(task: StudyTask, series: dict[str, SeriesSource], digest: str | None) -> None:
    """Compares the bytes of the source with those that the stored file was made from."""
    masks = [] if task.masks is None else mask_files(task.masks)
    files = [path for source in series.values() for path in source.files]
    if content_digest([*files, *masks]) != digest:
        raise StudyError(Reason.UNREADABLE, f"study {task.study_id}: its files have changed, preprocess it anew")


def _recropped(
    stored: StudyFile, name: str, series: SeriesSource, settings: Settings, keys: tuple[str, ...]
) -> StoredVolume:
    attributes: dict[str, Any] = stored.volume_attributes(name)
    label_map = stored.labels(name)
    ruling = ruling_on(decisions_of(settings.decisions, keys), series.name)
    volume = read_series(series, gaps="resample" if ruling.resample else settings.gaps)
    volume = turned_volume(without_padding(judged(volume, ruling)), ruling)
    crops = build_crops(volume, place_labels(label_map, volume), settings.anatomies)
    overview = resample_volume(volume, OVERVIEW_SPACING_MM)
    whole = resample_volume(volume, KEPT_SPACING_MM) if "volume" in settings.keep else None
    return StoredVolume(attributes, label_map, overview, crops, whole)
