"""Pre-training: one loop over batches of studies, the contrastive loss of each anatomy and the finding alignment."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ctvlp.alignment import alignment_loss, draw_prompts
from ctvlp.augmentation import augment
from ctvlp.checkpoint import find_checkpoints, write_checkpoint
from ctvlp.data import AnatomyBatch, Batch, TokenSource, build_batch, choose_patches, epoch_order, measure_statistics
from ctvlp.learner import Learner, build_learner, resumable_state, same_config
from ctvlp.loss import contrastive_loss, target_entropy
from ctvlp.model import ModelConfig
from ctvlp.pairing import pairing_targets
from ctvlp.samples import Sample, read_samples, shuffled_reports
from ctvlp.settings import TrainingSettings
from preprocess.errors import CtvlpError
from preprocess.publish import publish, publishing, remove_leftovers
from preprocess.vocabulary import Vocabulary

if TYPE_CHECKING:
    from preprocess.store import Store

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called after each step with the steps done, all steps, and a line with the loss, the rate and the time left."""

Losses = dict[str, float]


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

    Writes `checkpoint-*.pt` (the last two), `log.jsonl` (one line a step) and `split.parquet` (study_id, patient_id,
    split) into `out`. The same store, settings and number of threads give the same weights, interrupted or not.

    Args:
        store: The store.
        out: Folder of the run.
        vocabulary: Anatomies and findings.
        model_config: Of the model; size `bench` by default. Patch edges are chosen on the training crops where it
            names none.
        settings: Of the run.
        text_cache: Folder for the features of a frozen text encoder, shared between runs; None for `out`.
        device: Where the model is trained.
        progress: Called after each step.

    Returns:
        The last checkpoint.

    Raises:
        InputError: There is nothing to train on, or `out` holds a run with other settings.
        CtvlpError: The loss or its gradient is no finite number; the batch is named.
    """
    settings, model_config = settings or TrainingSettings(), model_config or ModelConfig()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    samples = _samples_by_study(store, vocabulary, settings)
    order = [batch for epoch in range(settings.epochs) for batch in _epoch(sorted(samples), settings, epoch)]
    learner = _start(store, out, samples, vocabulary, model_config, settings, len(order), text_cache or out, device)
    source = TokenSource(store, learner.model, shifts=settings.shifts, seed=settings.seed, in_memory=settings.in_memory)
    if learner.step == 0:
        learner.set_measures(measure_statistics(source, [sample for mine in samples.values() for sample in mine]))
    _write_split(store, samples, out)
    with _open_log(out / "log.jsonl", learner.step) as log:
        started, first = time.perf_counter(), learner.step
        for epoch, names, ends_epoch in order[learner.step :]:
            rng = np.random.default_rng([settings.seed, 1, learner.step])
            begun = time.perf_counter()
            batch = build_batch(names, samples, source, vocabulary, rng, silence=settings.silence)
            loaded = time.perf_counter()
            losses = train_step(learner, batch, vocabulary, rng)
            seconds = time.perf_counter() - begun
            line = {"step": learner.step, "epoch": epoch, **losses, "seconds": seconds, "waited": loaded - begun}
            log.write(json.dumps(line) + "\n")
            log.flush()
            if ends_epoch and ((epoch + 1) % settings.checkpoint_epochs == 0 or learner.step == len(order)):
                write_checkpoint(out, learner.step, learner.state(vocabulary, epoch + 1))
            if progress is not None:
                left = (time.perf_counter() - started) / (learner.step - first) * (len(order) - learner.step)
                rate = len(names) / seconds
                progress(
                    learner.step, len(order), f"loss {losses['loss']:.3f}, {rate:.1f} studies/s, {left:.0f} s left"
                )
    return find_checkpoints(out)[-1]


def train_step(learner: Learner, batch: Batch, vocabulary: Vocabulary, rng: np.random.Generator) -> Losses:
    """Gather the gradients of one batch, anatomy by anatomy, and update the weights.

    Each anatomy's graph is freed before the next is built; the texts' share of the gradient is gathered in `texts` and
    sent through the text tower once.

    Args:
        learner: The state; changed.
        batch: Some studies.
        vocabulary: Gives the prompts.
        rng: Draws augmentation and phrasings.

    Returns:
        Means of the batch: loss, contrastive (less the targets' entropy), alignment; and the gradient's norm.

    Raises:
        CtvlpError: The loss or its gradient is no finite number.
    """
    settings, model = learner.settings, learner.model
    prompts = {name: draw_prompts(vocabulary.of(name), rng) for name in batch.anatomies}
    wanted = [*batch.texts, *(text for pair in prompts.values() for side in pair for text in side)]
    rows = {text: row for row, text in enumerate(dict.fromkeys(wanted))}
    with torch.random.fork_rng(devices=[model.log_scale.device] if model.log_scale.is_cuda else []):
        torch.manual_seed(int(rng.integers(2**62)))
        encoded = model.encode_text(list(rows))
        peer = learner.peer_features(model.text.features(batch.texts)) if settings.pairing.use_peer else None
        texts = encoded.detach().requires_grad_()
        contrasted = sum(bool(part.abnormal.any()) for part in batch.anatomies.values())
        labelled = sum(int((~part.labels.isnan()).sum()) for part in batch.anatomies.values())
        total = {"contrastive": 0.0, "entropy": 0.0, "alignment": 0.0}
        for name, part in batch.anatomies.items():
            image = model.encode_image(augment(part.image, settings.augmentation, rng).to(texts.device))
            loss = image.sum() * 0.0
            if bool(part.abnormal.any()) and settings.contrastive_weight > 0:
                term, entropy = _contrast(learner, part, image, texts, peer)
                loss = loss + settings.contrastive_weight * term / contrasted
                total["contrastive"] += float((term - entropy).detach()) / contrasted
            if labelled and settings.alignment_weight > 0:
                stating, denying = (texts[[rows[text] for text in side]] for side in prompts[name])
                term = alignment_loss(model.alignment(image, stating, denying), part.labels.to(image.device)) / labelled
                loss = loss + settings.alignment_weight * term
                total["alignment"] += float(term.detach())
            torch.autograd.backward(loss)
        if texts.grad is not None:
            torch.autograd.backward(encoded, texts.grad)
    total["loss"] = settings.contrastive_weight * total["contrastive"] + settings.alignment_weight * total["alignment"]
    norm = learner.update() if math.isfinite(total["loss"]) else math.nan
    if not math.isfinite(norm):
        raise CtvlpError(
            f"step {learner.step + 1}: loss {total['loss']} and gradient {norm} must be finite numbers; "
            f"studies of the batch: {', '.join(batch.studies)}"
        )
    return {**total, "gradient": norm}


def _contrast(
    learner: Learner, part: AnatomyBatch, image: Tensor, texts: Tensor, peer: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Contrastive loss of one anatomy, and the entropy of its targets."""
    pairing = learner.settings.pairing
    rows = part.text_row.to(texts.device)
    abnormal, text_id, findings, exclude = (
        value.to(texts.device) for value in (part.abnormal, part.text_id, part.findings, part.exclude)
    )
    targets = pairing_targets(
        abnormal,
        text_id,
        findings if pairing.use_findings else None,
        peer[rows] @ peer[rows].T if peer is not None else None,
        mode=pairing.mode,
        mix=pairing.mix,
        overlap_weight=pairing.overlap_weight,
        self_weight=pairing.self_weight,
        peer_temperature=pairing.peer_temperature,
        exclude=exclude,
    )
    loss = contrastive_loss(image, texts[rows], learner.model.logit_scale, targets, exclude=exclude)
    return loss, target_entropy(targets)


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


def _epoch(studies: list[str], settings: TrainingSettings, epoch: int) -> list[tuple[int, list[str], bool]]:
    """Batches of an epoch: its number, the studies, and whether the batch is the epoch's last."""
    batches = epoch_order(studies, settings.batch_studies, seed=settings.seed, epoch=epoch)
    return [(epoch, names, number == len(batches) - 1) for number, names in enumerate(batches)]


def _start(
    store: "Store",
    out: Path,
    samples: dict[str, list[Sample]],
    vocabulary: Vocabulary,
    config: ModelConfig,
    settings: TrainingSettings,
    total_steps: int,
    text_cache: Path,
    device: str,
) -> Learner:
    """Build a learner, or restore the one that an earlier call left in `out`."""
    state = resumable_state(out, settings, vocabulary)
    if state is not None:
        config = same_config(out, state, config)
    elif not config.patch_by_anatomy:
        every = [sample for study in samples.values() for sample in study]
        config = replace(config, patch_by_anatomy=choose_patches(store, every, config, vocabulary))
    learner = build_learner(config, vocabulary, settings, total_steps, text_cache=text_cache, device=device)
    if state is not None:
        learner.restore(state)
        logger.info("%s: going on after step %d of %d", out, learner.step, total_steps)
    return learner


def _open_log(path: Path, step: int) -> IO[str]:
    """Open the log for appending, without lines of steps that no checkpoint holds."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    done = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    if len(done) < len(lines):
        publish(path, "".join(done).encode())
    return path.open("a", encoding="utf-8")


def _write_split(store: "Store", samples: Iterable[str], out: Path) -> None:
    """Write which studies were trained on, and the split of all others."""
    manifest = store.manifest()[["study_id", "patient_id", "split"]].drop_duplicates("study_id")
    table = manifest.assign(used=manifest["study_id"].isin(set(samples))).sort_values("study_id")
    with publishing(out / "split.parquet") as stream:
        table.to_parquet(stream, index=False)
