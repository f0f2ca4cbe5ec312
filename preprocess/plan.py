"""Turns the studies of an archive into tasks: names in the store, split, study day, masks, and what is already done."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from preprocess.archive import StudySource, source_digest
from preprocess.errors import InputError, StudyError
from preprocess.identity import Split, file_name_of, pseudonym, split_of
from preprocess.masks import find_masks
from preprocess.pieces import file_sha256, read_piece
from preprocess.store import study_path
from preprocess.study import Settings, StudyTask, mask_files

logger = logging.getLogger(__name__)

StudyIds = Literal["pseudonym", "keep"]


@dataclass(frozen=True)
class Naming:
    """How identifiers become names in the store.

    Attributes:
        key: The secret key of the pseudonyms; the split hangs on it too.
        keep: Studies and patients keep their own identifiers.
    """

    key: bytes
    keep: bool = False

    def name(self, identifier: str) -> str:
        """Name in the store of a study, patient or series."""
        return file_name_of(identifier) if self.keep else pseudonym(self.key, identifier)


def plan_tasks(
    studies: Sequence[StudySource],
    settings: Settings,
    naming: Naming,
    *,
    patients: Mapping[str, str],
    splits: Mapping[str, Split] | None = None,
    masks: Path | None = None,
) -> list[StudyTask]:
    """One task a study, sorted by its name in the store.

    Args:
        studies: Of the archive.
        settings: Of the run.
        naming: How identifiers become names.
        patients: Study key to patient, where something other than the images says so.
        splits: Study key to split, where the user gave it; else by keyed hash of the patient.
        masks: The user's masks.

    Raises:
        InputError: Where two studies get one name, a patient lies in two splits or the masks cannot be joined.
    """
    owners = {study.key: _patient_of(study, patients) for study in studies}
    split_by = _splits(studies, owners, splits or {}, naming)
    first_day = _first_days(studies, owners)
    tasks = []
    for study in studies:
        patient = owners[study.key]
        day = None if study.day is None else (study.day - first_day[patient]).days
        names: dict[str, Any] = {
            "study_id": naming.name(study.key),
            "patient_id": naming.name(patient),
            "split": split_by[patient],
            "study_day": day,
        }
        found = None if masks is None else _masks(study, masks, only_study=len(studies) == 1)
        series_ids = {series.name: pseudonym(naming.key, series.name) for series in study.series}
        digest = _task_digest(study, found, settings, names)
        identifiers = {
            "study_id": names["study_id"],
            "patient_id": names["patient_id"],
            "key": study.key,
            "patient": patient,
            "source": str(study.files[0]) if study.files else "",
        }
        tasks.append(
            StudyTask(study, **names, series_ids=series_ids, masks=found, identifiers=identifiers, digest=digest)
        )
    if len({task.study_id for task in tasks}) < len(tasks):
        raise InputError("two studies of the archive get one name in the store")
    return sorted(tasks, key=lambda task: task.study_id)


def already_done(tasks: Sequence[StudyTask], store: Path) -> set[str]:
    """Names of the studies whose file is in the store, whole, and made from the same files with the same settings."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        verified = pool.map(lambda task: _is_done(task, store), tasks)
        return {task.study_id for task, done in zip(tasks, verified, strict=True) if done}


def _is_done(task: StudyTask, store: Path) -> bool:
    piece = read_piece(store / "studies", task.study_id)
    if piece is None or piece.status != "done" or piece.digest != task.digest:
        return False
    try:
        return file_sha256(study_path(store, task.study_id)) == piece.file_sha256
    except OSError:
        return False


def _patient_of(study: StudySource, patients: Mapping[str, str]) -> str:
    """PatientID, else what the report table says, else the study itself: a patient of one study."""
    told = next((patients[key] for key in study.keys if key in patients), None)
    return study.patient or told or study.key


def _splits(
    studies: Sequence[StudySource], owners: Mapping[str, str], given: Mapping[str, Split], naming: Naming
) -> dict[str, Split]:
    """Split of each patient; studies that the user's table does not name follow their patient, or the keyed hash."""
    chosen: dict[str, Split] = {}
    for study in studies:
        split = next((given[key] for key in study.keys if key in given), None)
        patient = owners[study.key]
        if split is not None and chosen.setdefault(patient, split) != split:
            raise InputError(
                f"the split table puts studies of one patient into {chosen[patient]} and {split} "
                f"(patient {naming.name(patient)})"
            )
    if given and len(chosen) < len(set(owners.values())):
        logger.warning(
            "%d of %d patients are not in the split table; theirs comes from the keyed hash",
            len(set(owners.values())) - len(chosen),
            len(set(owners.values())),
        )
    return {patient: chosen.get(patient) or split_of(naming.key, patient) for patient in owners.values()}


def _first_days(studies: Sequence[StudySource], owners: Mapping[str, str]) -> dict[str, date]:
    first: dict[str, date] = {}
    for study in studies:
        if study.day is not None:
            patient = owners[study.key]
            first[patient] = min(first.get(patient, study.day), study.day)
    return first


def _masks(study: StudySource, masks: Path, *, only_study: bool) -> Path | None:
    try:
        return find_masks(masks, study.keys, only_study=only_study)
    except StudyError:
        return None  # the study itself says so when its turn comes


def _task_digest(study: StudySource, masks: Path | None, settings: Settings, names: Mapping[str, Any]) -> str:
    try:
        files = source_digest(study, [] if masks is None else mask_files(masks))
    except (StudyError, OSError):
        files = "unreadable"  # the study fails when its turn comes
    text = json.dumps([files, settings.digest, names], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
