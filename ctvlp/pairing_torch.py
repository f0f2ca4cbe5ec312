"""The rows of `ctvlp.pairing`'s table by plain tensor operations, on whatever device the tensors are."""

from typing import Any

import torch
from torch import Tensor

_BITS = 64


def targets_torch(
    abnormal: Tensor,
    text_id: Tensor,
    findings: Tensor | None,
    peer_cosine: Tensor | None,
    exclude: Tensor | None,
    *,
    mode: str,
    mix: str,
    share: float,
    own: float,
    temperature: float,
) -> Tensor:
    """Return the targets, (N, N); arguments as in `ctvlp.pairing_cpu.targets_cpu`, findings as int64 bits."""
    weights: dict[str, Any] = {"mode": mode, "mix": mix, "share": share, "own": own, "temperature": temperature}
    return parts_torch(abnormal, text_id, findings, peer_cosine, exclude, **weights).sum(dim=0)


def parts_torch(
    abnormal: Tensor,
    text_id: Tensor,
    findings: Tensor | None,
    peer_cosine: Tensor | None,
    exclude: Tensor | None,
    *,
    mode: str,
    mix: str,
    share: float,
    own: float,
    temperature: float,
) -> Tensor:
    """Return what the targets are the sum of, (3, N, N); arguments as in `targets_torch`.

    Weight on the sample itself; by what reports say (both normal, equal texts, overlapping findings); by the peer.
    """
    eye = torch.eye(len(abnormal), dtype=torch.bool, device=abnormal.device)
    nothing = torch.zeros(eye.shape, device=eye.device)
    if mode == "patient":
        return torch.stack([eye.float(), nothing, nothing])
    allowed = torch.ones_like(eye) if exclude is None else ~exclude.bool()
    sick = abnormal.bool()
    same_text = (text_id[:, None] == text_id[None]) & (text_id >= 0)[:, None]
    matches = ((~sick[:, None] & ~sick[None]) | same_text) & allowed & ~eye
    normal = torch.stack([eye.float(), matches.float(), nothing])
    if mode == "normal":
        return _divided(normal)
    both = sick[:, None] & sick[None] & ~eye & allowed
    overlap = _overlap_torch(text_id, same_text, findings) * both
    if mix == "sum":
        said, alike = share * overlap, nothing
        if peer_cosine is not None:
            alike = (peer_cosine.float() / temperature).masked_fill(~allowed, -torch.inf).softmax(dim=1)
            alike = (1 - share) * alike * both
        capped = (said + alike).clamp_min(1.0)
        said, alike = (torch.where(matches, start, part / capped) for start, part in ((1.0, said), (0.0, alike)))
        return _divided(torch.stack([eye.float(), said, alike]))
    mixed = _mixture_torch(overlap, peer_cosine, both, eye, share, own, temperature)
    return torch.where(sick[:, None], mixed, _divided(normal))


def _divided(parts: Tensor) -> Tensor:
    """Divide (3, N, N) so that each row of all parts together sums to 1."""
    return parts / parts.sum(dim=(0, 2)).unsqueeze(1)


def _overlap_torch(text_id: Tensor, same_text: Tensor, findings: Tensor | None) -> Tensor:
    if findings is None:
        return torch.zeros(same_text.shape, device=same_text.device)
    places = torch.arange(_BITS, device=text_id.device)
    bits = ((findings[:, None] >> places) & 1).float()  # (N, _BITS)
    common = bits @ bits.T
    union = bits.sum(1)[:, None] + bits.sum(1)[None] - common
    return torch.where(same_text, 1.0, common / union.clamp_min(1.0))


def _mixture_torch(
    overlap: Tensor, peer_cosine: Tensor | None, both: Tensor, eye: Tensor, share: float, own: float, temperature: float
) -> Tensor:
    overlaps = overlap.sum(dim=1, keepdim=True)
    if peer_cosine is None:
        peer, has_peer = torch.zeros_like(overlap), torch.zeros_like(overlaps, dtype=torch.bool)
    else:
        has_peer = both.any(dim=1, keepdim=True)
        logits = (peer_cosine.float() / temperature).masked_fill(~both, -torch.inf)
        peer = logits.masked_fill(~has_peer, 0.0).softmax(dim=1) * both
    by_overlap = torch.where(overlaps == 0, 0.0, torch.where(has_peer, share, 1.0))
    kept = torch.where((overlaps == 0) & ~has_peer, 1.0, own)
    said = (1 - kept) * by_overlap * overlap / overlaps.clamp_min(1e-12)
    return torch.stack([kept * eye, said, (1 - kept) * (1 - by_overlap) * peer])
