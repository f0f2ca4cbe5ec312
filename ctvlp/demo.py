"""The whole way on a simulated archive: simulate, preprocess, train with controls, screen, evaluate, one page."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ctvlp.baselines import organ_features, regression_scores, untrained_model
from ctvlp.checkpoint import Run, load_run
from ctvlp.evaluate import Evaluation, difference, evaluate
from ctvlp.evaluation_files import format_estimate, format_evaluation
from ctvlp.page.archive import summarize_archive
from ctvlp.page.build import build_page
from ctvlp.page.content import Comparison, Curve, PageContent
from ctvlp.page.content_archive import Simulation
from ctvlp.page.studies import Sources, choose_studies, view_studies
from ctvlp.progress import progress_bar
from ctvlp.reader_quality import Agreement, label_agreement
from ctvlp.scores import read_labels, write_scores
from ctvlp.scoring import score_store
from ctvlp.screen import describe_run, note_lines, prompt_features, screen, study_rule
from ctvlp.settings import TrainingSettings
from ctvlp.train import train
from preprocess.errors import CtvlpError, InputError
from preprocess.pipeline import preprocess_archive
from preprocess.simulate.archive import simulate_archive
from preprocess.simulate.version import SIMULATOR_VERSION, simulator_digest
from preprocess.store import Store
from preprocess.vocabulary_files import load_vocabulary

STUDIES_SHOWN = 8
MIN_POSITIVES = 5

Tell = Callable[[str], None]


def run_demo(out: Path | str, *, studies: int, seed: int, epochs: int, workers: int | None = None, tell: Tell) -> Path:
    """Run everything; the same command goes on where it stopped.

    Args:
        out: Folder for everything.
        studies: Simulated studies, two thirds of them to train on.
        seed: Of simulation and training.
        epochs: Passes over the training studies, for the model and for its control.
        workers: Processes for simulation and preprocessing; by default one a core.
        tell: Called with each line of figures.

    Returns:
        The page.

    Raises:
        InputError: `out` cannot be used, or holds a demo made with other settings.
        CtvlpError: A simulated study failed: that is a defect of this program.
    """
    folder = Path(out)
    started = time.perf_counter()
    _claim(folder, {"studies": studies, "seed": seed, "epochs": epochs, "simulator": simulator_digest()})
    tell(f"simulated data: simulator {SIMULATOR_VERSION}, digest {simulator_digest()}")
    truth_file = _simulate(folder, studies, seed, workers)
    store = _preprocess(folder, workers)
    settings = TrainingSettings(epochs=epochs, seed=seed)
    trained = _train(store, folder / "run", settings)
    shuffled = _train(store, folder / "run_shuffled", replace(settings, shuffle_reports=True))
    with progress_bar("screen", "study") as report:
        scores = screen(
            store,
            trained.path,
            folder / "screen",
            splits=["test"],
            pages=0,
            text_cache=folder / "text_cache",
            progress=report,
        ).scores
    main = _judge(folder, "screen", truth_file, seed)
    comparisons = _compare(folder, store, trained, shuffled, scores, main, truth_file, seed)
    agreement = _read_agreement(folder, store, truth_file)
    for line in _figures(main, comparisons, agreement):
        tell(line)
    content = _content(store, trained, scores, main, comparisons, agreement, read_labels(truth_file))
    page = build_page(folder / "index.html", content)
    tell(f"{time.perf_counter() - started:.0f} s in all, {page.stat().st_size / 1e6:.1f} MB")
    return page


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Make the folder ours: new, empty, or of an earlier run with the same settings."""
    record = folder / "demo.json"
    try:
        if record.is_file():
            if json.loads(record.read_text(encoding="utf-8")) != settings:
                raise InputError(
                    f"out={folder} holds a demo made with other settings; remove it or choose another folder"
                )
            return
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"out={folder} is not empty and holds no demo")
        folder.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(settings) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"out={folder}: cannot be written: {error.strerror or error}") from error


def _simulate(folder: Path, studies: int, seed: int, workers: int | None) -> Path:
    """Simulate the archive unless it is there whole; return the truth that scoring may open."""
    simulated = folder / "simulated"
    if not (simulated / "truth" / "simulation.json").is_file():
        shutil.rmtree(simulated, ignore_errors=True)
        with progress_bar("simulate", "study") as report:
            simulate_archive(simulated, studies=studies, seed=seed, workers=workers, progress=report)
    return simulated / "truth" / "findings.parquet"


def _preprocess(folder: Path, workers: int | None) -> Store:
    simulated = folder / "simulated"
    with progress_bar("preprocess", "study") as report:
        summary = preprocess_archive(
            simulated / "archive",
            folder / "store",
            masks=simulated / "masks",
            reports=simulated / "archive" / "reports.csv",
            split=simulated / "truth" / "split.csv",
            study_id="keep",
            deidentify=True,
            workers=workers,
            progress=report,
        )
    if summary.failed:
        raise CtvlpError(f"{summary.failed} simulated studies failed, see {folder / 'store' / 'failures.jsonl'}")
    return Store(folder / "store")


