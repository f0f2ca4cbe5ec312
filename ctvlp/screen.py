"""Zero-shot screening of a store: scores on disk, and a page to look at."""

import hashlib
import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from ctvlp import __version__
from ctvlp.page.archive import find_simulation, summarize_archive
from ctvlp.page.build import LABELS_USED, build_page
from ctvlp.page.content import PageContent
from ctvlp.page.studies import Sources, choose_studies, view_studies
from ctvlp.prompts import PromptFeatures, encode_prompts, prompts_digest, screening_prompts
from ctvlp.scores import read_table, write_scores
from ctvlp.scoring import score_store
from preprocess.errors import InputError
from preprocess.publish import publish
from preprocess.store import Store
from preprocess.store_place import StorePath, local_place

if TYPE_CHECKING:
    from ctvlp.checkpoint import Run

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

_PROBE_BYTES = 1 << 20


@dataclass(frozen=True)
class Screening:
    """What a screening made.

    Attributes:
        scores: The table.
        failures: Study to why it could not be read.
        notes: What made the scores: digests and names.
        page: The page, or None where none was asked for.
    """

    scores: pd.DataFrame
    failures: dict[str, str]
    notes: dict[str, Any]
    page: Path | None


def screen(
    store: Store | StorePath | str,
    checkpoint: Path | str,
    out: Path | str,
    *,
    splits: Collection[str] | None = None,
    pages: int = 8,
    device: str = "cpu",
    text_encoder: str | None = None,
    text_cache: Path | str | None = None,
    progress: Progress | None = None,
) -> Screening:
    """Score all findings in the studies of a store; write `scores.parquet`, `scores.csv` and `report.html`.

    Studies of patients that the model was trained on are of split `train` in the table, whatever the store says.

    Args:
        store: The store, or its place.
        checkpoint: Run folder of `ctvlp train`, or one checkpoint file.
        out: Folder to write to; made if missing.
        splits: Only studies of these splits; None for all.
        pages: Studies shown on the page; 0 for no page.
        device: Where the model runs.
        text_encoder: Where the text encoder lies now, if not where it lay in training.
        text_cache: Folder for features of the text encoder.
        progress: Called after each study with the studies done and all studies.

    Raises:
        InputError: The store, the checkpoint or `out` cannot be used.
    """
    source = store if isinstance(store, Store) else Store(store)
    from ctvlp.checkpoint import load_run  # heavy: only once the store is known to be one

    local_place(out, "out")
    cache = None if text_cache is None else local_place(text_cache, "text_cache")
    run = load_run(checkpoint, text_encoder=text_encoder, text_cache=cache, device=device)
    folder = writable_folder(out)
    scores, failures = score_store(
        source,
        run.model,
        run.vocabulary,
        splits=splits,
        trained_patients=trained_patients(run),
        device=device,
        progress=progress,
    )
    notes = describe_run(run)
    write_scores(scores, folder, notes)
    page = build_report(source, run, scores, folder / "report.html", notes, pages, device) if pages else None
    return Screening(scores, failures, notes, page)


def build_report(
    store: Store, run: "Run", scores: pd.DataFrame, path: Path, notes: dict[str, Any], pages: int, device: str = "cpu"
) -> Path:
    """Write the page of a screening: the archive and some studies, without figures, since no truth is known."""
    chosen = choose_studies(scores, pages)
    total = scores["study_id"].nunique()
    sources = Sources(store, run.vocabulary, scores, run.model, prompt_features(run), device=device)
    rule = "All studies screened." if len(chosen) == total else study_rule(len(chosen), f"the {total} studies screened")
    content = PageContent(
        title="CT screening by anatomy",
        subtitle=f"Zero-shot scores of {len(run.vocabulary.findings)} findings in {total} "
        f"stud{'y' if total == 1 else 'ies'}, with the evidence behind them.",
        archive=summarize_archive(store),
        simulation=find_simulation(store),
        studies=view_studies(sources, chosen),
        study_rule=rule,
        rank_name=f"the {total} studies screened",
        provenance=note_lines(notes),
    )
    return build_page(path, content)


def study_rule(shown: int, among: str) -> str:
    """Words for how the studies of a page were chosen (`choose_studies`)."""
    return f"Shown: the first {shown} of {among}, in the order of their identifiers and whatever their scores."


def prompt_features(run: "Run") -> dict[str, PromptFeatures]:
    """Encode the prompts of a run's vocabulary with its text tower."""
    with torch.inference_mode():
        return encode_prompts(
            screening_prompts(run.vocabulary), lambda texts: run.model.encode_text(texts).cpu().numpy()
        )


def describe_run(run: "Run") -> dict[str, Any]:
    """What makes scores of this run what they are: digests and names, plain values."""
    weights = hashlib.sha256(run.path.read_bytes()).hexdigest()[:16]
    return {
        "ctvlp": __version__,
        "checkpoint": run.path.name,
        "checkpoint_digest": weights,
        "vocabulary": run.vocabulary.name,
        "vocabulary_digest": run.vocabulary.digest,
        "prompts_digest": prompts_digest(screening_prompts(run.vocabulary)),
        "text_encoder_digest": run.model.text.digest,
        "labels_used": _labels_used(run.settings),
        "steps": run.step,
    }


def _labels_used(settings: Mapping[str, Any]) -> bool:
    """Whether what training learned depends on the labels read in reports: by the alignment, or by the targets."""
    pairing = settings["pairing"]
    by_targets = settings["contrastive_weight"] > 0 and pairing["mode"] == "disease" and pairing["use_findings"]
    return bool(settings["alignment_weight"] > 0 or by_targets)


def note_lines(notes: dict[str, Any]) -> dict[str, str]:
    """Notes of a run in words, for a page."""
    used = "yes: training learned from the labels read in the reports"
    return {
        "checkpoint": f"{notes['checkpoint']}, digest {notes['checkpoint_digest']}, {notes['steps']} steps",
        "vocabulary": f"{notes['vocabulary']}, digest {notes['vocabulary_digest']}",
        "prompts": f"digest {notes['prompts_digest']}",
        "text encoder": f"digest {notes['text_encoder_digest']}",
        LABELS_USED: used if notes["labels_used"] else "no: image and text alone",
    }


def trained_patients(run: "Run") -> set[str]:
    """Patients that a run was trained on, as its `split.parquet` says; empty where the file is gone."""
    if not run.split_path.is_file():
        logger.warning("%s is missing: training patients are known by the store's split alone", run.split_path)
        return set()
    table = read_table(run.split_path)
    return set(table.loc[table["split"] == "train", "patient_id"].astype(str))


def writable_folder(out: Path | str) -> Path:
    """Make a folder and make sure that a file can be written into it.

    Raises:
        InputError: It cannot; nothing is left behind.
    """
    folder = Path(out)
    probe = folder / f".probe.{os.getpid()}"
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            publish(probe, b"\0" * _PROBE_BYTES)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        if made and folder.is_dir():
            folder.rmdir()
        raise InputError(f"out={folder}: cannot be written: {error.strerror or error}") from error
    return folder
