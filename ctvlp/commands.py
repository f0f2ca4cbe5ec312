"""What each command does with its configuration: call one function of the library, say what came of it."""

import logging
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctvlp.cli import EXIT_FAILURES, EXIT_OK
from ctvlp.progress import progress_bar
from preprocess.errors import InputError

if TYPE_CHECKING:
    from preprocess.pipeline import RunSummary
    from preprocess.recrop_store import RecropSummary

Config = dict[str, Any]

UNMATCHED_SHOWN = 10
EXPLAINED = ("vocabulary", "language", "abnormal_rule", "deidentify")


def demo(config: Config) -> int:
    """The whole way on a simulated archive."""
    from ctvlp.demo import run_demo

    page = run_demo(**config, tell=lambda line: print(line, flush=True))
    print(page)
    return EXIT_OK


def simulate(config: Config) -> int:
    """Write a simulated archive."""
    from preprocess.simulate.archive import simulate_archive

    with progress_bar("simulate", "study") as report:
        summary = simulate_archive(**config, progress=report)
    print(
        f"{summary.patients} patients, {summary.studies} studies, {summary.series} series, {summary.lesions} findings "
        f"drawn in {summary.seconds:.0f} s; simulator {summary.version}, digest {summary.digest}"
    )
    return EXIT_OK


def preprocess(config: Config) -> int:
    """Turn an archive into a store."""
    from preprocess.pipeline import preprocess_archive

    _log_to_stderr()
    with progress_bar("preprocess", "study") as report:
        summary = preprocess_archive(**config, progress=report)
    print(f"{summary.patients} patients, {summary.studies} studies, {summary.series} series")
    _tell_links(summary.links)
    print(f"{summary.done} done, {summary.skipped} were there already, {summary.failed} failed")
    return _tell_failures(summary, config, "failures.jsonl")


def _tell_links(links: Mapping[str, int]) -> None:
    """Print how reports and studies are linked, if there are reports."""
    if links:
        print(f"reports and studies: {', '.join(f'{count} {kind}' for kind, count in links.items())}")


def plan(config: Config) -> int:
    """Tell what preprocessing will take."""
    from ctvlp.run_text import format_forecast
    from preprocess.forecast import plan_archive

    _log_to_stderr()
    with progress_bar("plan", "study") as report:
        forecast = plan_archive(**config, progress=report)
    print(format_forecast(forecast))
    return EXIT_OK


def recrop(config: Config) -> int:
    """Make the crops of a store anew."""
    from preprocess.recrop_store import recrop_store

    _log_to_stderr()
    with progress_bar("recrop", "study") as report:
        summary = recrop_store(**config, progress=report)
    print(f"{summary.stored} studies in the store, {summary.not_stored} of the archive are not")
    print(f"{summary.done} done, {summary.skipped} had these crops, {summary.failed} failed and keep those they have")
    print(f"{summary.networks_loaded} networks loaded")
    return _tell_failures(summary, config, "run.json, under not_recropped")


def _tell_failures(summary: "RunSummary | RecropSummary", config: Config, where: str) -> int:
    """Print why studies failed and where that stands; the exit status of the run."""
    for reason, count in summary.reasons.items():
        print(f"  {reason}: {count}")
    if summary.failed and config["shard"] is None:
        print(f"see {str(config['out']).rstrip('/')}/{where}")
    if summary.unreadable:
        print(f"{summary.unreadable} files or folders of the archive cannot be read; they count as missing")
    return EXIT_FAILURES if summary.failed or summary.unreadable else EXIT_OK


def status(config: Config) -> int:
    """Tell how far a store is."""
    from ctvlp.run_text import format_status
    from preprocess.status import store_status

    print(format_status(store_status(**config)))
    return EXIT_OK


