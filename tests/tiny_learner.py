"""A learner of a few kilobytes, and batches of a small store for it."""

from dataclasses import replace

import torch
from small_store import small_store, small_vocabulary
from torch.distributed.tensor import DTensor

from ctvlp.augmentation import AugmentationSettings
from ctvlp.batches import Batch
from ctvlp.data import build_batch
from ctvlp.learner import Learner, build_learner
from ctvlp.model import build_config
from ctvlp.samples import Sample, read_samples
from ctvlp.settings import TrainingSettings
from ctvlp.sharding import gather_shards
from ctvlp.sources import TokenSource

VOCABULARY = small_vocabulary()
STILL = AugmentationSettings(offset_hu=0, contrast=0, noise_hu=0, size=0)
SETTINGS = TrainingSettings(learning_rate=2e-3, augmentation=STILL, seed=3, alignment_weight=0.7)


def tiny_config(encoder, **changes):
    return build_config(width=16, depth=1, heads=2, stem_width=4, embed_dim=16, text_encoder=str(encoder), **changes)


def tiny_learner(encoder, settings=SETTINGS, *, device="cpu", dropout=False, **changes) -> Learner:
    """A learner whose starting weights depend on the seed alone; its text tower has dropout only if asked."""
    learner = build_learner(tiny_config(encoder, **changes), VOCABULARY, settings, total_steps=10, device=device)
    if dropout:
        learner.model.text.train()
    return learner


def samples_by_study(store) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {}
    for sample in read_samples(store, VOCABULARY):
        samples.setdefault(sample.study_id, []).append(sample)
    return samples


def batch_for(learner, store, samples=None, *, step=0) -> Batch:
    """The batch of some studies, given with their samples, or of all."""
    source = TokenSource(store, learner.model, shifts=2, seed=0, memory_gb=0.0)
    chosen = samples_by_study(store) if samples is None else samples
    settings = learner.settings
    return build_batch(
        step,
        chosen,
        source,
        VOCABULARY,
        seed=settings.seed,
        silence=settings.silence,
        augmentation=settings.augmentation,
    )


def without(samples, anatomy):
    """Studies without their samples of an anatomy."""
    return {study: [sample for sample in mine if sample.anatomy != anatomy] for study, mine in samples.items()}


def uncertain(samples):
    """Studies whose every report leaves everything open."""
    return {
        study: [replace(sample, uncertain=True, normal=False, abnormal=False) for sample in mine]
        for study, mine in samples.items()
    }


def gradients(learner) -> dict:
    """All gradients, put together where ranks hold parts of them."""
    found = {name: p.grad.detach() for name, p in learner.model.named_parameters() if p.grad is not None}
    return {name: value.cpu().clone() for name, value in gather_shards(found).items()}


def local_part(value):
    """What this process holds of a value."""
    return value.to_local() if isinstance(value, DTensor) else value


def differences(first, second, path=""):
    """Places at which two checkpoints differ."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [path]
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        return [place for key in first for place in differences(first[key], second[key], f"{path}.{key}")]
    if isinstance(first, list | tuple):
        assert len(first) == len(second)
        return [
            p for i, (a, b) in enumerate(zip(first, second, strict=True)) for p in differences(a, b, f"{path}[{i}]")
        ]
    return [] if first == second else [path]


def eight_studies():
    """A store of eight studies, of which some patients have two, and its samples."""
    store = small_store(8, seed=2)
    return store, samples_by_study(store)
