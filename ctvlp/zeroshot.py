"""Zero-shot scores of findings from one vector an anatomy, and why a finding cannot be assessed at all."""

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ctvlp.prompts import PromptFeatures
from preprocess.vocabulary import Finding

Floats = NDArray[np.float64]


class NotAssessable(StrEnum):
    """Why a finding has no score; the value is what `scores.parquet` shows."""

    NOT_COVERED = "not_covered"
    """The scan does not show the anatomy, or the finding belongs to no anatomy that is encoded."""
    CUT = "cut"
    """The finding needs the whole anatomy, and the scan cuts it."""
    SEGMENTATION_FAILED = "segmentation_failed"
    """The scan shows the place of the anatomy, but the segmenter found nothing there."""
    REMOVED = "removed"
    """The report says that the anatomy was removed."""
    QUALITY = "quality"
    """The volume's quality flags forbid judging it."""


WITNESSES: Mapping[str, tuple[str, ...]] = {
    "adrenal_gland": ("liver", "spleen"),
    "bladder": ("sacrum",),
    "colon": ("liver", "kidney", "sacrum"),
    "esophagus": ("lung", "heart"),
    "gallbladder": ("liver",),
    "heart": ("lung", "esophagus"),
    "kidney": ("liver", "spleen"),
    "liver": ("spleen", "gallbladder", "kidney"),
    "lung": ("heart", "esophagus"),
    "pancreas": ("liver", "spleen"),
    "portal_vein": ("liver", "pancreas"),
    "sacrum": ("bladder",),
    "small_intestine": ("liver", "pancreas", "kidney"),
    "spleen": ("liver", "pancreas"),
    "stomach": ("spleen", "liver"),
}
"""Anatomies at the same level: where one of them is complete, at least a part of the anatomy must be in view."""


def zero_shot_probability(image: Floats, prompts: PromptFeatures, logit_scale: float) -> Floats:
    """Probability that the positive prompts fit better than the negative ones.

    Softmax over the two cosine similarities times `logit_scale` (CLIP, arXiv 2103.00020, section 3.1), which for two
    classes is the logistic function of their difference.

    Args:
        image: (n, D) unit vectors of one anatomy in n studies.
        prompts: Features of the finding's prompts.
        logit_scale: Multiplies similarities (1 / temperature).

    Returns:
        (n,) probability in [0, 1].
    """
    direction = prompts.positive.astype(np.float64) - prompts.negative.astype(np.float64)
    margin = np.clip(logit_scale * (np.asarray(image, dtype=np.float64) @ direction), -500.0, 500.0)
    return np.asarray(1.0 / (1.0 + np.exp(-margin)))


def absence_reason(anatomy: str, extents: Mapping[str, str]) -> NotAssessable:
    """Tell an anatomy outside the scan from one that the segmenter missed.

    Args:
        anatomy: The absent anatomy.
        extents: Best extent of every anatomy of the study over all its volumes.
    """
    seen = any(extents.get(witness) == "complete" for witness in WITNESSES.get(anatomy, ()))
    return NotAssessable.SEGMENTATION_FAILED if seen else NotAssessable.NOT_COVERED


def assess(
    finding: Finding, extents: Mapping[str, str], *, status: str | None = None, quality: bool = True
) -> tuple[NotAssessable | None, bool]:
    """Judge whether a finding can be scored in a study.

    Args:
        finding: The finding.
        extents: Extent of every anatomy in the volume taken for it: complete, truncated or absent.
        status: Status of the finding's anatomy in the study's report, where there is one.
        quality: False where flags of the volume forbid judging it.

    Returns:
        The reason why it cannot (None if it can), and whether only part of the anatomy is in view.
    """
    if finding.anatomy is None:
        return NotAssessable.NOT_COVERED, False
    extent = extents.get(finding.anatomy, "absent")
    if extent == "absent":
        reason = NotAssessable.REMOVED if status == "removed" else absence_reason(finding.anatomy, extents)
        return reason, False
    if not quality:
        return NotAssessable.QUALITY, False
    if extent == "truncated" and finding.needs == "whole":
        return NotAssessable.CUT, False
    return None, extent == "truncated"
