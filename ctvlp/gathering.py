"""The samples of a step on all ranks: features, whose gradient stays where they come from, and what is known of them.

Three messages a step, whatever a rank's batch holds: counts, features, and what the pairing must know. A rank without a
sample of an anatomy sends none of it and takes part all the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ctvlp.batches import AnatomyBatch, Batch
from ctvlp.ranks import Ranks

_KNOWN = ("text_row", "abnormal", "text_id", "findings", "patient", "uncertain")
"""What is sent of a sample beside its features; all fit into int64."""


@dataclass(frozen=True)
class Samples:
    """The N samples of one anatomy on all ranks, in the order of the ranks.

    Attributes:
        image: (N, D) normalised features; gradients reach the rows of this rank alone.
        text_row: (N,) int64, row of each sample's text in `Gathered.texts`.
        abnormal: (N,) bool.
        text_id: (N,) int64, equal for texts that mean the same, or -1.
        findings: (N,) int64 bit masks.
        patient: (N,) int64.
        uncertain: (N,) bool.
    """

    image: Tensor
    text_row: Tensor
    abnormal: Tensor
    text_id: Tensor
    findings: Tensor
    patient: Tensor
    uncertain: Tensor


@dataclass(frozen=True)
class Gathered:
    """A step's samples of all ranks.

    Attributes:
        anatomies: Those with an abnormal sample on any rank, which alone are contrasted.
        texts: (M, D) normalised features of the ranks' texts, one rank after the other; gradients as for images.
        peer: (M, D) the peer's features of the same texts, or None.
        samples: Samples of all anatomies on all ranks.
        labels: Labels that are not masked, on all ranks.
    """

    anatomies: dict[str, Samples]
    texts: Tensor
    peer: Tensor | None
    samples: int
    labels: int


def gather_samples(
    names: Sequence[str],
    batch: Batch,
    images: Mapping[str, Tensor],
    texts: Tensor,
    peer: Tensor | None,
    ranks: Ranks,
) -> Gathered:
    """Gather the samples of a step from all ranks.

    Args:
        names: All anatomies, in the same order on every rank.
        batch: This rank's part of the step.
        images: Anatomy to (n, D) features of its samples.
        texts: (m, D) features of the batch's texts.
        peer: (m, D) the peer's, or None, on every rank.
        ranks: This process among the others.
    """
    parts = [batch.anatomies.get(name) for name in names]
    counts = ranks.gather_equal(_count(parts, texts)).tolist()  # (ranks, 2 anatomies + 2)
    lengths = [row[: len(names)] for row in counts]
    abnormal = [sum(column) for column in zip(*(row[len(names) : -2] for row in counts), strict=True)]
    wide = [[*mine, row[-2], row[-2] * (peer is not None)] for mine, row in zip(lengths, counts, strict=True)]
    empty = texts.new_zeros(0, texts.shape[1])
    own = [*(images.get(name, empty) for name in names), texts, empty if peer is None else peer]
    vectors = ranks.gather_rows(torch.cat(own).detach(), [sum(row) for row in wide])
    known = ranks.gather_rows(_known(parts, texts.device), [sum(row) for row in lengths])
    columns = [list(torch.split(found, row)) for found, row in zip(vectors, wide, strict=True)]
    columns[ranks.rank] = own  # the rows whose gradient this rank sends through its encoders
    facts = [torch.split(found, row) for found, row in zip(known, lengths, strict=True)]
    first = torch.tensor([0, *(row[-2] for row in counts)]).cumsum(0).tolist()  # each rank's first text
    anatomies = {
        name: _build_samples([column[i] for column in columns], [fact[i] for fact in facts], first)
        for i, name in enumerate(names)
        if abnormal[i]
    }
    return Gathered(
        anatomies=anatomies,
        texts=torch.cat([column[-2] for column in columns]),
        peer=None if peer is None else torch.cat([column[-1] for column in columns]),
        samples=sum(map(sum, lengths)),
        labels=sum(row[-1] for row in counts),
    )


def _count(parts: Sequence[AnatomyBatch | None], texts: Tensor) -> Tensor:
    """Samples of each anatomy, abnormal ones of each, texts, and labels that are not masked."""
    zero = torch.zeros((), dtype=torch.int64, device=texts.device)
    labels = sum((part.labels.isfinite().sum() for part in parts if part is not None), start=zero)
    lengths = [0 if part is None else len(part) for part in parts]
    abnormal = [zero if part is None else part.abnormal.sum() for part in parts]
    exact = torch.tensor([*lengths, len(texts)], device=texts.device)
    return torch.cat([exact[:-1], torch.stack([*abnormal, exact[-1], labels])])


def _known(parts: Sequence[AnatomyBatch | None], device: torch.device) -> Tensor:
    """What the pairing must know of all samples, anatomy by anatomy, (n, values)."""
    rows = [
        torch.stack([getattr(part, name).to(torch.int64) for name in _KNOWN], dim=1)
        for part in parts
        if part is not None
    ]
    return torch.cat([torch.zeros(0, len(_KNOWN), dtype=torch.int64, device=device), *rows])


def _build_samples(images: Sequence[Tensor], facts: Sequence[Tensor], first: Sequence[int]) -> Samples:
    values = dict(zip(_KNOWN, torch.cat(list(facts)).unbind(1), strict=True))
    offset = torch.cat([torch.full_like(fact[:, 0], start) for fact, start in zip(facts, first, strict=False)])
    return Samples(
        image=torch.cat(list(images)),
        text_row=values["text_row"] + offset,
        abnormal=values["abnormal"].bool(),
        text_id=values["text_id"],
        findings=values["findings"],
        patient=values["patient"],
        uncertain=values["uncertain"].bool(),
    )
