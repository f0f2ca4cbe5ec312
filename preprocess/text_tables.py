"""Reports, linked to studies, read into the tables of `text/`: links, anatomies, sentences, labels, evidence."""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from preprocess.deidentify import Deidentifier
from preprocess.errors import InputError
from preprocess.language import AUTO
from preprocess.local_model import BATCH
from preprocess.many_reports import FEW
from preprocess.model_reading import CONFIDENCE, ModelOptions, asking, model_options, read_many_asking
from preprocess.quality_files import write_quality
from preprocess.reading_quality import QualityCounter, ReadingQuality
from preprocess.report_links import count_links, link_by_own_keys
from preprocess.report_parts import PartReader, ReportedStudies, Texts
from preprocess.report_reader import AbnormalRule, build_reader
from preprocess.reports import read_reports
from preprocess.store_place import StorePath, store_place
from preprocess.text_files import writing_text
from preprocess.vocabulary import Vocabulary
from preprocess.vocabulary_files import load_vocabulary

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Coverage = Mapping[str, Collection[str]]


@dataclass(frozen=True)
class TextSummary:
    """What was read.

    Attributes:
        reports: Reports of the table.
        studies: Studies with text.
        empty: Reports without text.
        sentences: Sentences read.
        matched: Sentences that name an anatomy, a finding, or a known place outside all anatomies.
        unmatched: The other sentences to how often each occurs but for its numbers, most frequent first. Of very many,
            rare ones are left out.
        links: What links studies and reports, or why a report is not read, to how many there are.
        not_covered: How many anatomies' texts were left out because no volume covers the anatomy.
        replaced: Kind of identifier to how many were replaced, where identifiers were removed.
        contradictions: Kind of contradiction to how many there are, see `preprocess.reading_quality`.
        asked: Clauses put to a language model in this run, each once.
        failed: How many of them it failed on: they are asked again by the next run.
    """

    reports: int
    studies: int
    empty: int
    sentences: int
    matched: int
    unmatched: Mapping[str, int]
    links: Mapping[str, int] = field(default_factory=dict)
    not_covered: int = 0
    replaced: Mapping[str, int] = field(default_factory=dict)
    contradictions: Mapping[str, int] = field(default_factory=dict)
    asked: int = 0
    failed: int = 0


