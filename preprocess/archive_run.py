"""A run over an archive, from what the user asked to its text tables: what preprocess, plan and recrop share."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from preprocess.archive_plan import ArchivePlan, PlanOptions, indexing, open_plan
from preprocess.deidentify import Deidentifier
from preprocess.errors import InputError
from preprocess.identity import load_key, read_split_file
from preprocess.language import AUTO
from preprocess.limits import Limits, default_workers
from preprocess.model_reading import ModelOptions, model_options
from preprocess.output_folder import check_memory, check_out, prepared_out
from preprocess.pieces import Piece
from preprocess.places import PrivatePlaces, private_places
from preprocess.plan import Naming, PlannedStudy
from preprocess.report_coverage import covered_anatomies
from preprocess.report_links import LinkTarget, link_reports, split_keys
from preprocess.report_reader import build_reader
from preprocess.reports import Reports, read_reports
from preprocess.run_options import RunOptions, build_settings, existing, load_words
from preprocess.store_place import StorePath
from preprocess.study import NetworkOptions, Settings
from preprocess.study_identifiers import known_of_reports
from preprocess.text_tables import TextSummary, write_text_tables
from preprocess.vocabulary import Vocabulary

Progress = Callable[..., None]
SEXES = {"F": "female", "M": "male"}
"""What headers call the sexes, in words."""


@dataclass(frozen=True)
class Run:
    """A run before it starts: what was asked is read and checked, and nothing is written.

    Attributes:
        archive: Folder or file.
        options: What the user asked.
        words: The vocabulary.
        settings: What is the same for all its studies.
        naming: How identifiers become names.
        places: Its private files.
        reports: The reports, or None.
        plan: What the plan follows; the number of workers too.
        limits: Of one study.
    """

    archive: Path
    options: RunOptions
    words: Vocabulary
    settings: Settings
    naming: Naming
    places: PrivatePlaces
    reports: Reports | None
    plan: PlanOptions
    limits: Limits


@dataclass
class Tally:
    """What came of a run's studies so far.

    Attributes:
        to_do: Number of studies to do.
        progress: Called with (studies ended, studies to do, studies failed) as each ends.
        done: Number of studies written.
        failures: Those that failed, without their series.
    """

    to_do: int
    progress: Progress | None
    done: int = 0
    failures: list[Piece] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        """Counts a study that ended."""
        if piece.status == "done":
            self.done += 1
        else:
            self.failures.append(replace(piece, series=()))
        if self.progress is not None:
            self.progress(self.done + len(self.failures), self.to_do, len(self.failures))

    @property
    def reasons(self) -> Counter[str]:
        """Reason to number of studies that failed."""
        return Counter(str(piece.reason) for piece in self.failures)


def prepare_run(
    archive: Path,
    out: StorePath,
    options: RunOptions,
    segmenter: Mapping[str, Any],
    *,
    network: NetworkOptions | None = None,
    without_key: str | None = None,
    leave_failed: bool = False,
) -> Run:
    """Reads and checks what was asked.

    Args:
        archive: Folder or file.
        out: The store.
        options: What the user asked.
        segmenter: Who finds or found the structures, as the store records it.
        network: How it is run.
        without_key: What to do where there is no key; by default one is made up.
        leave_failed: See `study.Settings`.

    Raises:
        InputError: Something given cannot be used.
    """
    limits, part = options.limits, options.part
    places, words = private_places(out, options.key_file), load_words(options)
    masks = existing(options.masks, "masks")
    reports = _read_reports(options)
    if reports is not None:
        _model(options, places)  # says what is wrong with it, as does the next
        if options.language != AUTO:
            build_reader(words, options.language)
    splits = None if options.split is None else read_split_file(Path(options.split))
    check_out(archive, out)
    check_memory(out, workers=options.workers, cluster=options.cluster)
    if without_key is not None and not places.key.exists():
        raise InputError(f"key file {places.key} is not there: {without_key}")
    naming = Naming(load_key(places.key), keep=options.study_id == "keep")
    settings = build_settings(out, options, words, segmenter, network=network, leave_failed=leave_failed)
    in_memory = network is not None and not network.device.startswith("cuda")
    workers = default_workers(network=in_memory) if options.workers is None else options.workers
    plan = PlanOptions(masks, _patients(reports), splits, part, options.refresh, workers)
    return Run(archive, options, words, settings, naming, places, reports, plan, limits)


@contextmanager
def open_run(run: Run, progress: Progress | None) -> Iterator[ArchivePlan]:
    """The plan of a run, as long as the block lasts, with a store that can be written.

    Raises:
        InputError: See `archive_plan.open_plan`; or the store cannot be written.
    """
    with ExitStack() as stack:
        with prepared_out(run.settings.store):
            opened = open_plan(
                run.archive, run.settings, run.naming, run.places.index, run.plan, progress=indexing(progress)
            )
            plan = stack.enter_context(opened)
        yield plan


def write_text(run: Run, plan: ArchivePlan, manifest: pd.DataFrame) -> TextSummary | None:
    """Writes what the reports say of the studies.

    Args:
        run: The run.
        plan: Its plan.
        manifest: The store's, which tells which anatomies the studies cover.

    Returns:
        What was read, or None without reports.

    Raises:
        InputError: The language's files are missing or wrong, or the store cannot be written.
    """
    if run.reports is None:
        return None
    options = run.options
    cleaner = Deidentifier() if (not run.naming.keep if options.deidentify is None else options.deidentify) else None
    return write_text_tables(
        _linked(run.reports.table, plan, run.naming, known=cleaner is not None),
        run.reports.texts,
        run.words,
        run.settings.store / "text",
        abnormal_rule=options.abnormal_rule,
        language=options.language,
        deidentifier=cleaner,
        coverage=covered_anatomies(manifest, run.words.anatomies),
        sexes=_sexes(manifest),
        model=_model(options, run.places),
        workers=run.plan.workers,
    )


def _model(options: RunOptions, places: PrivatePlaces) -> ModelOptions | None:
    """The language model that is asked about reports, or None."""
    return model_options(
        options.language_model,
        places.answers,
        device=options.language_model_device,
        batch_size=options.language_model_batch,
        confidence=options.language_model_confidence,
    )


def text_counts(text: TextSummary | None) -> dict[str, Any]:
    """What the record of a run says of the reports."""
    if text is None:
        return {"identifiers_replaced": {}}
    counted = ("reports", "studies", "sentences", "matched", "not_covered", "asked", "failed")
    found = {name: getattr(text, name) for name in counted}
    return {"identifiers_replaced": dict(text.replaced), "links": dict(text.links), "reports": found}


def _read_reports(options: RunOptions) -> Reports | None:
    if options.reports is None:
        return None
    columns = {field.name: getattr(options, field.name) for field in fields(options) if field.name.endswith("_column")}
    return read_reports(options.reports, **columns)


def _patients(reports: Reports | None) -> dict[str, str]:
    """Study's key to the patient that the report table names."""
    if reports is None:
        return {}
    table = reports.table
    named: dict[str, str] = {}
    for cell, patient in zip(table["link_id"], table["patient_id"], strict=True):
        if isinstance(patient, str) and patient:
            named |= {key: patient for key in (cell, *split_keys(cell)) if key}
    return named


