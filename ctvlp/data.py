"""From samples to batches: tokens of each crop, kept in memory or cut anew, gathered by anatomy for some studies."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ctvlp.alignment import Silence, label_targets
from ctvlp.batches import ImageBatch, build_image_batch
from ctvlp.model import AnatomyCLIP, ModelConfig
from ctvlp.pairing import finding_bits, relations
from ctvlp.samples import Sample, SampleText
from ctvlp.transforms import Shift, Tokens, count_tokens
from preprocess.vocabulary import Vocabulary

if TYPE_CHECKING:
    from preprocess.crops import Crop
    from preprocess.store import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnatomyBatch:
    """The samples of one anatomy in a batch.

    Attributes:
        image: Tokens of their crops.
        text_row: (N,) int64, row of each sample's text among the batch's distinct texts.
        abnormal: (N,) bool.
        text_id: (N,) int64: `text_row`, or -1 where the text names nothing particular.
        findings: (N,) int64, bit masks of the findings stated.
        labels: (N, K) float32: 1, 0, NaN masked; see `label_targets`.
        exclude: (N, N) bool, see `relations`.
    """

    image: ImageBatch
    text_row: Tensor
    abnormal: Tensor
    text_id: Tensor
    findings: Tensor
    labels: Tensor
    exclude: Tensor


@dataclass(frozen=True)
class Batch:
    """The anatomies of some studies.

    Attributes:
        studies: Ids.
        texts: The distinct texts.
        anatomies: Name to samples, in the order of the vocabulary; anatomies without a sample are left out.
    """

    studies: tuple[str, ...]
    texts: tuple[str, ...]
    anatomies: dict[str, AnatomyBatch]


class TokenSource:
    """Cuts crops into tokens with one of a few shifted grids, and keeps the result in memory if asked.

    Args:
        store: Where crops are read.
        model: Gives patches and caps.
        shifts: Number of grids: the first is not shifted, the others are shifted by fixed random voxels.
        seed: Of these shifts.
        in_memory: Keep the tokens of every crop and grid.
    """

    def __init__(self, store: "Store", model: AnatomyCLIP, *, shifts: int, seed: int, in_memory: bool) -> None:
        self.store, self.model, self.shifts, self.in_memory = store, model, shifts, in_memory
        self._fractions = np.random.default_rng(seed).random((shifts, 3))
        self._fractions[0] = 0.0
        self._kept: dict[tuple[str, str, int], Tokens] = {}

    def tokens(self, sample: Sample, grid: int) -> Tokens:
        """Return the tokens of a sample's crop on grid number `grid`."""
        key = (sample.study_id, sample.anatomy, grid)
        if key not in self._kept:
            crop = read_crop(self.store, sample)
            for number in range(self.shifts) if self.in_memory else (grid,):
                cut = self.model.tokenize(crop, sample.anatomy, shift=self._shift(sample.anatomy, number))
                self._kept[(*key[:2], number)] = cut
        return self._kept[key] if self.in_memory else self._kept.pop(key)

    def _shift(self, anatomy: str, grid: int) -> Shift:
        z, y, x = (int(fraction * self.model.patch_edge(anatomy)) for fraction in self._fractions[grid])
        return (z, y, x)


def read_crop(store: "Store", sample: Sample) -> "Crop":
    """Read the crop of a sample."""
    with store.open_study(sample.study_id) as study:
        return study.crop(sample.volume, sample.anatomy)


def choose_patches(
    store: "Store", samples: Sequence[Sample], model_config: ModelConfig, vocabulary: Vocabulary, *, crops: int = 32
) -> dict[str, int]:
    """Choose for each anatomy the smallest patch edge with which the median crop stays below the cap of tokens.

    Args:
        store: The store.
        samples: Training samples.
        model_config: Gives the edges to choose from and the cap.
        vocabulary: Gives the anatomies' own caps.
        crops: Crops to look at for each anatomy, spread over the samples.
    """
    chosen = {}
    for name in sorted({sample.anatomy for sample in samples}):
        mine = [sample for sample in samples if sample.anatomy == name]
        picked = np.unique(np.linspace(0, len(mine) - 1, crops).astype(int))
        looked_at = [read_crop(store, mine[i]) for i in picked]
        cap = min(model_config.max_tokens, vocabulary.anatomies[name].max_tokens)
        for edge in model_config.patch_voxels:
            chosen[name] = edge
            if np.median([count_tokens(crop, edge) for crop in looked_at]) <= cap:
                break
    logger.info("patch edges in voxels: %s", chosen)
    return chosen


