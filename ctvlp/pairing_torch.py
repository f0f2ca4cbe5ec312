"""The rows of `ctvlp.pairing`'s table by plain tensor operations, on whatever device the tensors are."""

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
    eye = torch.eye(len(abnormal), dtype=torch.bool, device=abnormal.device)
    if mode == "patient":
        return eye.float()
    allowed = torch.ones_like(eye) if exclude is None else ~exclude.bool()
    sick = abnormal.bool()
    same_text = (text_id[:, None] == text_id[None]) & (text_id >= 0)[:, None]
    matches = (eye | (~sick[:, None] & ~sick[None]) | same_text) & allowed
    normal = matches.float() / matches.sum(dim=1, keepdim=True)
    if mode == "normal":
        return normal
    both = sick[:, None] & sick[None] & ~eye & allowed
    overlap = _overlap_torch(text_id, same_text, findings) * both
    if mix == "sum":
        extra = share * overlap
        if peer_cosine is not None:
            peer = (peer_cosine.float() / temperature).masked_fill(~allowed, -torch.inf).softmax(dim=1)
            extra = extra + (1 - share) * peer * both
        weight = (matches + extra).clamp_max(1.0)
        return weight / weight.sum(dim=1, keepdim=True)
    return torch.where(sick[:, None], _mixture_torch(overlap, peer_cosine, both, eye, share, own, temperature), normal)


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
    spread = by_overlap * overlap / overlaps.clamp_min(1e-12) + (1 - by_overlap) * peer
    mixed = own * eye + (1 - own) * spread
    return torch.where((overlaps == 0) & ~has_peer, eye.float(), mixed)
