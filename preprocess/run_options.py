"""What the user asks of a run, each option told once: checked as it is given, and turned into settings."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from preprocess.decisions import read_decisions
from preprocess.errors import InputError
from preprocess.index_refresh import RefreshMode
from preprocess.language import AUTO
from preprocess.limits import DEFAULT_SECONDS, Limits
from preprocess.local_model import BATCH
from preprocess.model_reading import CONFIDENCE
from preprocess.plan import StudyIds
from preprocess.report_reader import AbnormalRule
from preprocess.segment import describe_segmenter
from preprocess.segmenters import check_mixture, stored_segmenters
from preprocess.series import SeriesChoice
from preprocess.series_rules import load_series_rules
from preprocess.shards import Shard, read_shard
from preprocess.stack import Gaps
from preprocess.store_place import StorePath
from preprocess.study import FILES, NetworkOptions, Settings
from preprocess.study_file import SCHEMA_VERSION
from preprocess.vocabulary import Vocabulary
from preprocess.vocabulary_files import load_vocabulary

SEGMENTERS = ("files", "totalsegmentator")
KEEPABLE = ("volume",)
_OF_CROPS = ("anatomies", "keep")
_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What every run over an archive follows.

    Attributes:
        masks: File or folder with masks.
        reports: Table of reports (csv or parquet). It names the patients that the images do not.
        id_column: Column of the study's key in `reports`.
        text_column: Column of the report.
        patient_column: Column of the patient; need not be there, as the next four.
        report_column: Column of the report's own id.
        date_column: Column of the day of the examination, by which with the patient reports without key are linked.
        time_column: Column of the time of the report: the latest counts.
        status_column: Column that tells final reports, preliminary ones and addenda apart.
        language: Of the reports: `auto` (each its own), `en`, `de`, or a folder of words.
        language_model: Folder of a language model that is asked about clauses which the rules leave unmatched.
        language_model_device: See `model_reading.ModelOptions`, as for the next two.
        language_model_batch: Clauses asked at once.
        language_model_confidence: Answers of less are not used.
        abnormal_rule: Which statement makes an anatomy abnormal.
        deidentify: Remove identifiers from the reports' texts before they are read; by default with pseudonyms.
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
        workers: Processes; by default one a core, or fewer where memory is short. 0 works in this process,
            without limits.
        cluster: Address of a dask scheduler whose workers do the studies.
        shard: `k/n` does the k-th of n parts, for job arrays: it needs the index that `ctvlp plan` makes, writes its
            own studies alone, and leaves reports and tables to a run without `shard`.
        time_limit: Seconds for one attempt at a study, or None.
        memory_limit: GiB for one study; by default a share of the machine's.

    Raises:
        InputError: A value is none of those allowed.
    """

    masks: Path | str | None = None
    reports: Path | str | None = None
    id_column: str = "study_id"
    text_column: str = "report_text"
    patient_column: str = "patient_id"
    report_column: str = "report_id"
    date_column: str = "study_date"
    time_column: str = "report_time"
    status_column: str = "report_status"
    language: str | Path = AUTO
    language_model: str | Path | None = None
    language_model_device: str = "cpu"
    language_model_batch: int = BATCH
    language_model_confidence: float = CONFIDENCE
    abnormal_rule: AbnormalRule = "any"
    deidentify: bool | None = None
    study_id: StudyIds = "pseudonym"
    key_file: Path | str | None = None
    vocabulary: str | Path | Vocabulary = "ct54"
    split: Path | str | None = None
    series: SeriesChoice = "primary"
    gaps: Gaps = "refuse"
    decisions: Path | str | None = None
    keep: Sequence[str] = ()
    refresh: RefreshMode = "files"
    workers: int | None = None
    cluster: str | None = None
    shard: str | None = None
    time_limit: float | None = DEFAULT_SECONDS
    memory_limit: float | None = None

    def __post_init__(self) -> None:
        for name, kind in _CHOICES.items():
            _check_choice(name, getattr(self, name), get_args(kind))
        for kept in self.keep:
            _check_choice("keep", kept, KEEPABLE)
        if self.workers is not None and self.workers < 0:
            raise InputError(f"workers={self.workers}: it is the number of processes; 0 does the work in this one")

    @property
    def limits(self) -> Limits:
        """Limits of one study."""
        return Limits(self.time_limit, None if self.memory_limit is None else int(self.memory_limit * _GIB))

    @property
    def part(self) -> Shard | None:
        """The shard, or None for the whole archive."""
        return None if self.shard is None else read_shard(self.shard)


