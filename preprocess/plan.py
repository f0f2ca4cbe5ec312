"""Plans a run: names in the store, split, study day and shard of every study, and what is already done.

What needs the whole archive comes from the index's summaries; a study's files are looked up when its turn comes.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

from preprocess.decisions import decisions_of
from preprocess.errors import InputError, StudyError
from preprocess.identity import Split, file_name_of, pseudonym, split_of
from preprocess.index import ArchiveIndex, StudySummary
from preprocess.masks import find_masks
from preprocess.pieces import Piece, file_sha256, read_piece
from preprocess.store import study_path
from preprocess.study import Settings, StudyTask, mask_files
from preprocess.study_source import text_of, with_files

logger = logging.getLogger(__name__)

StudyIds = Literal["pseudonym", "keep"]
_THREADS = 4
_STUDIES_AT_ONCE = 1000


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


@dataclass(frozen=True, slots=True)
class PlannedStudy:
    """A study without its files.

    Attributes:
        summary: What the index knows of it.
        patient: Its patient's own identifier.
        study_id: Its name in the store; so are `patient_id` and `split`.
        study_day: Days since the patient's first study, or None.
    """

    summary: StudySummary
    patient: str
    study_id: str
    patient_id: str
    split: Split
    study_day: int | None

    @property
    def names(self) -> dict[str, Any]:
        """What the store is told of it."""
        return {
            "study_id": self.study_id,
            "patient_id": self.patient_id,
            "split": self.split,
            "study_day": self.study_day,
        }

    @property
    def identifiers(self) -> dict[str, str]:
        """Its row in the map back from names to identifiers; never stored."""
        return {
            "study_id": self.study_id,
            "patient_id": self.patient_id,
            "key": self.summary.key,
            "patient": self.patient,
            "source": text_of(str(self.summary.first)),
        }


def plan_studies(
    summaries: Iterable[StudySummary],
    naming: Naming,
    *,
    patients: Mapping[str, str] | None = None,
    splits: Mapping[str, Split] | None = None,
) -> list[PlannedStudy]:
    """All studies of an archive, sorted by their names in the store.

    Args:
        summaries: Of the archive.
        naming: How identifiers become names.
        patients: Study key to patient, where something other than the images says so.
        splits: Study key to split, where the user gave it; else by keyed hash of the patient.

    Raises:
        InputError: Where two studies get one name or a patient lies in two splits.
    """
    owned = [(summary, _patient_of(summary, patients or {})) for summary in summaries]
    split_by = _splits(owned, splits or {}, naming)
    first_day = _first_days(owned)
    planned = [
        PlannedStudy(
            summary,
            patient,
            naming.name(summary.key),
            naming.name(patient),
            split_by[patient],
            None if summary.day is None else (summary.day - first_day[patient]).days,
        )
        for summary, patient in owned
    ]
    if len({study.study_id for study in planned}) < len(planned):
        raise InputError("two studies of the archive get one name in the store")
    return sorted(planned, key=lambda study: study.study_id)


@dataclass(frozen=True)
class TaskSource:
    """What turns a planned study into a task.

    Attributes:
        index: Of the archive, open.
        settings: Of the run.
        naming: How identifiers become names.
        masks: The user's masks, or None.
        only_study: The archive holds this one study: a single mask file is its own whatever its name.
    """

    index: ArchiveIndex
    settings: Settings
    naming: Naming
    masks: Path | None = None
    only_study: bool = False

    def task(self, study: PlannedStudy) -> StudyTask:
        """The task of one study, with its files."""
        source = self.index.study(study.summary.key)
        masks = self._masks(study)
        of_files = self._of_files(study, masks)
        return StudyTask(
            source,
            **study.names,
            series_ids={series.name: pseudonym(self.naming.key, series.name) for series in source.series},
            masks=masks,
            identifiers=study.identifiers,
            digest=self._digest(study, of_files),
            uncropped_digest=_sha256([of_files, self.settings.uncropped_digest]),
        )

    def digest(self, study: PlannedStudy) -> str:
        """Digest of all that a study's outcome depends on, without looking up its files."""
        return self._digest(study, self._of_files(study, self._masks(study)))

    def _masks(self, study: PlannedStudy) -> Path | None:
        if self.masks is None:
            return None
        try:
            return find_masks(self.masks, study.summary.keys, only_study=self.only_study)
        except StudyError:
            return None  # the study itself says so when its turn comes

    def _digest(self, study: PlannedStudy, of_files: str) -> str:
        return _sha256([of_files, self.settings.digest, study.names])

    def _of_files(self, study: PlannedStudy, masks: Path | None) -> str:
        """Digest of a study's files and masks, and of what was decided on them."""
        try:
            files = with_files(study.summary.digest, self.index.root, [] if masks is None else mask_files(masks))
        except (StudyError, OSError):
            files = "unreadable"  # the study fails when its turn comes
        return _sha256([files, [asdict(one) for one in decisions_of(self.settings.decisions, study.summary.keys)]])


