"""The rows of `ctvlp.pairing`'s table on the CPU: numba kernels, parallel over rows, with no (N, N) temporaries.

Rows are shared out to threads that run without the interpreter's lock. Numba's own `parallel=True` is not used: its
OpenMP pool and torch's each keep their threads spinning, and so quarrel for the cores.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Kernel = TypeVar("Kernel", bound=Callable[..., Any])
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float32]

_NO_BITS: Bits = np.zeros(0, dtype=np.uint64)
_NO_COSINES: Floats = np.zeros((0, 0), dtype=np.float32)
_NO_EXCLUSIONS: Bools = np.zeros((0, 0), dtype=np.bool_)
_FEW = 512
"""Rows below which threads cost more than they bring."""


def targets_cpu(
    abnormal: Bools,
    text_id: Integers,
    findings: Bits | None,
    peer_cosine: Floats | None,
    exclude: Bools | None,
    *,
    mode: str,
    mix: str,
    share: float,
    own: float,
    temperature: float,
) -> Floats:
    """Return the targets, (N, N); see `ctvlp.pairing.pairing_targets`, which checks the arguments.

    Args:
        abnormal: (N,).
        text_id: (N,).
        findings: (N,) or None.
        peer_cosine: (N, N) or None.
        exclude: (N, N) or None.
        mode: "patient", "normal" or "disease".
        mix: "sum" or "mixture".
        share: Of the overlap of findings against the peer.
        own: Share that an abnormal sample keeps for itself in "mixture".
        temperature: Divides the peer's cosines.
    """
    if mode == "patient":
        return np.eye(len(abnormal), dtype=np.float32)
    out = np.zeros((len(abnormal), len(abnormal)), dtype=np.float32)
    sick = np.ascontiguousarray(abnormal, dtype=np.bool_)
    texts = np.ascontiguousarray(text_id, dtype=np.int64)
    banned = _NO_EXCLUSIONS if exclude is None else np.ascontiguousarray(exclude, dtype=np.bool_)
    if mode == "normal":
        _run(_fill_normal, sick, texts, banned, out)
        return out
    sets = _NO_BITS if findings is None else np.ascontiguousarray(findings).view(np.uint64)
    peer = _NO_COSINES if peer_cosine is None else np.ascontiguousarray(peer_cosine, dtype=np.float32)
    if mix == "sum":
        _run(_fill_sum, sick, texts, sets, peer, banned, share, temperature, out)
    else:
        _run(_fill_mixture, sick, texts, sets, peer, banned, share, own, temperature, out)
    return out


def _run(fill: Callable[..., None], *arguments: Any) -> None:
    """Fill all rows of the last argument, in this thread if they are few."""
    count = len(arguments[-1])
    parts = 1 if count < _FEW else (os.cpu_count() or 1)
    edges = [count * part // parts for part in range(parts + 1)]
    if parts == 1:
        fill(0, count, *arguments)
        return
    with ThreadPoolExecutor(parts) as pool:
        jobs = [pool.submit(fill, first, last, *arguments) for first, last in pairwise(edges)]
        for job in jobs:
            job.result()


def _compiled(*, inline: str = "never") -> Callable[[Kernel], Kernel]:
    """Compile a function with numba on its first call, and keep the result on disk."""
    return cast("Callable[[Kernel], Kernel]", numba.njit(cache=True, nogil=True, inline=inline))


@_compiled(inline="always")
def _ones(word: np.uint64) -> float:
    """Return the number of set bits of a 64-bit word."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return float((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@_compiled(inline="always")
def _overlap(i: int, j: int, texts: Integers, sets: Bits) -> float:
    """Jaccard overlap of two finding sets; 1 for equal texts, 0 without findings."""
    if len(sets) == 0:
        return 0.0
    if texts[i] >= 0 and texts[i] == texts[j]:
        return 1.0
    union = _ones(sets[i] | sets[j])
    return _ones(sets[i] & sets[j]) / union if union > 0 else 0.0


