"""The rows of `ctvlp.pairing`'s table on the GPU: one numba kernel, a block of threads a row, no (N, N) temporaries.

It reads and writes torch's tensors where they are, on torch's stream. The kernel compares by hand: numba's CUDA target
does not compile `max` and `min` of two values in every version.
"""

import math
from typing import Any

import numpy as np
import torch
from numba import cuda, float32
from torch import Tensor

THREADS = 256
"""Of a block: a power of two."""
_NORMAL, _SUM, _MIXTURE = range(3)
_SETS = 2
"""Which of the arrays holds the finding sets."""


def targets_cuda(
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
    """Return the targets, (N, N), on the tensors' device; arguments as in `ctvlp.pairing_torch.targets_torch`."""
    count, device = len(abnormal), abnormal.device
    if mode == "patient":
        return torch.eye(count, device=device)
    out = torch.empty((count, count), device=device)
    given = (
        abnormal.to(torch.bool),
        text_id.to(torch.int64),
        text_id.new_zeros(0, dtype=torch.int64) if findings is None else findings.to(torch.int64),
        out.new_zeros((0, 0)) if peer_cosine is None else peer_cosine.detach().to(torch.float32),
        abnormal.new_zeros((0, 0), dtype=torch.bool) if exclude is None else exclude.to(torch.bool),
        out,
    )
    with cuda.gpus[device.index or 0]:
        arrays = [cuda.as_cuda_array(tensor.contiguous()) for tensor in given]
        arrays[_SETS] = arrays[_SETS].view(np.uint64)
        stream = cuda.external_stream(torch.cuda.current_stream(device).cuda_stream)
        fill_targets(*arrays, mode=mode, mix=mix, share=share, own=own, temperature=temperature, stream=stream)
    return out


def fill_targets(*arrays: Any, mode: str, mix: str, share: float, own: float, temperature: float, stream: Any) -> None:
    """Fill the last of the arrays; what is absent is empty.

    Args:
        arrays: abnormal (N,), text_id (N,), findings (N,) uint64, peer_cosine (N, N), exclude (N, N), targets (N, N).
        mode: "normal" or "disease".
        mix: "sum" or "mixture".
        share: Of the overlap of findings against the peer.
        own: Share that an abnormal sample keeps for itself in "mixture".
        temperature: Divides the peer's cosines.
        stream: Of numba; 0 is the default one.
    """
    rule = _NORMAL if mode == "normal" else _SUM if mix == "sum" else _MIXTURE
    weights = (share, own, 1 / temperature)
    _fill[len(arrays[0]), THREADS, stream](*arrays, rule, *weights)


@cuda.jit(device=True)
def _matches(i, j, sick, texts):  # type: ignore[no-untyped-def]
    return i == j or (not sick[i] and not sick[j]) or (texts[i] >= 0 and texts[i] == texts[j])


@cuda.jit(device=True)
def _overlap(i, j, texts, sets):  # type: ignore[no-untyped-def]
    if sets.shape[0] == 0:
        return float32(0)
    if texts[i] >= 0 and texts[i] == texts[j]:
        return float32(1)
    union = cuda.popc(sets[i] | sets[j])
    return float32(cuda.popc(sets[i] & sets[j])) / float32(union) if union > 0 else float32(0)


@cuda.jit(device=True)
def _sum(value, shared):  # type: ignore[no-untyped-def]
    """Sum of all threads' values, for each thread."""
    me = cuda.threadIdx.x
    shared[me] = value
    cuda.syncthreads()
    half = cuda.blockDim.x // 2
    while half > 0:
        if me < half:
            shared[me] += shared[me + half]
        cuda.syncthreads()
        half //= 2
    total = shared[0]
    cuda.syncthreads()
    return total


@cuda.jit(device=True)
def _largest(value, shared):  # type: ignore[no-untyped-def]
    """Largest of all threads' values, for each thread."""
    me = cuda.threadIdx.x
    shared[me] = value
    cuda.syncthreads()
    half = cuda.blockDim.x // 2
    while half > 0:
        if me < half:
            shared[me] = shared[me + half] if shared[me + half] > shared[me] else shared[me]
        cuda.syncthreads()
        half //= 2
    top = shared[0]
    cuda.syncthreads()
    return top


@cuda.jit
def _fill(sick, texts, sets, peer, banned, out, rule, share, own, sharpness):  # type: ignore[no-untyped-def]
    i = cuda.blockIdx.x
    me, threads, count = cuda.threadIdx.x, cuda.blockDim.x, out.shape[0]
    shared = cuda.shared.array(THREADS, float32)
    mixture = rule == _MIXTURE and sick[i]
    spreads = rule != _NORMAL and sick[i]
    has_peer = spreads and peer.shape[0] > 0
    top, likeness, overlaps, matching = float32(-math.inf), float32(0), float32(0), float32(0)
    if has_peer:  # sick[i] is the same for all threads of the block, so that all come to each barrier
        for j in range(me, count, threads):
            if (banned.shape[0] == 0 or not banned[i, j]) and (not mixture or (sick[j] and j != i)):
                top = peer[i, j] if peer[i, j] > top else top
        top = _largest(top, shared)
    for j in range(me, count, threads):
        if banned.shape[0] == 0 or not banned[i, j]:
            among = sick[j] and j != i
            if mixture:
                if among:
                    overlaps += _overlap(i, j, texts, sets)
            elif _matches(i, j, sick, texts):
                matching += float32(1)
            if has_peer and (among or not mixture):
                likeness += math.exp((peer[i, j] - top) * float32(sharpness))
    likeness = _sum(likeness, shared)
    if mixture:
        overlaps = _sum(overlaps, shared)
        part = float32(0) if overlaps == 0 else float32(1) if likeness == 0 else float32(share)
        alone = overlaps == 0 and likeness == 0
        by_overlap = (float32(1) - float32(own)) * part / (overlaps if overlaps > 0 else float32(1))
        by_peer = (float32(1) - float32(own)) * (float32(1) - part) / (likeness if likeness > 0 else float32(1))
    else:
        by_overlap, alone = float32(share), False
        by_peer = (float32(1) - float32(share)) / (likeness if likeness > 0 else float32(1))
    weights = float32(0)
    for j in range(me, count, threads):
        weight = float32(0)
        if banned.shape[0] == 0 or not banned[i, j]:
            if mixture and j == i:
                weight = float32(1) if alone else float32(own)
            elif not mixture and _matches(i, j, sick, texts):
                weight = float32(1)
            elif spreads and sick[j]:
                weight = by_overlap * _overlap(i, j, texts, sets)
                if has_peer:
                    weight += by_peer * math.exp((peer[i, j] - top) * float32(sharpness))
                if not mixture and weight > 1:
                    weight = float32(1)
        out[i, j] = weight
        weights += weight
    if not mixture:
        weights = _sum(weights, shared)
        for j in range(me, count, threads):
            out[i, j] /= weights