class Tasks(Sequence[StudyTask]):
    """Tasks of planned studies, each built when it is asked for, so that one study's files are held at a time.

    Args:
        studies: The studies.
        source: What builds their tasks.
    """

    def __init__(self, studies: Sequence[PlannedStudy], source: TaskSource) -> None:
        self.studies = studies
        self.source = source

    def __len__(self) -> int:
        return len(self.studies)

    @overload
    def __getitem__(self, place: int) -> StudyTask: ...
    @overload
    def __getitem__(self, place: slice) -> "Tasks": ...
    def __getitem__(self, place: int | slice) -> "StudyTask | Tasks":
        if isinstance(place, slice):
            return Tasks(self.studies[place], self.source)
        return self.source.task(self.studies[place])


@dataclass
class Ended:
    """Studies that have an outcome for the same files and settings.

    Attributes:
        done: Names of those whose file is in the store, whole.
        failed: Names of those that failed, with the reason.
    """

    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


def already_ended(
    studies: Sequence[PlannedStudy], source: TaskSource, *, progress: Callable[[int], None] | None = None
) -> Ended:
    """Which studies have ended before; the files of those that are done are read and compared with their digest.

    Args:
        studies: Of the run.
        source: What tells the digests of their tasks.
        progress: Called with the number of studies looked at, after every thousand.
    """
    ended, rest, looked = Ended(), iter(studies), 0
    with ThreadPoolExecutor(_THREADS) as pool:
        while some := list(islice(rest, _STUDIES_AT_ONCE)):
            for study, piece in zip(some, pool.map(lambda study: _outcome(study, source), some), strict=True):
                if piece is not None and piece.status == "done":
                    ended.done.add(study.study_id)
                elif piece is not None:
                    ended.failed[study.study_id] = str(piece.reason)
            looked += len(some)
            if progress is not None and len(some) == _STUDIES_AT_ONCE:
                progress(looked)
    return ended


def _outcome(study: PlannedStudy, source: TaskSource) -> Piece | None:
    store = source.settings.store
    piece = read_piece(store / "studies", study.study_id)
    if piece is None or piece.digest != source.digest(study):
        return None
    try:
        whole = piece.status == "failed" or file_sha256(study_path(store, study.study_id)) == piece.file_sha256
    except OSError:
        return None
    return piece if whole else None


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _patient_of(study: StudySummary, patients: Mapping[str, str]) -> str:
    """PatientID, else what the report table says, else the study itself: a patient of one study."""
    told = next((patients[key] for key in study.keys if key in patients), None)
    return study.patient or told or study.key


def _splits(owned: Sequence[tuple[StudySummary, str]], given: Mapping[str, Split], naming: Naming) -> dict[str, Split]:
    """Split of each patient; studies that the user's table does not name follow their patient, or the keyed hash."""
    chosen: dict[str, Split] = {}
    for study, patient in owned:
        split = next((given[key] for key in study.keys if key in given), None)
        if split is not None and chosen.setdefault(patient, split) != split:
            raise InputError(
                f"the split table puts studies of one patient into {chosen[patient]} and {split} "
                f"(patient {naming.name(patient)})"
            )
    patients = {patient for _, patient in owned}
    if given and len(chosen) < len(patients):
        logger.warning(
            "%d of %d patients are not in the split table; theirs comes from the keyed hash",
            len(patients) - len(chosen),
            len(patients),
        )
    return {patient: chosen.get(patient) or split_of(naming.key, patient) for patient in patients}


def _first_days(owned: Iterable[tuple[StudySummary, str]]) -> dict[str, date]:
    first: dict[str, date] = {}
    for study, patient in owned:
        if study.day is not None:
            first[patient] = min(first.get(patient, study.day), study.day)
    return first