@_compiled(inline="always")
def _allowed(i: int, j: int, banned: Bools) -> bool:
    return len(banned) == 0 or not banned[i, j]


@_compiled(inline="always")
def _matches(i: int, j: int, sick: Bools, texts: Integers) -> bool:
    """Whether j counts fully as a match of i under `normal`."""
    return i == j or (not sick[i] and not sick[j]) or (texts[i] >= 0 and texts[i] == texts[j])


@_compiled()
def _normal_row(i: int, sick: Bools, texts: Integers, banned: Bools, row: Floats) -> None:
    count = 0
    for j in range(len(row)):
        if _allowed(i, j, banned) and _matches(i, j, sick, texts):
            row[j] = 1.0
            count += 1
    for j in range(len(row)):
        row[j] /= count


@_compiled()
def _peer_softmax(
    i: int, peer: Floats, banned: Bools, sick: Bools, only_abnormal: bool, temperature: float
) -> tuple[float, float]:
    """Largest logit and sum of exponentials of row i, over the allowed j, or the allowed abnormal j other than i."""
    top = -np.inf
    total = 0.0
    for j in range(len(sick)):
        if _allowed(i, j, banned) and (not only_abnormal or (sick[j] and j != i)):
            logit = peer[i, j] / temperature
            if logit > top:
                total = total * np.exp(top - logit) + 1.0
                top = logit
            else:
                total += np.exp(logit - top)
    return top, total


@_compiled()
def _fill_normal(first: int, last: int, sick: Bools, texts: Integers, banned: Bools, out: Floats) -> None:
    for i in range(first, last):
        _normal_row(i, sick, texts, banned, out[i])


@_compiled()
def _fill_sum(
    first: int,
    last: int,
    sick: Bools,
    texts: Integers,
    sets: Bits,
    peer: Floats,
    banned: Bools,
    share: float,
    temperature: float,
    out: Floats,
) -> None:
    for i in range(first, last):
        if not sick[i]:
            _normal_row(i, sick, texts, banned, out[i])
            continue
        top, total = 0.0, 1.0
        if len(peer) > 0:
            top, total = _peer_softmax(i, peer, banned, sick, False, temperature)
        row_sum = 0.0
        for j in range(len(sick)):
            if not _allowed(i, j, banned):
                continue
            weight = 1.0 if _matches(i, j, sick, texts) else 0.0
            if sick[j] and j != i and weight == 0.0:
                weight = share * _overlap(i, j, texts, sets)
                if len(peer) > 0:
                    weight += (1.0 - share) * np.exp(peer[i, j] / temperature - top) / total
            out[i, j] = min(weight, 1.0)
            row_sum += min(weight, 1.0)
        for j in range(len(sick)):
            out[i, j] /= row_sum


@_compiled()
def _fill_mixture(
    first: int,
    last: int,
    sick: Bools,
    texts: Integers,
    sets: Bits,
    peer: Floats,
    banned: Bools,
    share: float,
    own: float,
    temperature: float,
    out: Floats,
) -> None:
    for i in range(first, last):
        if not sick[i]:
            _normal_row(i, sick, texts, banned, out[i])
            continue
        overlaps = 0.0
        for j in range(len(sick)):
            if sick[j] and j != i and _allowed(i, j, banned):
                overlaps += _overlap(i, j, texts, sets)
        top, total = 0.0, 0.0
        if len(peer) > 0:
            top, total = _peer_softmax(i, peer, banned, sick, True, temperature)
        if overlaps == 0.0 and total == 0.0:
            out[i, i] = 1.0
            continue
        by_overlap = 0.0 if overlaps == 0.0 else 1.0 if total == 0.0 else share
        for j in range(len(sick)):
            if sick[j] and j != i and _allowed(i, j, banned):
                weight = 0.0
                if by_overlap > 0.0:
                    weight += by_overlap * _overlap(i, j, texts, sets) / overlaps
                if by_overlap < 1.0:
                    weight += (1.0 - by_overlap) * np.exp(peer[i, j] / temperature - top) / total
                out[i, j] = (1.0 - own) * weight
        out[i, i] = own
