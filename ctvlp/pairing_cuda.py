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
    weights = (np.float32(share), np.float32(own), np.float32(1 / temperature))
    _fill[len(arrays[0]), THREADS, stream](*arrays, rule, *weights)


@cuda.jit(device=True)
def _matches(i, j, sick, texts):  # type: ignore[no-untyped-def]
    return (not sick[i] and not sick[j]) or (texts[i] >= 0 and texts[i] == texts[j])


@cuda.jit(device=True)
def _overlap(i, j, texts, sets):  # type: ignore[no-untyped-def]
    if sets.shape[0] == 0:
        return float32(0)
    if texts[i] >= 0 and texts[i] == texts[j]:
        return float32(1)
    union = cuda.popc(sets[i] | sets[j])
    return float32(cuda.popc(sets[i] & sets[j])) / float32(union) if union > 0 else float32(0)


@cuda.jit(device=True)
def _allowed(i, j, banned):  # type: ignore[no-untyped-def]
    return banned.shape[0] == 0 or not banned[i, j]


@cuda.jit(device=True)
def _compared(i, j, sick, banned, mixture):  # type: ignore[no-untyped-def]
    """Whether the peer's softmax of row i goes over j."""
    return _allowed(i, j, banned) and (not mixture or (sick[j] and j != i))


@cuda.jit(device=True)
def _reduced(value, shared, largest):  # type: ignore[no-untyped-def]
    """Largest or else sum of all threads' values, for each thread."""
    me, half = cuda.threadIdx.x, cuda.blockDim.x // 2
    shared[me] = value
    cuda.syncthreads()
    while half > 0:
        if me < half:
            other = shared[me + half]
            if not largest:
                shared[me] += other
            elif other > shared[me]:
                shared[me] = other
        cuda.syncthreads()
        half //= 2
    result = shared[0]
    cuda.syncthreads()
    return result


@cuda.jit(device=True)
def _likeness(i, sick, peer, banned, mixture, sharpness, shared):  # type: ignore[no-untyped-def]
    """Largest of the cosines that the peer's softmax goes over, and the sum of exponentials in units of its own."""
    top = float32(-math.inf)
    for j in range(cuda.threadIdx.x, peer.shape[0], cuda.blockDim.x):
        if _compared(i, j, sick, banned, mixture) and peer[i, j] > top:
            top = peer[i, j]
    top = _reduced(top, shared, True)
    alike = float32(0)
    for j in range(cuda.threadIdx.x, peer.shape[0], cuda.blockDim.x):
        if _compared(i, j, sick, banned, mixture):
            alike += math.exp((peer[i, j] - top) * sharpness)
    return top, _reduced(alike, shared, False)


@cuda.jit(device=True)
def _common(i, sick, texts, sets, banned, shared):  # type: ignore[no-untyped-def]
    """Sum of the overlaps with the allowed other abnormal samples."""
    common = float32(0)
    for j in range(cuda.threadIdx.x, texts.shape[0], cuda.blockDim.x):
        if _compared(i, j, sick, banned, True):
            common += _overlap(i, j, texts, sets)
    return _reduced(common, shared, False)


@cuda.jit(device=True)
def _shares(mixture, common, alike, share, own):  # type: ignore[no-untyped-def]
    """What a unit of overlap, a unit of likeness and the sample itself get."""
    one, zero = float32(1), float32(0)
    units = alike if alike > 0 else one
    if not mixture:
        return share, (one - share) / units, one
    part = zero if common == 0 else one if alike == 0 else share
    kept = one if common == 0 and alike == 0 else own
    return (one - own) * part / (common if common > 0 else one), (one - own) * (one - part) / units, kept


@cuda.jit
def _fill(sick, texts, sets, peer, banned, out, rule, share, own, sharpness):  # type: ignore[no-untyped-def]
    i, count, one = cuda.blockIdx.x, out.shape[0], float32(1)
    shared = cuda.shared.array(THREADS, float32)
    mixture = rule == _MIXTURE and sick[i]
    spreads = rule != _NORMAL and sick[i]
    top, alike, common, total = float32(0), float32(0), float32(0), float32(0)
    if spreads and peer.shape[0] > 0:  # the same for all threads of the block, so that all come to each barrier
        top, alike = _likeness(i, sick, peer, banned, mixture, sharpness, shared)
    if mixture:
        common = _common(i, sick, texts, sets, banned, shared)
    by_overlap, by_peer, kept = _shares(mixture, common, alike, share, own)
    for j in range(cuda.threadIdx.x, count, cuda.blockDim.x):
        weight = float32(0)
        if i == j:
            weight = kept
        elif _allowed(i, j, banned):
            if not mixture and _matches(i, j, sick, texts):
                weight = one
            elif spreads and sick[j]:
                weight = by_overlap * _overlap(i, j, texts, sets)
                if peer.shape[0] > 0:
                    weight += by_peer * math.exp((peer[i, j] - top) * sharpness)
                if not mixture and weight > one:
                    weight = one
        out[i, j] = weight
        total += weight
    if not mixture:
        total = _reduced(total, shared, False)
        for j in range(cuda.threadIdx.x, count, cuda.blockDim.x):
            out[i, j] /= total