def measure_statistics(
    source: TokenSource, samples: Sequence[Sample], *, crops: int = 256
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and standard deviation of each anatomy's measures over training crops, (MEASURES,) each.

    Args:
        source: Gives tokens.
        samples: Training samples.
        crops: Crops to look at for each anatomy, spread over the samples.
    """
    found = {}
    for name in sorted({sample.anatomy for sample in samples}):
        mine = [sample for sample in samples if sample.anatomy == name]
        picked = np.unique(np.linspace(0, len(mine) - 1, crops).astype(int))
        measures = np.stack([source.tokens(mine[i], 0).measures for i in picked])
        found[name] = torch.from_numpy(measures.mean(axis=0)), torch.from_numpy(measures.std(axis=0))
    return found


def epoch_order(studies: Sequence[str], batch_studies: int, *, seed: int, epoch: int) -> list[list[str]]:
    """Return the batches of an epoch: each study once, in an order that depends on seed and epoch alone.

    A last batch of less than half the size joins the one before it.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(studies))
    names = [studies[i] for i in order]
    batches = [names[start : start + batch_studies] for start in range(0, len(names), batch_studies)]
    if len(batches) > 1 and len(batches[-1]) * 2 < batch_studies:
        batches[-2:] = [batches[-2] + batches[-1]]
    return batches


def build_batch(
    studies: Sequence[str],
    samples: dict[str, list[Sample]],
    source: TokenSource,
    vocabulary: Vocabulary,
    rng: np.random.Generator,
    *,
    silence: Silence = "negative",
) -> Batch:
    """Gather the samples of some studies by anatomy.

    Args:
        studies: Ids.
        samples: Study to its samples.
        source: Gives tokens.
        vocabulary: Gives the order of anatomies, and which findings need the whole one.
        rng: Draws one of each sample's texts, where it has several, and each crop's grid.
        silence: See `label_targets`.
    """
    chosen = [sample for study in studies for sample in samples[study]]
    said = [_draw_text(sample, rng) for sample in chosen]
    rows: dict[str, int] = {}
    for text in said:
        rows.setdefault(text.text, len(rows))
    anatomies = {}
    for name in vocabulary.anatomies:
        mine = [(sample, text) for sample, text in zip(chosen, said, strict=True) if sample.anatomy == name]
        if mine:
            tokens = [source.tokens(sample, int(rng.integers(source.shifts))) for sample, _ in mine]
            image = build_image_batch(name, tokens)
            anatomies[name] = _build_anatomy_batch(mine, image, rows, vocabulary, silence)
    return Batch(tuple(studies), tuple(rows), anatomies)


def _draw_text(sample: Sample, rng: np.random.Generator) -> SampleText:
    return sample.texts[int(rng.integers(len(sample.texts))) if len(sample.texts) > 1 else 0]


def _build_anatomy_batch(
    said: Sequence[tuple[Sample, SampleText]],
    image: ImageBatch,
    rows: dict[str, int],
    vocabulary: Vocabulary,
    silence: Silence,
) -> AnatomyBatch:
    samples = [sample for sample, _ in said]
    text_row = np.array([rows[text.text] for _, text in said])
    labels = np.stack([sample.labels for sample in samples])  # (N, K)
    normal, abnormal = (np.array([getattr(sample, name) for sample in samples]) for name in ("normal", "abnormal"))
    targets = label_targets(labels, normal, abnormal, silence=silence)
    cut = np.array([not sample.whole for sample in samples])
    needs_whole = np.array([finding.needs == "whole" for finding in vocabulary.of(samples[0].anatomy)], dtype=bool)
    targets[cut[:, None] & needs_whole[None, :]] = np.nan
    exclude = relations([sample.patient_id for sample in samples], np.array([sample.uncertain for sample in samples]))
    return AnatomyBatch(
        image=image,
        text_row=torch.from_numpy(text_row),
        abnormal=torch.from_numpy(abnormal),
        text_id=torch.from_numpy(np.where([text.names_something for _, text in said], text_row, -1)),
        findings=torch.from_numpy(finding_bits(labels == 1).view(np.int64)),
        labels=torch.from_numpy(targets),
        exclude=torch.from_numpy(exclude),
    )
