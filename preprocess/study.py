"""One study from its files to its place in the store: read, judge, mask, crop, write; or a recorded failure."""

import errno
import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from preprocess.attempt import ANY_WAY, Attempt, Clock, Tell, keep_silent
from preprocess.crops import OVERVIEW_SPACING_MM, build_crops, resample_volume
from preprocess.decisions import Decisions, check_ruling, decisions_of, judged, ruling_on, turned_labels, turned_volume
from preprocess.errors import InputError, Reason, StudyError
from preprocess.estimate import admit
from preprocess.generations import drop_twin, keep_generation
from preprocess.identifiers import scrub, stand_ins
from preprocess.masks import place_labels, read_masks
from preprocess.networks import gpu_is_lost
from preprocess.pieces import Piece, file_sha256, write_piece
from preprocess.quality import orientation_flags, without_padding
from preprocess.readers import read_series
from preprocess.segment import segment
from preprocess.series import SeriesChoice, SeriesSource, choose_series, passed_over
from preprocess.stack import Gaps
from preprocess.store import StoredVolume, study_path, write_study
from preprocess.store_place import StorePath
from preprocess.study_source import StudySource, content_digest
from preprocess.vocabulary import Anatomy
from preprocess.volume import LabelMap, Volume

logger = logging.getLogger(__name__)

KEPT_SPACING_MM = (3.0, 1.0, 1.0)
FILES: Mapping[str, Any] = {"name": "files", "version": None, "weights_digest": None}
"""What the store records where masks come from files."""
_STORE_IS_GONE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


@dataclass(frozen=True)
class NetworkOptions:
    """How the networks run: see `segment.segment`."""

    fast: bool = True
    weights: Path | None = None
    device: str = "cpu"
    model: Path | None = None
    labels: Path | None = None
    service: Path | None = None


@dataclass(frozen=True)
class Settings:
    """What is the same for all studies of a run.

    Attributes:
        store: Place of the store.
        anatomies: Name to anatomy.
        segmenter: Who finds the structures: name, version and weights_digest, as the store records them.
        network: How to run the networks; None where masks come from files.
        series: How many volumes of a study are kept.
        gaps: What to do with missing slices.
        decisions: What the user decided on single studies.
        keep: `volume` keeps the whole volume too.
        private: Messages carry no identifiers.
        leave_failed: A study that fails keeps the file and the record that it has.
        digest: Of all settings that the stored bytes depend on.
        uncropped_digest: Of those of them that other things than the crops and the kept volume depend on.
    """

    store: StorePath
    anatomies: Mapping[str, Anatomy]
    segmenter: Mapping[str, Any] = field(default_factory=lambda: dict(FILES))
    network: NetworkOptions | None = None
    series: SeriesChoice = "primary"
    gaps: Gaps = "refuse"
    decisions: Decisions = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    private: bool = True
    leave_failed: bool = False
    digest: str = ""
    uncropped_digest: str = ""


@dataclass(frozen=True)
class StudyTask:
    """One study to do.

    Attributes:
        source: Where it lies.
        study_id: Its name in the store.
        patient_id: Its patient's name in the store.
        split: `train`, `val` or `test`.
        study_day: Days since the patient's first study, or None.
        series_ids: Series name to its name in the store.
        masks: File or folder with its masks, or None.
        identifiers: Its row in the map back from names to identifiers; never stored.
        digest: Of its files, its masks, the settings and its names.
        uncropped_digest: The same without its names and what the crops alone depend on: while it stays, the label maps
            and the choice of series stay.
    """

    source: StudySource
    study_id: str
    patient_id: str
    split: str
    study_day: int | None
    series_ids: Mapping[str, str]
    masks: Path | None
    identifiers: Mapping[str, str]
    digest: str
    uncropped_digest: str = ""