def _linked(table: pd.DataFrame, plan: ArchivePlan, naming: Naming, *, known: bool) -> pd.DataFrame:
    """Reports with the names of studies, patients and reports in the store, and what is `known` of each, if asked."""
    linked = link_reports(table, map(_target, plan.studies))
    if known:
        keys = {study.study_id: (*study.summary.keys, study.summary.patient or "") for study in plan.studies}
        found = known_of_reports(linked, keys, {study.study_id: study.summary.first for study in plan.studies})
        linked["known"] = pd.Series(found, index=linked.index, dtype=object)
    owners = {study.study_id: study.patient_id for study in plan.studies}
    linked["patient_id"] = [owners.get(study_id) for study_id in linked["study_id"]]
    for column in ("report_id", "key"):
        linked[column] = [naming.name(value) if isinstance(value, str) and value else None for value in linked[column]]
    return linked


def _sexes(manifest: pd.DataFrame) -> dict[str, str]:
    """Study to the sex in its header, in words, where it is known."""
    pairs = zip(manifest["study_id"], manifest["sex"], strict=True)
    return {str(study_id): SEXES[sex] for study_id, sex in pairs if isinstance(sex, str) and sex in SEXES}


def _target(study: PlannedStudy) -> LinkTarget:
    summary = study.summary
    patient = None if summary.patient is None and study.patient == summary.key else study.patient
    return LinkTarget(study.study_id, summary.keys, patient, summary.day)
