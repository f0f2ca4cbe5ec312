"""The contrastive term of a step, anatomy by anatomy over the samples of all ranks, and what its targets consist of."""

from dataclasses import replace

import torch
from torch import Tensor

from ctvlp.gathering import Gathered, Samples
from ctvlp.loss import contrastive_loss, target_entropy
from ctvlp.pairing import pairing_targets, relations
from ctvlp.settings import PairingSettings, TrainingSettings


def contrast(gathered: Gathered, logit_scale: Tensor, settings: TrainingSettings) -> Tensor:
    """Compute the term, and its gradient in the features and in `logit_scale`.

    Each anatomy's matrices are gone before those of the next are made.

    Args:
        gathered: The samples of all ranks.
        logit_scale: A leaf, one over the temperature.
        settings: Of the run.

    Returns:
        (2,) without gradient: the loss less the targets' entropy, and that entropy; without `contrastive_weight`.
    """
    total = torch.zeros(2, device=gathered.texts.device)
    if settings.contrastive_weight == 0:
        return total
    share = 1 / max(1, len(gathered.anatomies)) if settings.reduction == "mean" else 1.0
    for samples in gathered.anatomies.values():
        exclude = _exclusions(samples)
        targets = anatomy_targets(samples, gathered.peer, settings.pairing, exclude)
        said = gathered.texts[samples.text_row]
        loss = contrastive_loss(samples.image, said, logit_scale, targets, exclude=exclude)
        torch.autograd.backward(settings.contrastive_weight * share * loss)
        entropy = target_entropy(targets)
        total += share * torch.stack([loss.detach() - entropy, entropy])
    return total


def anatomy_targets(
    samples: Samples,
    peer: Tensor | None,
    pairing: PairingSettings,
    exclude: Tensor | None,
) -> Tensor:
    """Return the targets (N, N) of one anatomy's samples.

    Args:
        samples: Of all ranks.
        peer: (M, D) the peer's features of the texts, or None to leave it out.
        pairing: Mode and weights.
        exclude: (N, N) bool, or None.
    """
    likeness = None
    if peer is not None:
        said = peer[samples.text_row]
        likeness = said @ said.T
    return pairing_targets(
        samples.abnormal,
        samples.text_id,
        samples.findings if pairing.use_findings else None,
        likeness,
        mode=pairing.mode,
        mix=pairing.mix,
        overlap_weight=pairing.overlap_weight,
        self_weight=pairing.self_weight,
        peer_temperature=pairing.peer_temperature,
        exclude=exclude,
    )


def target_shares(gathered: Gathered, pairing: PairingSettings) -> dict[str, float]:
    """Tell what the targets of abnormal samples consist of: mean weights that sum to 1, over all anatomies.

    Args:
        gathered: The samples of all ranks.
        pairing: Mode and weights.

    Returns:
        `self_share`: on the sample itself; `findings_share`: by equal texts and overlapping findings; `peer_share`: by
        the peer. Empty where no anatomy has an abnormal sample.
    """
    rows = [_row_shares(samples, gathered.peer, pairing) for samples in gathered.anatomies.values()]
    if not rows:
        return {}
    means = torch.cat(rows).mean(dim=0).tolist()
    return dict(zip(("self_share", "findings_share", "peer_share"), means, strict=True))


def _row_shares(samples: Samples, peer: Tensor | None, pairing: PairingSettings) -> Tensor:
    """Weights (n, 3) of the abnormal samples' targets on themselves, by findings, by the peer."""
    exclude = _exclusions(samples)
    own = anatomy_targets(samples, peer, pairing, exclude).diagonal()[samples.abnormal]
    rest = 1 - own
    if pairing.mode != "disease" or peer is None:
        return torch.stack([own, rest, torch.zeros_like(own)], dim=1)
    if not pairing.use_findings:
        return torch.stack([own, torch.zeros_like(own), rest], dim=1)
    findings, alike = (
        anatomy_targets(samples, features, part, exclude).diagonal()[samples.abnormal]
        for features, part in ((None, pairing), (peer, replace(pairing, use_findings=False)))
    )
    if pairing.mix == "sum":  # before a row is divided by its sum, the sample itself has weight 1
        by_findings, by_peer = (1 - findings) / findings, (1 - alike) / alike
    else:
        by_findings, by_peer = 1 - findings, 1 - alike
    by_findings, by_peer = pairing.overlap_weight * by_findings, (1 - pairing.overlap_weight) * by_peer
    share = by_findings / (by_findings + by_peer).clamp_min(torch.finfo(own.dtype).tiny)
    return torch.stack([own, share * rest, (1 - share) * rest], dim=1)


def _exclusions(samples: Samples) -> Tensor | None:
    """Pairs that are left out, (N, N) bool, or None where there are none."""
    exclude = relations(samples.patient, samples.uncertain)
    return exclude if bool(exclude.any()) else None