def process_study(
    task: StudyTask, settings: Settings, attempt: Attempt = ANY_WAY, *, tell: Tell = keep_silent
) -> Piece:
    """Writes one study into the store, or records why it cannot be there.

    Args:
        task: The study.
        settings: Of the run.
        attempt: How it is done.
        tell: Hears, as keywords, the `stage` that begins and, before a volume is read, its `shape` and `needed_bytes`.

    Raises:
        InputError: Where the store itself can no longer be written.
    """
    clock = Clock(tell)
    rows: list[dict[str, Any]] = []
    piece = Piece(task.study_id, task.patient_id, "done", task.digest, task.uncropped_digest, seconds=clock.seconds)
    try:
        path = _make(task, settings, attempt, clock, rows)
        piece = replace(piece, file_sha256=file_sha256(path))
        drop_twin(path, str(piece.file_sha256))
    except Exception as error:  # noqa: BLE001 - the study loop: one study's failure must not stop the others
        piece = failed_piece(piece, error, task, settings, clock.stage)
    piece = replace(piece, series=tuple(rows))
    record(piece, settings)
    return piece


def record(piece: Piece, settings: Settings) -> None:
    """Writes what became of a study; a failed one has no file, an earlier one is kept as an earlier generation.

    With `settings.leave_failed` nothing is written of a failed one.

    Raises:
        InputError: Where the store cannot be written.
    """
    if piece.status == "failed" and settings.leave_failed:
        return
    try:
        if piece.status == "failed":
            keep_generation(settings.store, piece.study_id, None)
            study_path(settings.store, piece.study_id).unlink(missing_ok=True)
        write_piece(settings.store / "studies", piece)
    except OSError as error:
        raise InputError(f"store {settings.store} cannot be written: {error.strerror or error}") from error


def failed_piece(piece: Piece, error: Exception, task: StudyTask, settings: Settings, stage: str) -> Piece:
    """A study's piece with its error as an entry of the closed list, and a message that names no patient.

    Raises:
        InputError: Where the error says that the store can no longer be written.
    """
    if isinstance(error, InputError):
        raise error
    if isinstance(error, OSError) and stage == "write" and error.errno in _STORE_IS_GONE:
        raise InputError(f"store {settings.store} cannot be written: {error.strerror}") from error
    if isinstance(error, StudyError):
        reason, message = error.reason, str(error)
    elif isinstance(error, MemoryError):
        reason, message = Reason.OUT_OF_MEMORY, f"not enough memory: {error}"
    elif isinstance(error, OSError):
        reason, message = Reason.DISK, f"{error.strerror or error}"
    else:
        reason, message = Reason.INTERNAL, traceback.format_exception_only(error)[-1]
        logger.error("study %s: defect in stage %s", task.study_id, stage, exc_info=error)
    public = _public(message, task, settings)
    return replace(piece, status="failed", stage=stage, reason=str(reason), message=public)


def _public(message: str, task: StudyTask, settings: Settings) -> str:
    """The message on one line; in a store with pseudonyms, without identifiers."""
    if not settings.private:
        return " ".join(message.split())
    source = task.source
    paths = source.files
    words = stand_ins(
        keys=source.keys,
        patient=source.patient,
        files=[path.name for path in paths],
        folders=[
            str(path) for path in (*paths, source.root, task.masks, *source.root.parents) if path and len(str(path)) > 1
        ],
    )
    return scrub(message, words)


def _make(task: StudyTask, settings: Settings, attempt: Attempt, clock: Clock, rows: list[dict[str, Any]]) -> StorePath:
    """Reads, crops and writes; fills `rows` with what became of each series; the file it wrote."""
    if task.source.defect is not None:
        raise StudyError(Reason.DUPLICATE, task.source.defect)
    candidates, left_out = choose_series(task.source.series)
    rows += [_series_row(task, series, reason) for series, reason in left_out]
    if not candidates:
        found = ", ".join(sorted({reason for _, reason in left_out}))
        raise StudyError(Reason.NO_VOLUME, f"none of its {len(left_out)} series is a CT volume: {found}")
    volumes: dict[str, StoredVolume] = {}
    errors: list[StudyError] = []
    kept: list[SeriesSource] = []
    for series in candidates:
        reason = passed_over(series, kept, settings.series)
        if reason is not None:
            rows.append(_series_row(task, series, reason))
            continue
        try:
            stored = _stored_volume(task, settings, attempt, clock, series)
        except StudyError as error:
            if error.reason is Reason.OUT_OF_MEMORY or gpu_is_lost(str(error)):
                raise  # which series is taken must not hang on the machine
            errors.append(error)
            rows.append(_series_row(task, series, f"{error.reason}: {_public(str(error), task, settings)}"))
            continue
        name = f"v{len(volumes)}"
        volumes[name] = stored
        kept.append(series)
        rows.append(_series_row(task, series, None, name))
    if not volumes:
        raise errors[0]
    with clock.at("write"):
        attributes = _attributes(task, [path for series in kept for path in series.files])
        keep_generation(settings.store, task.study_id, attributes["source_digest"])
        return write_study(settings.store, task.study_id, attributes, volumes)


