"""The contrastive loss of one anatomy: cross entropy of soft targets in both directions."""

import torch
from torch import Tensor


def contrastive_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor | float,
    targets: Tensor,
    *,
    exclude: Tensor | None = None,
) -> Tensor:
    """Return the mean over anchors and over both directions of the cross entropy of the targets.

    Args:
        image_features: Normalised (N, D).
        text_features: Normalised (N, D).
        logit_scale: Multiplies cosines; 1 / temperature.
        targets: (N, N), row i the target of anchor i in both directions.
        exclude: (N, N) bool, symmetric, false on the diagonal: pairs whose logit counts as minus infinity.

    Returns:
        Scalar.
    """
    logits = logit_scale * image_features @ text_features.T
    loss: Tensor = (_cross_entropy(logits, targets, exclude) + _cross_entropy(logits.T, targets, exclude)) / 2
    return loss


def target_entropy(targets: Tensor) -> Tensor:
    """Mean entropy of the rows of `targets` (N, N): the smallest value that the loss can take."""
    entropies: Tensor = torch.special.entr(targets).sum(dim=1)
    return entropies.mean()


def _cross_entropy(logits: Tensor, targets: Tensor, exclude: Tensor | None) -> Tensor:
    if exclude is not None:
        logits = logits.masked_fill(exclude, -torch.inf)
    log_probability: Tensor = logits.log_softmax(dim=1)
    if exclude is not None:
        log_probability = log_probability.masked_fill(exclude, 0.0)  # weight 0 times minus infinity is no number
    losses: Tensor = -(targets * log_probability).sum(dim=1)
    return losses.mean()
