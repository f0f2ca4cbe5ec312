"""The contrastive term of a step, anatomy by anatomy over the samples of all ranks, and what its targets consist of."""

import torch
from torch import Tensor

from ctvlp.gathering import Gathered, Samples
from ctvlp.loss import contrastive_loss, target_entropy
from ctvlp.pairing import overlap_share, pairing_targets, relations
from ctvlp.pairing_torch import parts_torch
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
        targets = _anatomy_targets(samples, gathered.peer, settings.pairing, exclude)
        said = gathered.texts[samples.text_row]
        loss = contrastive_loss(samples.image, said, logit_scale, targets, exclude=exclude)
        torch.autograd.backward(settings.contrastive_weight * share * loss)
        entropy = target_entropy(targets)
        total += share * torch.stack([loss.detach() - entropy, entropy])
    return total


class TargetShares:
    """What the targets of abnormal samples consist of, over the steps of an epoch; does not depend on their number."""

    def __init__(self) -> None:
        self._sums = torch.zeros(5, dtype=torch.float64)
        """Of targets with company: weights on the sample, by reports, by the peer, and their number; number alone."""

    def add(self, gathered: Gathered, pairing: PairingSettings) -> None:
        """Count the samples of a step, those of all ranks; a GPU is not waited for."""
        for samples in gathered.anatomies.values():
            parts = _row_parts(samples, gathered.peer, pairing).double()  # (N, 3)
            shared = samples.abnormal & (parts[:, 1:].sum(dim=1) > 0)
            alone = samples.abnormal & ~shared
            sums = torch.cat([shared.double() @ parts, torch.stack([shared.sum(), alone.sum()])])
            self._sums = self._sums.to(sums.device) + sums

    def figures(self) -> dict[str, float]:
        """Return mean weights, over all anatomies, of targets that do not lie on the sample alone.

        Returns:
            `self_share`: on the sample itself; `findings_share`: by equal texts and overlapping findings; `peer_share`:
            by the peer; these sum to 1. `alone_share`: share of abnormal samples whose target is the sample alone, and
            which the others leave out. What no sample tells is left out.
        """
        *weights, shared, alone = self._sums.tolist()
        found = {"alone_share": alone / (alone + shared)} if alone + shared else {}
        if shared:
            names = ("self_share", "findings_share", "peer_share")
            found |= {name: weight / shared for name, weight in zip(names, weights, strict=True)}
        return found


def _anatomy_targets(samples: Samples, peer: Tensor | None, pairing: PairingSettings, exclude: Tensor | None) -> Tensor:
    """Targets (N, N) of one anatomy's samples."""
    return pairing_targets(
        samples.abnormal,
        samples.text_id,
        samples.findings if pairing.use_findings else None,
        _likeness(samples, peer),
        mode=pairing.mode,
        mix=pairing.mix,
        overlap_weight=pairing.overlap_weight,
        self_weight=pairing.self_weight,
        peer_temperature=pairing.peer_temperature,
        exclude=exclude,
    )


def _row_parts(samples: Samples, peer: Tensor | None, pairing: PairingSettings) -> Tensor:
    """Weights (N, 3) of one anatomy's targets: on the sample itself, by what reports say, by the peer."""
    findings, likeness = samples.findings if pairing.use_findings else None, _likeness(samples, peer)
    parts = parts_torch(
        samples.abnormal,
        samples.text_id,
        findings,
        likeness,
        _exclusions(samples),
        mode=pairing.mode,
        mix=pairing.mix,
        share=overlap_share(findings, likeness, pairing.overlap_weight),
        own=pairing.self_weight,
        temperature=pairing.peer_temperature,
    )
    return parts.sum(dim=2).T


def _likeness(samples: Samples, peer: Tensor | None) -> Tensor | None:
    """Cosines (N, N) of the samples' texts by the peer, if there is one."""
    if peer is None:
        return None
    said = peer[samples.text_row]
    return said @ said.T


def _exclusions(samples: Samples) -> Tensor | None:
    """Pairs that are left out, (N, N) bool, or None where there are none; a GPU is not asked, and waited for."""
    exclude = relations(samples.patient, samples.uncertain)
    return exclude if exclude.device.type != "cpu" or bool(exclude.any()) else None
