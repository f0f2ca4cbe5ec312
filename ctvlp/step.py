"""One training step: features of all ranks, the loss of the whole batch, its gradients, and the update of the weights.

Every rank computes the loss of the whole batch and sends its own samples' share of the gradient through its encoders;
the sum over ranks is the gradient that one rank would have with the whole batch.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from ctvlp.alignment import alignment_loss, draw_prompts
from ctvlp.batches import Batch, ImageBatch
from ctvlp.contrast import TargetShares, contrast
from ctvlp.features import Features, Piece, seeded
from ctvlp.gathering import gather_samples
from ctvlp.learner import Learner
from ctvlp.model import AnatomyCLIP
from ctvlp.ranks import ALONE, Ranks
from ctvlp.settings import TrainingSettings
from ctvlp.volume_batches import VolumeBatch
from preprocess.errors import CtvlpError
from preprocess.vocabulary import Vocabulary

Losses = dict[str, float]
Prompts = Mapping[str, tuple[list[str], list[str]]]
"""Anatomy to the stating and the denying phrasings of its findings."""

_PROMPTS, _TORCH = 2, 3
"""What a step's random numbers are for, as a part of their seed; 1 builds the batch."""


def train_step(
    learner: Learner,
    batch: Batch,
    vocabulary: Vocabulary,
    *,
    ranks: Ranks = ALONE,
    shares: TargetShares | None = None,
) -> Losses:
    """Take one step; every rank calls this with its part of the step's studies.

    Args:
        learner: The state; changed, alike on all ranks.
        batch: This rank's part, already augmented, on any device; may be empty.
        vocabulary: Gives the prompts.
        ranks: This process among the others.
        shares: Counts what the contrastive targets consist of.

    Returns:
        Of the whole batch: loss, contrastive (less the targets' entropy), entropy, alignment, the gradient's norm
        before clipping, the learning rate, the number of samples.

    Raises:
        CtvlpError: The loss or its gradient is no finite number, on all ranks alike; the batch is named and the weights
            are left as they were.
    """
    settings, rate = learner.settings, learner.learning_rate()
    totals, samples = _gradients(learner, batch, vocabulary, ranks, shares)
    contrastive, entropy, alignment = ranks.add_gradients(learner.model.parameters(), totals).tolist()
    loss = settings.contrastive_weight * contrastive + settings.alignment_weight * alignment
    norm = learner.update() if math.isfinite(loss) else math.nan
    if not math.isfinite(norm):
        studies = [study for part in ranks.gather_values(batch.studies) for study in part]
        raise CtvlpError(
            f"step {learner.step + 1}: loss {loss} and gradient {norm} must be finite numbers; "
            f"studies of the batch: {', '.join(studies)}"
        )
    return {
        "loss": loss,
        "contrastive": contrastive,
        "entropy": entropy,
        "alignment": alignment,
        "gradient": norm,
        "learning_rate": rate,
        "samples": samples,
    }


def _gradients(
    learner: Learner, batch: Batch, vocabulary: Vocabulary, ranks: Ranks, shares: TargetShares | None
) -> tuple[Tensor, int]:
    """Leave this rank's part of the gradient in the parameters.

    Returns:
        This rank's part of contrastive loss, entropy and alignment, (3,); and samples on all ranks.
    """
    model, settings, step = learner.model, learner.settings, learner.step
    device = model.log_scale.device
    batch = batch.to(device, non_blocking=True)
    prompts = _draw_prompts(vocabulary, settings, step) if settings.alignment_weight > 0 else {}
    asked = [text for name in batch.anatomies if name in prompts for side in prompts[name] for text in side]
    rows = {text: row for row, text in enumerate(dict.fromkeys([*batch.texts, *asked]))}
    pairing = settings.pairing
    with seeded(int(np.random.default_rng([settings.seed, _TORCH, step, ranks.rank]).integers(2**62)), device):
        images, texts = _image_features(model, batch, settings, ranks), _text_features(model, list(rows), settings)
        by_peer = pairing.use_peer and pairing.mode == "disease"
        peer = learner.peer_features(batch.texts) if by_peer else None
        lengths = [len(part) for part in batch.anatomies.values()]
        leaves = dict(
            zip(batch.anatomies, map(Tensor.requires_grad_, torch.split(images.values, lengths)), strict=True)
        )
        said, scale = texts.values.requires_grad_(), model.logit_scale.detach().requires_grad_()
        own = said[: len(batch.texts)]
        gathered = gather_samples(list(vocabulary.anatomies), batch, leaves, own, peer, ranks)
        contrasted = contrast(gathered, scale, settings) / ranks.count  # every rank computes all of it
        aligned = _align(learner, batch, leaves, prompts, said, rows, gathered.labels)
        images.backward(torch.cat([said.new_zeros(0, said.shape[1]), *map(_gradient, leaves.values())]))
        texts.backward(_gradient(said))
        torch.autograd.backward(model.logit_scale, _gradient(scale) / ranks.count)
    if shares is not None:
        shares.add(gathered, pairing)
    return torch.cat([contrasted, aligned]), gathered.samples


