"""From samples to batches: what is drawn for each study, gathered by anatomy; and what crops tell before training."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ctvlp.alignment import Silence, label_targets
from ctvlp.augmentation import STILL, AugmentationSettings
from ctvlp.batches import AnatomyBatch, Batch, build_image_batch, identifier, no_images
from ctvlp.pairing import finding_bits
from ctvlp.samples import Sample, SampleText
from ctvlp.sources import TokenSource, WindowSource
from ctvlp.transforms import Tokens, count_tokens, measure_crop
from ctvlp.volume_batches import build_volume_batch
from ctvlp.windows import Window
from preprocess.vocabulary import Vocabulary

if TYPE_CHECKING:  # a loader's processes do without the model and what it imports
    from ctvlp.model import ModelConfig
    from preprocess.crops import Crop
    from preprocess.store import Store

logger = logging.getLogger(__name__)


def read_crop(store: "Store", sample: Sample) -> "Crop":
    """Read the crop of a sample."""
    with store.open_study(sample.study_id) as study:
        return study.crop(sample.volume, sample.anatomy)


def choose_patches(
    store: "Store", samples: Sequence[Sample], model_config: "ModelConfig", vocabulary: Vocabulary, *, crops: int = 32
) -> dict[str, int]:
    """Choose for each anatomy the smallest patch edge with which the median crop stays below the cap of tokens.

    How many of the crops looked at lose tokens is logged.

    Args:
        store: The store.
        samples: Training samples.
        model_config: Gives the edges to choose from and the cap.
        vocabulary: Gives the anatomies' own caps.
        crops: Crops to look at for each anatomy, spread over the samples.
    """
    chosen, capped = {}, {}
    for name, picked in _spread(samples, crops).items():
        looked_at = [read_crop(store, sample) for sample in picked]
        cap = min(model_config.max_tokens, vocabulary.anatomies[name].max_tokens)
        for edge in model_config.patch_voxels:
            counts = np.array([count_tokens(crop, edge) for crop in looked_at])
            chosen[name] = edge
            if np.median(counts) <= cap:
                break
        capped[name] = f"{np.count_nonzero(counts > cap)} of {len(counts)}"
    logger.info("patch edges in voxels: %s; crops that lose tokens above their cap: %s", chosen, capped)
    return chosen


def measure_statistics(
    source: TokenSource, samples: Sequence[Sample], *, crops: int = 256
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and standard deviation of each anatomy's measures over training crops, (MEASURES,) each.

    Args:
        source: Its store has the crops.
        samples: Training samples.
        crops: Crops to look at for each anatomy, spread over the samples.
    """
    found = {}
    for name, picked in _spread(samples, crops).items():
        measures = np.stack([measure_crop(read_crop(source.store, sample)) for sample in picked])
        found[name] = torch.from_numpy(measures.mean(axis=0)), torch.from_numpy(measures.std(axis=0))
    return found


def _spread(samples: Sequence[Sample], most: int) -> dict[str, list[Sample]]:
    """Each anatomy, by name, to at most `most` of its samples, spread over all."""
    found = {}
    for name in sorted({sample.anatomy for sample in samples}):
        mine = [sample for sample in samples if sample.anatomy == name]
        found[name] = [mine[i] for i in np.unique(np.linspace(0, len(mine) - 1, most).astype(int))]
    return found


def build_batch(
    step: int,
    studies: Mapping[str, Sequence[Sample]],
    source: TokenSource | WindowSource,
    vocabulary: Vocabulary,
    *,
    seed: int,
    silence: Silence = "negative",
    augmentation: AugmentationSettings = STILL,
) -> Batch:
    """Gather the samples of some studies by anatomy.

    All that is drawn for a study (texts, grids or windows, augmentation) depends on the seed, the step and the study
    alone.

    Args:
        step: Number of the step.
        studies: Study to its samples; none makes a batch without anatomies.
        source: Gives tokens or windows.
        vocabulary: Gives the order of anatomies, and which findings need the whole one.
        seed: Of what is drawn.
        silence: See `label_targets`.
        augmentation: How much images are changed.
    """
    rows: dict[str, int] = {}  # distinct texts
    parts: dict[str, list[_Part]] = {name: [] for name in vocabulary.anatomies}
    windows: list[Window] = []
    for number, (study, samples) in enumerate(studies.items()):
        rng = np.random.default_rng([seed, 1, step, identifier(study)])
        said = {sample.anatomy: _draw_text(sample, rng) for sample in samples}
        images: Mapping[str, Tokens | int]
        if isinstance(source, WindowSource):
            cut, window_of = source.draw(samples, augmentation, rng)
            images = {anatomy: len(windows) + window for anatomy, window in window_of.items()}
            windows += cut
        else:
            images = source.draw(samples, augmentation, rng)
        for sample in samples:
            if sample.anatomy in images:
                text = said[sample.anatomy]
                parts[sample.anatomy].append(_Part(number, sample, text, images[sample.anatomy]))
                rows.setdefault(text.text, len(rows))
    anatomies = {name: _build_anatomy_batch(mine, rows, vocabulary, silence) for name, mine in parts.items() if mine}
    window_rows = {name: [part.image for part in mine if isinstance(part.image, int)] for name, mine in parts.items()}
    volumes = build_volume_batch(windows, window_rows) if windows else None
    return Batch(step, tuple(studies), tuple(rows), anatomies, volumes)


class _Part(NamedTuple):
    """One sample of a batch, drawn: with the tokens of its crop, or the number of its window."""

    study: int
    sample: Sample
    text: SampleText
    image: Tokens | int


def _draw_text(sample: Sample, rng: np.random.Generator) -> SampleText:
    return sample.texts[int(rng.integers(len(sample.texts))) if len(sample.texts) > 1 else 0]


def _build_anatomy_batch(
    parts: Sequence[_Part], rows: Mapping[str, int], vocabulary: Vocabulary, silence: Silence
) -> AnatomyBatch:
    samples = [part.sample for part in parts]
    findings = vocabulary.of(samples[0].anatomy)
    labels = np.stack([sample.labels for sample in samples])  # (N, K)
    normal, abnormal = (np.array([getattr(sample, name) for sample in samples]) for name in ("normal", "abnormal"))
    needs_whole = np.array([finding.needs == "whole" for finding in findings], dtype=bool)
    hidden = np.array([not sample.whole for sample in samples])[:, None] & needs_whole  # (N, K)
    targets = np.where(hidden, np.nan, label_targets(labels, normal, abnormal, silence=silence))
    crops = [part.image for part in parts if isinstance(part.image, Tokens)]
    named = [identifier(part.text.text) if part.text.names_something else -1 for part in parts]
    return AnatomyBatch(
        image=build_image_batch(samples[0].anatomy, crops) if crops else no_images(samples[0].anatomy),
        study=torch.tensor([part.study for part in parts]),
        text_row=torch.tensor([rows[part.text.text] for part in parts]),
        abnormal=torch.tensor([sample.pairs_abnormal for sample in samples]),
        text_id=torch.tensor(named),
        findings=torch.from_numpy(finding_bits((labels == 1) & ~hidden).view(np.int64)),
        labels=torch.from_numpy(targets.astype(np.float32)),
        patient=torch.tensor([identifier(sample.patient_id) for sample in samples]),
        uncertain=torch.tensor([sample.alone for sample in samples]),
    )