def reports(config: Config) -> int:
    """Read a report table alone, or show how one report is read."""
    text = config.pop("explain")
    if text is not None:
        return _explain(text, config)
    for key in ("reports", "out"):
        if config[key] is None:
            raise InputError(f"reports: {key}= is required; see ctvlp reports --help")
    from preprocess.text_tables import reports_to_tables

    with progress_bar("reports", "report") as report:
        summary = reports_to_tables(**config, progress=report)
    matched = summary.matched / summary.sentences if summary.sentences else 0.0
    print(f"{summary.reports} reports ({summary.empty} without text), {summary.sentences} sentences")
    _tell_links(summary.links)
    print(f"{summary.matched} sentences matched ({matched:.1%}); the most frequent others:")
    for sentence, count in list(summary.unmatched.items())[:UNMATCHED_SHOWN]:
        print(f"  {count:>6}  {sentence}")
    if config["language_model"] is not None:
        print(
            f"{summary.asked} clauses put to the language model, {summary.failed} failed and are asked again next time"
        )
    found = ", ".join(f"{count} of {kind}" for kind, count in summary.contradictions.items())
    print(f"contradictions: {found or 'none'}; quality.json, unmatched.csv and contradictions.csv in {config['out']}")
    return EXIT_OK


def _explain(text: str, config: Config) -> int:
    from ctvlp.explain import explain

    explain(text, config["out"], **{key: config[key] for key in EXPLAINED})
    return EXIT_OK


def check(config: Config) -> int:
    """Verify a store."""
    from preprocess.check import check_store

    problems = check_store(config["store"])
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problem{'' if len(problems) == 1 else 's'} found")
    return EXIT_FAILURES if problems else EXIT_OK


def gc(config: Config) -> int:
    """Remove earlier generations."""
    from preprocess.generations import collect_garbage
    from preprocess.store import Store

    garbage = collect_garbage(Store(config["store"]).path)
    print(f"{garbage.files} files removed, {garbage.size_bytes / 2**20:.1f} MiB of earlier generations")
    return EXIT_OK


def inspect(config: Config) -> int:
    """Write a page about the archive."""
    from ctvlp.page.inspection import inspect_store

    with progress_bar("inspect", "picture") as report:
        print(inspect_store(**config, progress=report))
    return EXIT_OK


def train(config: Config) -> int:
    """Train a model."""
    from ctvlp.configuration import build_model_config, build_settings
    from ctvlp.ranks import is_first, leave_ranks
    from ctvlp.train import train as train_model
    from preprocess.store import Store
    from preprocess.store_place import local_place
    from preprocess.vocabulary_files import load_vocabulary

    with progress_bar("train", "step") if is_first() else nullcontext() as report:
        checkpoint = train_model(
            Store(config["store"]),
            local_place(config["out"], "out"),
            vocabulary=load_vocabulary(config["vocabulary"]),
            model_config=build_model_config(config["model"]),
            settings=build_settings(config["training"]),
            text_cache=None if config["text_cache"] is None else local_place(config["text_cache"], "text_cache"),
            device=config["device"],
            progress=report,
        )
    leave_ranks()
    if is_first():
        print(checkpoint)
    return EXIT_OK


def screen(config: Config) -> int:
    """Score the studies of a store."""
    from ctvlp.screen import screen as screen_store

    with progress_bar("screen", "study") as report:
        result = screen_store(**config, progress=report)
    assessable = int(result.scores["assessable"].sum())
    studies = result.scores["study_id"].nunique()
    print(f"{studies} studies, {len(result.scores)} scores, {len(result.scores) - assessable} not assessable")
    for study, reason in result.failures.items():
        print(f"failed: {study}: {reason}")
    print(result.page or Path(config["out"]) / "scores.parquet")
    return EXIT_FAILURES if result.failures else EXIT_OK


def evaluate(config: Config) -> int:
    """Judge scores by labels."""
    from ctvlp.evaluate import evaluate as evaluate_scores
    from ctvlp.evaluation_files import format_evaluation

    print(format_evaluation(evaluate_scores(**config)))
    return EXIT_OK


def doctor(config: Config) -> int:
    """Say what this machine can run."""
    from ctvlp.doctor import examine

    checks = examine(config["weights"])
    for entry in checks:
        print(f"{entry.state:<8}{entry.topic:<32}{entry.detail}")
    missing = [entry.topic for entry in checks if entry.state in ("missing", "damaged")]
    print(f"missing or damaged: {', '.join(missing)}" if missing else "everything that is needed is here")
    return EXIT_FAILURES if missing else EXIT_OK


def _log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