def _draw_prompts(vocabulary: Vocabulary, settings: TrainingSettings, step: int) -> Prompts:
    """Draw the phrasings of a step, for all anatomies, so that every rank draws the same."""
    rng = np.random.default_rng([settings.seed, _PROMPTS, step])
    return {name: draw_prompts(vocabulary.of(name), rng) for name in vocabulary.anatomies}


def _align(
    learner: Learner,
    batch: Batch,
    images: Mapping[str, Tensor],
    prompts: Prompts,
    texts: Tensor,
    rows: Mapping[str, int],
    labels: int,
) -> Tensor:
    """Compute this rank's part of the finding alignment, (1,), without its weight, and its gradient.

    Args:
        learner: Gives the head and the weight.
        batch: Gives the labels.
        images: Anatomy to its samples' features, leaves.
        prompts: Of each anatomy; empty where there is no alignment.
        texts: (M, D) features of the texts, a leaf.
        rows: Text to its row.
        labels: Labels on all ranks that are not masked.
    """
    head, terms = learner.model.alignment, [texts.new_zeros(())]
    for name, part in batch.anatomies.items() if prompts and labels else ():
        stating, denying = (texts[[rows[text] for text in side]] for side in prompts[name])
        terms.append(alignment_loss(head(images[name], stating, denying), part.labels))
    loss = torch.stack(terms).sum() / max(1, labels)
    if loss.requires_grad:
        torch.autograd.backward(learner.settings.alignment_weight * loss)
    return loss.detach().reshape(1)


def _image_features(model: AnatomyCLIP, batch: Batch, settings: TrainingSettings, ranks: Ranks) -> Features:
    """Features of a batch's samples, anatomy by anatomy."""
    lengths = [len(part) for part in batch.anatomies.values()]
    first = dict(zip(batch.anatomies, accumulate(lengths, initial=0), strict=False))  # row of its next sample
    pieces = []
    for images in model.images(batch):
        for part in images.split(settings.chunk_crops or len(images)):
            counts = _samples_of(part)
            rows = [torch.arange(first[name], first[name] + count) for name, count in counts.items()]
            first |= {name: first[name] + count for name, count in counts.items()}
            encode = partial(_encode_part, model, part, list(counts))
            pieces.append(Piece(torch.cat(rows).to(model.log_scale.device), encode))
    if settings.sharded:
        idle = ranks.largest(len(pieces), model.log_scale.device) - len(pieces)
        pieces += [Piece(torch.arange(0, device=model.log_scale.device), model.encode_nothing)] * idle
    return _features(model, pieces, sum(lengths), settings)


def _samples_of(part: ImageBatch | VolumeBatch) -> dict[str, int]:
    if isinstance(part, ImageBatch):
        return {part.anatomy: len(part)}
    return {name: len(rows) for name, rows in part.rows.items()}


def _encode_part(model: AnatomyCLIP, part: ImageBatch | VolumeBatch, names: Sequence[str]) -> Tensor:
    vectors = model.encode_part(part)
    return torch.cat([vectors[name] for name in names])


def _text_features(model: AnatomyCLIP, texts: Sequence[str], settings: TrainingSettings) -> Features:
    """Features of distinct texts; chunks hold texts of like length."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    most = settings.chunk_crops or max(1, len(texts))
    pieces = []
    for start in range(0, len(texts), most):
        rows = order[start : start + most]
        encode = partial(model.encode_text, [texts[row] for row in rows])
        pieces.append(Piece(torch.tensor(rows, device=model.log_scale.device), encode))
    return _features(model, pieces, len(texts), settings)


def _features(model: AnatomyCLIP, pieces: Sequence[Piece], count: int, settings: TrainingSettings) -> Features:
    return Features(
        pieces,
        (count, model.config.embed_dim),
        device=model.log_scale.device,
        precision=settings.precision,
        twice=settings.chunk_crops > 0,
    )


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