def _train(store: Store, out: Path, settings: TrainingSettings) -> Run:
    with progress_bar(f"train {out.name}", "step") as report:
        train(
            store,
            out,
            vocabulary=load_vocabulary("ct54"),
            settings=settings,
            text_cache=out.parent / "text_cache",
            progress=report,
        )
    return load_run(out, text_cache=out.parent / "text_cache")


def _judge(folder: Path, name: str, truth_file: Path, seed: int) -> Evaluation:
    return evaluate(
        folder / name / "scores.parquet",
        truth_file,
        folder / name / "metrics",
        split="test",
        min_positives=MIN_POSITIVES,
        seed=seed,
    )


def _compare(
    folder: Path,
    store: Store,
    trained: Run,
    shuffled: Run,
    scores: pd.DataFrame,
    main: Evaluation,
    truth_file: Path,
    seed: int,
) -> list[Comparison]:
    """Score the same studies by what the model has to be compared with, and judge all alike."""

    def by_model(run: Run) -> pd.DataFrame:
        return score_store(store, run.model, run.vocabulary, splits=["test"])[0]

    def by_regression() -> pd.DataFrame:
        labels = read_labels(store.path / "text" / "labels.parquet")
        manifest = store.manifest()
        studies = set(manifest.loc[manifest["split"] == "train", "study_id"])
        return regression_scores(organ_features(store), labels, scores, studies)

    untrained = replace(trained, model=untrained_model(trained))
    controls: dict[str, tuple[str, Callable[[], pd.DataFrame]]] = {
        "untrained": ("the same model before its first step", lambda: by_model(untrained)),
        "shuffled reports": ("trained alike, each study with another one's report", lambda: by_model(shuffled)),
        "volumes and mean HU": ("logistic regression on mask volumes and mean HU alone", by_regression),
    }
    comparisons = []
    for name, (note, score) in controls.items():
        place = f"control_{name.replace(' ', '_')}"
        write_scores(score(), folder / place, {"control": name})
        judged = _judge(folder, place, truth_file, seed)
        comparisons.append(Comparison(name, note, judged, difference(main, judged)))
    return comparisons


def _read_agreement(folder: Path, store: Store, truth_file: Path) -> Agreement:
    """How well the reader's labels agree with the simulated truth, by finding on disk."""
    overall, by_finding = label_agreement(read_labels(store.path / "text" / "labels.parquet"), read_labels(truth_file))
    rows = [{"finding": name, **vars(entry)} for name, entry in by_finding.items()]
    pd.DataFrame(rows).to_csv(folder / "reader.csv", index=False)
    return overall


def _figures(main: Evaluation, comparisons: list[Comparison], agreement: Agreement) -> list[str]:
    lines = [format_evaluation(main), ""]
    for entry in comparisons:
        mean, gain = entry.evaluation.means["auroc"], entry.gain
        ahead = f"; ahead by {format_estimate(gain)}" if gain is not None else ""
        lines.append(f"{entry.name}: AUROC {format_estimate(mean)}{ahead}")
    lines.append(
        f"report reader against the simulated truth: precision {agreement.precision:.3f}, "
        f"recall {agreement.recall:.3f}, F1 {agreement.f1:.3f} over {agreement.pairs} pairs, "
        f"{agreement.uncertain} hedged ones left out"
    )
    return [*lines, f"made from simulated data: simulator {SIMULATOR_VERSION}, digest {simulator_digest()}"]


def _content(
    store: Store,
    run: Run,
    scores: pd.DataFrame,
    main: Evaluation,
    comparisons: list[Comparison],
    agreement: Agreement,
    truth: pd.DataFrame,
) -> PageContent:
    chosen = choose_studies(scores, STUDIES_SHOWN)
    held_out = scores["study_id"].nunique()
    sources = Sources(store, run.vocabulary, scores, run.model, prompt_features(run), truth)
    return PageContent(
        title="CT screening by anatomy",
        subtitle=f"Zero-shot scores of {len(run.vocabulary.findings)} findings in {held_out} held-out studies of a "
        "simulated hospital archive, with the evidence behind them.",
        archive=summarize_archive(store),
        simulation=Simulation(SIMULATOR_VERSION, simulator_digest(), "site A, default prevalence"),
        evaluation=main,
        truth_name="the simulated truth",
        comparisons=comparisons,
        curves=_curves(run.path.parent / "log.jsonl"),
        reader={"report reader": (agreement.precision, agreement.recall, agreement.f1)},
        studies=view_studies(sources, chosen),
        study_rule=study_rule(len(chosen), f"the {held_out} held-out studies"),
        rank_name=f"the {held_out} held-out studies",
        provenance=note_lines(describe_run(run)),
    )


def _curves(log: Path) -> list[Curve]:
    """The two terms of the loss by epoch, from the run's log."""
    lines = pd.read_json(log, lines=True)
    means = lines.groupby("epoch")[["contrastive", "alignment"]].mean()
    epochs = (means.index.to_numpy() + 1).tolist()
    return [
        Curve(name, {"training": list(zip(epochs, means[column].tolist(), strict=True))})
        for name, column in (("contrastive loss", "contrastive"), ("finding alignment", "alignment"))
    ]