@dataclass(frozen=True, kw_only=True)
class PreprocessOptions(RunOptions):
    """What a run follows that finds the structures.

    Attributes:
        segmenter: `files` takes `masks`, `totalsegmentator` runs its networks; else the folder of an nnU-Net v2 model.
        segmenter_labels: What that model's labels mean, see `model_folder.read_model_folder`.
        fast: TotalSegmentator's 3 mm network; else the 1.5 mm networks.
        weights: Folder of TotalSegmentator's weights; by default where TotalSegmentator itself looks.
        device: Where the networks run: `cpu`, `cuda` or `cuda:<number>`.
        mix_segmenters: Let masks of several segmenters, or versions of one, lie in the store.
        retry_failed: Try studies again that failed before with the same files and settings.
    """

    segmenter: str = "files"
    segmenter_labels: Path | str | None = None
    fast: bool = True
    weights: Path | str | None = None
    device: str = "cpu"
    mix_segmenters: bool = False
    retry_failed: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.segmenter not in SEGMENTERS and not Path(self.segmenter).is_dir():
            named = ", ".join(SEGMENTERS)
            raise InputError(
                f"segmenter={self.segmenter!r} is unknown; it is one of {named}, or the folder of an nnU-Net v2 model"
            )


_CHOICES: Mapping[str, Any] = {
    "abnormal_rule": AbnormalRule,
    "study_id": StudyIds,
    "series": SeriesChoice,
    "gaps": Gaps,
    "refresh": RefreshMode,
}


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InputError(f"{name}={value!r} is unknown; it is one of {', '.join(allowed)}")


def existing(path: Path | str | None, name: str) -> Path | None:
    """The path, which has to be there.

    Raises:
        InputError: It is not.
    """
    if path is not None and not Path(path).exists():
        raise InputError(f"{name} {path} does not exist")
    return None if path is None else Path(path)


def build_network(options: PreprocessOptions) -> NetworkOptions | None:
    """How to run the networks, or None where masks come from files.

    Raises:
        InputError: Masks are missing, or given though the network is to make them.
    """
    if options.segmenter == "files":
        if options.masks is None:
            raise InputError("masks are needed: give masks=PATH, or segmenter=totalsegmentator")
        return None
    if options.masks is not None:
        raise InputError(
            f"masks={options.masks} and segmenter={options.segmenter} exclude each other: give one of them"
        )
    if options.segmenter == "totalsegmentator":
        weights = None if options.weights is None else Path(options.weights)
        return NetworkOptions(options.fast, weights, options.device)
    labels = None if options.segmenter_labels is None else Path(options.segmenter_labels)
    return NetworkOptions(device=options.device, model=Path(options.segmenter), labels=labels)


def describe_network(network: NetworkOptions | None) -> Mapping[str, Any]:
    """What the store records of who finds the structures.

    Raises:
        InputError: Weights are missing or not those that are expected.
    """
    if network is None:
        return FILES
    return describe_segmenter(fast=network.fast, weights=network.weights, model=network.model, labels=network.labels)


def check_segmenter(settings: Settings, *, mix: bool) -> None:
    """Refuses to mix the masks of two segmenters in a store, unless the user wants it.

    Raises:
        InputError: The store holds another segmenter's masks.
    """
    if (settings.store / "studies").is_dir():
        check_mixture(settings.segmenter, stored_segmenters(settings.store), mix=mix)


def build_settings(
    out: StorePath,
    options: RunOptions,
    words: Vocabulary,
    segmenter: Mapping[str, Any],
    *,
    network: NetworkOptions | None = None,
    leave_failed: bool = False,
) -> Settings:
    """Settings of a run, with digests of all that a study's bytes depend on.

    Args:
        out: The store.
        options: What the user asked.
        words: The vocabulary.
        segmenter: Who found or finds the structures, as the store records it.
        network: How it is run.
        leave_failed: See `study.Settings`.

    Raises:
        InputError: The decisions cannot be read.
    """
    content = {
        "schema": SCHEMA_VERSION,
        "anatomies": {name: anatomy.model_dump(mode="json") for name, anatomy in words.anatomies.items()},
        "segmenter": dict(segmenter),
        "series": options.series,
        "series_rules": load_series_rules().model_dump(mode="json"),
        "gaps": options.gaps,
        "keep": sorted(options.keep),
    }
    return Settings(
        store=out,
        anatomies=words.anatomies,
        segmenter=segmenter,
        network=network,
        series=options.series,
        keep=tuple(sorted(options.keep)),
        gaps=options.gaps,
        decisions={} if options.decisions is None else read_decisions(Path(options.decisions)),
        private=options.study_id != "keep",
        leave_failed=leave_failed,
        digest=_digest(content),
        uncropped_digest=_digest({name: value for name, value in content.items() if name not in _OF_CROPS}),
    )


def load_words(options: RunOptions) -> Vocabulary:
    """The vocabulary of a run.

    Raises:
        InputError: It cannot be read.
    """
    words = options.vocabulary
    return words if isinstance(words, Vocabulary) else load_vocabulary(words)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