def write_text_tables(
    linked: pd.DataFrame,
    texts: Texts,
    vocabulary: Vocabulary,
    folder: StorePath | str,
    *,
    abnormal_rule: AbnormalRule = "any",
    language: str | Path = AUTO,
    deidentifier: Deidentifier | None = None,
    coverage: Coverage | None = None,
    sexes: Mapping[str, str] | None = None,
    model: ModelOptions | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> TextSummary:
    """Read reports and write `links`, `anatomies`, `sentences`, `labels` and `evidence` (.parquet) into `folder`.

    Beside them lies how well the reports were understood, see `preprocess.quality_files`. Each file appears whole or
    not at all, the tables sorted by study. Memory does not grow with the texts.

    Args:
        linked: As `report_links.link_reports` gives them. A column known holds the `KnownIdentifiers` of each report;
            without it, those in the other columns count.
        texts: The texts of all reports, by the numbers in the column place.
        vocabulary: Anatomies and findings to look for.
        folder: Folder or URL; made if missing.
        abnormal_rule: See `preprocess.report_reader.read_report`.
        language: `auto` (each report's own), name of a shipped language, or a folder of its files.
        deidentifier: Removes identifiers from each text before it is read; None leaves the texts as they are.
        coverage: Study to the anatomies that its volumes cover: nothing is said of others. Of a study that it does not
            name this is unknown, and by default of every study.
        sexes: Study to the sex in its header, `female` or `male`, where known: what contradicts it is noted.
        model: Language model that is asked about clauses which the rules leave unmatched, None for none.
        workers: Processes that read thousands of reports, by default one a core; few are read in this one.
        progress: Called with (done, total) after each study.

    Raises:
        InputError: The language's files are missing or wrong, the model cannot be used or fails on plain clauses, or
            the folder cannot be written.
    """
    studies = ReportedStudies(linked)
    if language != AUTO:
        build_reader(vocabulary, language)  # before anything is written
    reader, quality, not_covered = PartReader(linked, texts, deidentifier), QualityCounter(language), 0
    items = ((study.study_id, reader.parts(study.rows)) for study in studies)
    how: Any = {"language": language, "abnormal_rule": abnormal_rule, "workers": 1 if len(studies) < FEW else workers}
    place = store_place(folder)
    try:
        with (
            asking(model, vocabulary) as asker,
            closing(read_many_asking(items, vocabulary, asker, **how)) as readings,
            writing_text(place, vocabulary) as tables,
        ):
            for done, (study, (name, reading)) in enumerate(zip(studies, readings, strict=True), start=1):
                quality.add(name, reading, sex=None if sexes is None else sexes.get(name))
                covered = None if coverage is None else coverage.get(name)
                not_covered += tables.add(name, study.patient_id, reading, covered=covered)
                if progress is not None:
                    progress(done, len(studies))
            tables.add_links(linked)
        judged = quality.result()
        write_quality(place, judged)
    except OSError as error:
        raise InputError(f"{place}: cannot be written: {' '.join(str(error).split())}") from error
    if deidentifier is not None:
        logger.info("identifiers replaced in report texts: %s", dict(reader.replaced) or "none")
    return TextSummary(
        **_counts(linked, judged),
        studies=len(studies),
        not_covered=not_covered,
        replaced=dict(sorted(reader.replaced.items())),
        asked=0 if asker is None else asker.asked,
        failed=0 if asker is None else asker.failed,
    )


def reports_to_tables(
    reports: str | Path,
    out: str | Path,
    *,
    vocabulary: str | Path = "ct54",
    id_column: str = "study_id",
    text_column: str = "report_text",
    patient_column: str | None = "patient_id",
    report_column: str | None = "report_id",
    time_column: str | None = "report_time",
    status_column: str | None = "report_status",
    abnormal_rule: AbnormalRule = "any",
    language: str | Path = AUTO,
    deidentify: bool = False,
    language_model: str | Path | None = None,
    language_model_device: str = "cpu",
    language_model_batch: int = BATCH,
    language_model_confidence: float = CONFIDENCE,
    workers: int | None = None,
    progress: Progress | None = None,
) -> TextSummary:
    """Read a report table alone into the tables of `text/`, directly in `out`; ids are kept as given.

    Args:
        reports: CSV or Parquet; see `preprocess.reports.read_reports`, as for the columns.
        out: Folder for the tables.
        vocabulary: Name of a shipped vocabulary, or path of one.
        id_column: Column with the key of the report's study, or several.
        text_column: Column with the free text.
        patient_column: Column with the patient's id, if any; the next three need not be there either.
        report_column: Column with the report's own id.
        time_column: Column with the time of the report.
        status_column: Column that tells final reports, preliminary ones and addenda apart.
        abnormal_rule: See `preprocess.report_reader.read_report`.
        language: See `write_text_tables`.
        deidentify: Remove identifiers from the texts first, those in the table's other columns too; ids stay as given.
        language_model: Folder of a language model that is asked about clauses which the rules leave unmatched; its
            answers are kept in `<out>.answers.sqlite`.
        language_model_device: See `preprocess.model_reading.ModelOptions`, as for the next two.
        language_model_batch: Clauses asked at once.
        language_model_confidence: Answers of less are not used.
        workers: Processes that read thousands of reports, by default one a core; few are read in this one.
        progress: Called with (done, total) after each study.

    Raises:
        InputError: The table, the vocabulary or the language cannot be read, or `out` cannot be written.
    """
    loaded = load_vocabulary(vocabulary)
    model = model_options(
        language_model,
        Path(out).resolve().with_name(f"{Path(out).resolve().name}.answers.sqlite"),
        device=language_model_device,
        batch_size=language_model_batch,
        confidence=language_model_confidence,
    )
    found = read_reports(
        reports,
        id_column=id_column,
        text_column=text_column,
        patient_column=patient_column,
        report_column=report_column,
        time_column=time_column,
        status_column=status_column,
    )
    return write_text_tables(
        link_by_own_keys(found.table),
        found.texts,
        loaded,
        out,
        abnormal_rule=abnormal_rule,
        language=language,
        deidentifier=Deidentifier() if deidentify else None,
        model=model,
        workers=workers,
        progress=progress,
    )


def _counts(linked: pd.DataFrame, judged: ReadingQuality) -> dict[str, Any]:
    """What a summary says of links and sentences."""
    reports = linked.drop_duplicates("order")
    kinds = Counter(one.kind for one in judged.contradictions)
    return {
        "reports": len(reports),
        "empty": int(reports["empty"].sum()),
        "sentences": judged.sentences,
        "matched": judged.matched,
        "unmatched": {one.sentence: one.count for one in judged.unmatched},
        "links": count_links(linked),
        "contradictions": dict(sorted(kinds.items())),
    }
