"""Zero-shot scores of findings from one vector an anatomy, and why a finding cannot be assessed at all."""

from collections.abc import Iterable, Mapping
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


def absence_reason(beside: Iterable[str], extents: Mapping[str, str]) -> NotAssessable:
    """Tell an absent anatomy that lies outside the scan from one that the segmenter missed.

    Args:
        beside: Anatomies at its level, see `preprocess.vocabulary.Anatomy.beside`.
        extents: Best extent of every anatomy of the study over all its volumes.
    """
    seen = any(extents.get(name) == "complete" for name in beside)
    return NotAssessable.SEGMENTATION_FAILED if seen else NotAssessable.NOT_COVERED


def assess(
    finding: Finding,
    beside: Iterable[str],
    extents: Mapping[str, str],
    *,
    status: str | None = None,
    quality: bool = True,
) -> tuple[NotAssessable | None, bool]:
    """Judge whether a finding can be scored in a study.

    Args:
        finding: The finding.
        beside: Anatomies at the level of its own.
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
        reason = NotAssessable.REMOVED if status == "removed" else absence_reason(beside, extents)
        return reason, False
    if not quality:
        return NotAssessable.QUALITY, False
    if extent == "truncated" and finding.needs == "whole":
        return NotAssessable.CUT, False
    return None, extent == "truncated"
