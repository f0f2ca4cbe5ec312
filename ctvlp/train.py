"""Pre-training: one loop over the steps of a run, on one process or many, from its start or from where it stopped."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ctvlp.checkpoint import BEST, State, find_checkpoints, write_best, write_checkpoint
from ctvlp.contrast import TargetShares
from ctvlp.data import build_batch, choose_patches, measure_statistics
from ctvlp.learner import Best, Learner, build_learner, resumable_state, same_config
from ctvlp.loader import BuildBatch, open_batches
from ctvlp.model import ModelConfig
from ctvlp.ranks import Ranks, join_ranks
from ctvlp.run_folder import open_run
from ctvlp.run_log import memory_figures, open_log
from ctvlp.samples import Sample, read_samples, shuffled_reports
from ctvlp.sampling import Schedule, Step, build_schedule
from ctvlp.settings import TrainingSettings
from ctvlp.sources import TokenSource, WindowSource, build_source
from ctvlp.step import train_step
from ctvlp.stopping import hold_signals
from ctvlp.validation import validate
from preprocess.publish import publishing
from preprocess.vocabulary import Vocabulary

if TYPE_CHECKING:
    from preprocess.store import Store

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called after each step with the steps done, all steps, and a line with the loss, the rate and the time left."""

Figures = dict[str, float]