def _stored_volume(
    task: StudyTask, settings: Settings, attempt: Attempt, clock: Clock, series: SeriesSource
) -> StoredVolume:
    ruling = ruling_on(decisions_of(settings.decisions, task.source.keys), series.name)
    check_ruling(ruling)
    with clock.at("admit"):
        holds_network = settings.network is not None and settings.network.service is None
        admit(series, attempt.memory_bytes, network=holds_network, tell=clock.tell)
    with clock.at("read"):
        volume = read_series(series, gaps="resample" if ruling.resample else settings.gaps)
    with clock.at("quality"):
        volume = turned_volume(without_padding(judged(volume, ruling)), ruling)
    with clock.at("masks"):
        label_map = _label_map(task, settings, volume, light=attempt.lighter)
        if settings.network is None:
            label_map = turned_labels(label_map, volume, ruling)
        placed = place_labels(label_map, volume)
        flags = (*volume.flags, *orientation_flags(placed))
    with clock.at("crops"):
        crops = build_crops(volume, placed, settings.anatomies)
        overview = resample_volume(volume, OVERVIEW_SPACING_MM)
        whole = resample_volume(volume, KEPT_SPACING_MM) if "volume" in settings.keep else None
    attributes = {
        "series": task.series_ids[series.name],
        "hu_source": volume.hu_source,
        "phase": series.phase,
        "phase_source": series.phase_source,
        "kernel": series.kernel,
        "coverage_mm": [round(length, 3) for length in volume.coverage_mm],
        "segmenter": dict(settings.segmenter),
        "flags": [_public(flag, task, settings) for flag in flags],
    }
    return StoredVolume(attributes, label_map, overview, crops, whole)


def _label_map(task: StudyTask, settings: Settings, volume: Volume, *, light: bool) -> LabelMap:
    """The study's structures, from its mask files or from the network."""
    if settings.network is not None:
        return segment(volume, **vars(settings.network), light=light)
    if task.masks is None:
        raise StudyError(Reason.MASK_MISSING, f"no masks for {' or '.join(task.source.keys)}")
    return read_masks(task.masks)


def _attributes(task: StudyTask, used: list[Path]) -> dict[str, Any]:
    source = task.source
    masks = [] if task.masks is None else mask_files(task.masks)
    return {
        "patient_id": task.patient_id,
        "study_day": task.study_day,
        "age_years": source.age_years,
        "sex": source.sex,
        "manufacturer": source.manufacturer,
        "model": source.model,
        "split": task.split,
        "source_digest": content_digest([*used, *masks]),
    }


def mask_files(masks: Path) -> list[Path]:
    """All files of a study's masks: the file itself, or those in its folder."""
    return [masks] if masks.is_file() else sorted(path for path in masks.iterdir() if path.is_file())


def _series_row(task: StudyTask, series: SeriesSource, reason: str | None, volume: str | None = None) -> dict[str, Any]:
    return {
        "series": task.series_ids[series.name],
        "chosen": volume is not None,
        "reason": reason,
        "volume": volume,
        "kind": series.kind,
        "slices": series.slices,
        "step_mm": series.step_mm,
        "coverage_mm": series.coverage_mm,
        "plane": series.plane,
        "original": series.original,
        "kernel": series.kernel,
        "phase": series.phase,
    }
