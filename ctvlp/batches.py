"""What a training step reads: tokens of crops packed into tensors, and the samples of a batch by anatomy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ctvlp.transforms import Tokens

if TYPE_CHECKING:
    from ctvlp.volume_batches import VolumeBatch


@dataclass(frozen=True)
class ImageBatch:
    """Tokens of B crops of one anatomy, one crop after the other.

    Attributes:
        anatomy: Name of the anatomy.
        patches: (n, s, h, h, h) int16 HU, see `Tokens.patches`.
        inside: (n, 2, h, h, h) uint8, see `Tokens.inside`.
        positions_mm: (n, 3) float32.
        lengths: (B,) int64, tokens of each crop, each at least 1; their sum is n.
        measures: (B, MEASURES) float32.
    """

    anatomy: str
    patches: Tensor
    inside: Tensor
    positions_mm: Tensor
    lengths: Tensor
    measures: Tensor

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self.lengths)

    def split(self, most: int) -> list["ImageBatch"]:
        """Return the batch in pieces of at most `most` crops, in order; views, nothing is copied."""
        return list(self._pieces(most))

    def _pieces(self, most: int) -> Iterator["ImageBatch"]:
        if most < 1:
            raise ValueError(f"a piece holds at least one crop, asked for is {most}")
        ends = [0, *self.lengths.cumsum(0).tolist()]
        for first in range(0, len(self), most):
            last = min(first + most, len(self))
            tokens = slice(ends[first], ends[last])
            yield replace(
                self,
                patches=self.patches[tokens],
                inside=self.inside[tokens],
                positions_mm=self.positions_mm[tokens],
                lengths=self.lengths[first:last],
                measures=self.measures[first:last],
            )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "ImageBatch":
        """Return the batch on another device."""
        return _moved(self, device, non_blocking)


@dataclass(frozen=True)
class AnatomyBatch:
    """The N samples of one anatomy in a batch, at most one a study.

    Identifiers are hashes of what they stand for, so that they are equal on all ranks.

    Attributes:
        image: Tokens of their crops; empty where the batch carries volumes instead.
        study: (N,) int64, row of each sample's study in `Batch.studies`.
        text_row: (N,) int64, row of its text in `Batch.texts`.
        abnormal: (N,) bool, see `Sample.pairs_abnormal`.
        text_id: (N,) int64, `identifier` of the text, or -1 where the text names nothing particular.
        findings: (N,) int64, bit masks of the findings stated, see `ctvlp.pairing.finding_bits`.
        labels: (N, K) float32, 1, 0 or NaN for masked, see `ctvlp.alignment.label_targets`.
        patient: (N,) int64, `identifier` of the patient.
        uncertain: (N,) bool, the sample pairs with no other one, see `Sample.alone`.
    """

    image: ImageBatch
    study: Tensor
    text_row: Tensor
    abnormal: Tensor
    text_id: Tensor
    findings: Tensor
    labels: Tensor
    patient: Tensor
    uncertain: Tensor

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.study)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "AnatomyBatch":
        """Return the samples on another device."""
        return replace(_moved(self, device, non_blocking), image=self.image.to(device, non_blocking=non_blocking))


@dataclass(frozen=True)
class Batch:
    """One rank's part of a training step: the anatomies of some studies, augmented.

    Attributes:
        step: Number of the step, from 0.
        studies: Ids; a rank can have none.
        texts: The distinct texts.
        anatomies: Name to samples, in the order of the vocabulary; anatomies without a sample are left out.
        volumes: What the volume encoder reads; None for the crop encoder.
    """

    step: int
    studies: tuple[str, ...]
    texts: tuple[str, ...]
    anatomies: dict[str, AnatomyBatch]
    volumes: "VolumeBatch | None" = None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """Return the batch on another device."""
        anatomies = {name: part.to(device, non_blocking=non_blocking) for name, part in self.anatomies.items()}
        volumes = None if self.volumes is None else self.volumes.to(device, non_blocking=non_blocking)
        return replace(self, anatomies=anatomies, volumes=volumes)


def identifier(text: str) -> int:
    """Return a number, at least 0 and below 2^63, that stands for a text: equal texts have one, in any process."""
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big") & (2**63 - 1)


PartT = TypeVar("PartT", ImageBatch, AnatomyBatch)


def _moved(part: PartT, device: torch.device | str, non_blocking: bool) -> PartT:
    """Return a copy whose own tensors are on a device."""
    values = {entry.name: getattr(part, entry.name) for entry in fields(part)}
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    moved: dict[str, Any] = {name: value.to(device, non_blocking=non_blocking) for name, value in tensors.items()}
    return replace(part, **moved)


def build_image_batch(anatomy: str, crops: Sequence[Tokens]) -> ImageBatch:
    """Pack the tokens of crops of one anatomy.

    Args:
        anatomy: Name of the anatomy.
        crops: At least one; all cut with the same patch and block edges, none empty.

    Raises:
        ValueError: There is no crop, or one without tokens.
    """
    if not crops or any(len(tokens) == 0 for tokens in crops):
        raise ValueError(f"{anatomy}: a batch needs at least one crop, and each crop at least one token")
    return ImageBatch(
        anatomy=anatomy,
        patches=torch.from_numpy(np.concatenate([tokens.patches for tokens in crops])),
        inside=torch.from_numpy(np.concatenate([tokens.inside for tokens in crops])),
        positions_mm=torch.from_numpy(np.concatenate([tokens.positions_mm for tokens in crops])),
        lengths=torch.tensor([len(tokens) for tokens in crops]),
        measures=torch.from_numpy(np.stack([tokens.measures for tokens in crops])),
    )


def no_images(anatomy: str) -> ImageBatch:
    """Return a batch of no crop."""
    nothing = torch.zeros(0)
    return ImageBatch(anatomy, nothing, nothing, nothing, torch.zeros(0, dtype=torch.int64), nothing)
