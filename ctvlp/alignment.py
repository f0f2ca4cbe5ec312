"""Finding alignment: a crop's vector against prompts of each of its anatomy's findings, judged by the report's labels.

A supervised term beside the contrastive loss: which pairs it sees are the reports' own labels, so every result must say
that labels were used.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ctvlp.prompts import finding_prompts
from preprocess.vocabulary import Finding

Silence = Literal["masked", "negative_if_normal", "negative"]

START_SCALE = 20.0
START_RATE = 0.1
"""Share of positive labels that the starting bias stands for."""


class AlignmentHead(nn.Module):
    """Scale and bias that turn the margin of zero-shot screening into a logit.

    The margin is what screening scores: cosine with the statement less cosine with the denial. What all texts have in
    common cancels, so that the two sides of a finding do not pull against each other while they are still close.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(START_SCALE)))
        self.bias = nn.Parameter(torch.tensor(math.log(START_RATE / (1 - START_RATE))))

    def forward(self, image_features: Tensor, stating: Tensor, denying: Tensor) -> Tensor:
        """Return the logits, (N, K).

        Args:
            image_features: Normalised (N, D).
            stating: Normalised (K, D) features of prompts that state each finding.
            denying: Normalised (K, D) features of prompts that deny it.
        """
        logits: Tensor = self.log_scale.exp() * image_features @ (stating - denying).T + self.bias
        return logits


def draw_prompts(findings: Sequence[Finding], rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Draw one stating and one denying phrasing of each finding."""
    pairs = [finding_prompts(finding) for finding in findings]
    stating = [pair.positive[rng.integers(len(pair.positive))] for pair in pairs]
    denying = [pair.negative[rng.integers(len(pair.negative))] for pair in pairs]
    return stating, denying


def alignment_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy of the logits against the labels.

    Args:
        logits: (N, K).
        labels: (N, K) float: 1 positive, 0 negative, NaN masked.

    Returns:
        Scalar: the sum over unmasked labels, so that anatomies can be added before one division by all their labels.
    """
    known = ~labels.isnan()
    return F.binary_cross_entropy_with_logits(logits[known], labels[known], reduction="sum")


def label_targets(
    labels: npt.NDArray[np.float32],
    normal: npt.NDArray[np.bool_],
    abnormal: npt.NDArray[np.bool_],
    *,
    silence: Silence = "negative",
) -> npt.NDArray[np.float32]:
    """Turn the labels of an anatomy's samples into what the alignment is judged by.

    Args:
        labels: (N, K) float: 1 positive, 0 negative, -1 uncertain, NaN not mentioned.
        normal: (N,) bool: the report calls the anatomy normal.
        abnormal: (N,) bool: it calls it abnormal; where it does neither, it leaves the anatomy open.
        silence: What a finding is that the report does not mention: "masked" always, "negative_if_normal" where the
            anatomy is normal, "negative" where it is normal or abnormal.

    Returns:
        (N, K) float32: 1, 0, or NaN for what is masked.
    """
    targets = np.where(labels == -1, np.nan, labels).astype(np.float32)
    denies = {"masked": np.zeros_like(normal), "negative_if_normal": normal, "negative": normal | abnormal}[silence]
    targets[np.isnan(labels) & denies[:, None]] = 0.0
    return targets