def train(
    store: "Store",
    out: Path,
    *,
    vocabulary: Vocabulary,
    model_config: ModelConfig | None = None,
    settings: TrainingSettings | None = None,
    text_cache: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Path:
    """Train a model on the studies of split `train`, or go on where an earlier call stopped.

    Writes `checkpoint-*.pt` (the last two), `best.pt` (the best validation), `log.jsonl` (one line a step) and
    `split.parquet` (study_id, patient_id, split) into `out`. The same store, settings, processes and threads give the
    same weights, interrupted or not. Under `torchrun` every process calls this, with an `out` that all
    of them see; the first one writes. SIGINT and SIGTERM act once the step is done and a checkpoint written; a second
    one acts at once.

    Args:
        store: The store.
        out: Folder of the run.
        vocabulary: Anatomies and findings.
        model_config: Of the model; size `bench` by default. Patch edges are chosen on the training crops where it
            names none.
        settings: Of the run.
        text_cache: Folder for the features of a frozen text encoder, shared between runs; None for `out`.
        device: Where the model is trained; with several processes `cuda` is one GPU each.
        progress: Called after each step, on the first process.

    Returns:
        The last checkpoint.

    Raises:
        InputError: There is nothing to train on, `out` holds a run with other settings or data, or another process
            trains there.
        CtvlpError: The loss or its gradient is no finite number, and the batch is named; or no batch comes.
    """
    settings, model_config = settings or TrainingSettings(), model_config or ModelConfig()
    ranks, place = join_ranks(device)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    with open_run(out, ranks):
        job = _Job(store, out, vocabulary, settings, ranks, _samples_by_study(store, vocabulary, settings))
        schedule = build_schedule(
            job.samples, settings.batch_studies, epochs=settings.epochs, seed=settings.seed, balance=settings.balance
        )
        learner = _start(job, model_config, len(schedule), text_cache or out, place)
        source = build_source(
            store,
            learner.model,
            shifts=settings.shifts,
            seed=settings.seed,
            memory_gb=0.0 if settings.loader_workers else settings.memory_gb,
        )
        if learner.step == 0 and isinstance(source, TokenSource):
            learner.set_measures(measure_statistics(source, job.every_sample))
        if learner.step == 0 and ranks.first:
            (out / BEST).unlink(missing_ok=True)  # of a run that was killed before its first checkpoint
            _write_split(store, job.samples, out)
        if learner.step < len(schedule):
            _run(job, schedule, learner, source, progress if ranks.first else None)
        ranks.wait()
        return find_checkpoints(out)[-1]


@dataclass(frozen=True)
class _Job:
    """What all parts of a run need."""

    store: "Store"
    out: Path
    vocabulary: Vocabulary
    settings: TrainingSettings
    ranks: Ranks
    samples: dict[str, list[Sample]]

    @property
    def every_sample(self) -> list[Sample]:
        return [sample for mine in self.samples.values() for sample in mine]

    @cached_property
    def digest(self) -> str:
        """What tells these samples from others: all that is known of them, but for the voxels."""
        digest = hashlib.sha256()
        plain = [field.name for field in fields(Sample) if field.name != "labels"]
        for sample in self.every_sample:
            digest.update(repr([getattr(sample, name) for name in plain]).encode())
            digest.update(sample.labels.tobytes())
        return digest.hexdigest()

    def state(self, learner: Learner, epochs: int) -> State:
        """What a checkpoint holds after so many whole epochs; all ranks call this."""
        return {**learner.state(self.vocabulary, epochs), "samples": self.digest}


def _run(
    job: _Job, schedule: Schedule, learner: Learner, source: TokenSource | WindowSource, progress: Progress | None
) -> None:
    """The loop: a batch, a step, a line of the log; validation and checkpoint where they are due."""
    settings, ranks, device = job.settings, job.ranks, learner.model.log_scale.device
    with (
        hold_signals() as signals,
        open_log(job.out, learner.step, settings.tracker, writes=ranks.first) as log,
        open_batches(
            schedule.steps(learner.step),
            job.samples,
            _batch_builder(job, source),
            workers=settings.loader_workers,
            start=settings.loader_start,
            ahead=settings.loader_ahead,
            timeout_s=settings.loader_timeout_s,
            rank=ranks.rank,
            ranks=ranks.count,
            pin_memory=device.type == "cuda",
        ) as batches,
    ):
        tell, shares = _progress_line(progress, learner.step, len(schedule)), TargetShares()
        begun = kept = time.perf_counter()
        for step, batch in batches:
            waited = time.perf_counter() - begun
            figures = train_step(learner, batch, job.vocabulary, ranks=ranks, shares=shares)
            figures |= _rates(step, figures["samples"], time.perf_counter() - begun, waited) | memory_figures(device)
            last = learner.step == len(schedule)
            if step.ends_epoch:
                figures |= shares.figures() | _validate(job, learner, step.epoch + 1, last=last)
                shares = TargetShares()
            log.write(learner.step, figures)
            stop = ranks.largest(len(signals), device) > 0
            if last or stop or _checkpoint_due(job, step, kept, device):
                state = job.state(learner, step.epoch + step.ends_epoch)
                if ranks.first:
                    write_checkpoint(job.out, learner.step, state)
                kept = time.perf_counter()
            tell(learner.step, figures)
            if stop:
                raise KeyboardInterrupt
            begun = time.perf_counter()


def _checkpoint_due(job: _Job, step: Step, kept: float, device: torch.device) -> bool:
    """Whether an epoch's end or the first rank's clock asks for a checkpoint; the last one was kept at time `kept`."""
    wait_s = job.settings.checkpoint_minutes * 60
    late = job.ranks.first and 0 < wait_s <= time.perf_counter() - kept
    ends = step.ends_epoch and (step.epoch + 1) % job.settings.checkpoint_epochs == 0
    return job.ranks.largest(int(late), device) > 0 or ends


def _validate(job: _Job, learner: Learner, epochs: int, *, last: bool) -> Figures:
    """Validate where it is due, and keep the weights if they are the best so far."""
    every = job.settings.validate_epochs
    if not every or (epochs % every and not last):
        return {}
    figures = validate(job.store, learner, job.vocabulary, job.ranks)
    value = figures.get("val_auroc")
    if value is not None and (learner.best is None or value > learner.best.value):
        learner.best = Best(learner.step, value)
        state = job.state(learner, epochs)
        if job.ranks.first:
            write_best(job.out, state)
    return figures


def _rates(step: Step, samples: float, seconds: float, waited: float) -> Figures:
    return {
        "epoch": step.epoch,
        "studies": len(step.studies),
        "seconds": seconds,
        "waited": waited,
        "waited_share": waited / seconds,
        "samples_per_second": samples / seconds,
    }


def _progress_line(progress: Progress | None, first: int, total: int) -> Callable[[int, Figures], None]:
    """What tells of each step: steps done, and a line with the loss, the rate and the time left."""
    started = time.perf_counter()

    def tell(done: int, figures: Figures) -> None:
        if progress is not None:
            left = (time.perf_counter() - started) / (done - first) * (total - done)
            rate = figures["studies"] / figures["seconds"]
            progress(done, total, f"loss {figures['loss']:.3f}, {rate:.1f} studies/s, {left:.0f} s left")

    return tell


def _batch_builder(job: _Job, source: TokenSource | WindowSource) -> BuildBatch:
    return partial(
        build_batch,
        source=source,
        vocabulary=job.vocabulary,
        seed=job.settings.seed,
        silence=job.settings.silence,
        augmentation=job.settings.augmentation,
    )


def _samples_by_study(store: "Store", vocabulary: Vocabulary, settings: TrainingSettings) -> dict[str, list[Sample]]:
    read = partial(read_samples, store, vocabulary, text=settings.text, unmentioned=settings.unmentioned)
    samples = read()
    if settings.shuffle_reports:
        samples = read(report_of=shuffled_reports([sample.study_id for sample in samples], settings.seed))
    by_study: dict[str, list[Sample]] = {}
    for sample in samples:
        by_study.setdefault(sample.study_id, []).append(sample)
    logger.info("%d samples of %d studies to train on", len(samples), len(by_study))
    return by_study


def _start(job: _Job, config: ModelConfig, total_steps: int, text_cache: Path, device: torch.device) -> Learner:
    """Build a learner, or restore the one that an earlier call left in the run's folder."""
    state = resumable_state(job.out, job.settings, job.vocabulary, samples=job.digest, total_steps=total_steps)
    if state is not None:
        config = same_config(job.out, state, config)
    elif config.encoder == "crop" and not config.patch_by_anatomy:
        config = replace(config, patch_by_anatomy=choose_patches(job.store, job.every_sample, config, job.vocabulary))
    learner = build_learner(config, job.vocabulary, job.settings, total_steps, text_cache=text_cache, device=device)
    if state is not None:
        learner.restore(state)
        logger.info("%s: going on after step %d of %d", job.out, learner.step, total_steps)
    return learner


def _write_split(store: "Store", samples: Iterable[str], out: Path) -> None:
    """Write which studies were trained on, and the split of all others."""
    manifest = store.manifest()[["study_id", "patient_id", "split"]].drop_duplicates("study_id")
    table = manifest.assign(used=manifest["study_id"].isin(set(samples))).sort_values("study_id")
    with publishing(out / "split.parquet") as stream:
        table.to_parquet(stream, index=False)
