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
_NOTHING = -1
_UNLIKE_ALL = -2
"""Text ids: of a text that names nothing particular, and what such a text looks for."""
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
    out = np.empty((len(abnormal), len(abnormal)), dtype=np.float32)
    sick = np.ascontiguousarray(abnormal, dtype=np.bool_)
    texts = np.maximum(text_id, _NOTHING).astype(np.int64, copy=False)
    banned = np.zeros((1, len(sick)), np.bool_) if exclude is None else np.ascontiguousarray(exclude, dtype=np.bool_)
    if mode == "normal":
        _run(_fill_normal, sick, texts, banned, out)
        return out
    ill = np.flatnonzero(sick)
    sets = _NO_BITS if findings is None else np.ascontiguousarray(findings).view(np.uint64)[ill]
    peer = _NO_COSINES if peer_cosine is None else np.ascontiguousarray(peer_cosine, dtype=np.float32)
    weights = (np.float32(share), np.float32(1 / temperature))
    if mix == "sum":
        _run(_fill_sum, sick, texts, ill, texts[ill], sets, peer, banned, *weights, out)
    else:
        _run(_fill_mixture, sick, texts, ill, texts[ill], sets, peer, banned, *weights, np.float32(own), out)
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
def _matches(i: int, sick: Bools, texts: Integers, bans: Bools, row: Floats) -> int:
    """Set row to 1 where j counts fully as a match of i under `normal`, else to 0; return how many do."""
    mine = texts[i] if texts[i] >= 0 else _UNLIKE_ALL
    healthy = not sick[i]
    count = 0
    for j in range(len(row)):
        match = ((texts[j] == mine) | (healthy & (not sick[j]))) & (not bans[j])
        row[j] = np.float32(match)
        count += match
    if row[i] == 0:
        row[i] = 1
        count += 1
    return count


@_compiled(inline="always")
def _scale(row: Floats, factor: np.float32) -> None:
    for j in range(len(row)):
        row[j] *= factor


@_compiled(inline="always")
def _overlaps(mine: int, own_set: np.uint64, ill_texts: Integers, sets: Bits, parts: Floats) -> None:
    """Jaccard overlap of one finding set with those of all abnormal samples; 1 for equal texts."""
    for k in range(len(sets)):
        union = _ones(own_set | sets[k])
        overlap = _ones(own_set & sets[k]) / max(union, 1.0)
        parts[k] = np.float32(1.0) if ill_texts[k] == mine else np.float32(overlap)


@_compiled()
def _fill_normal(first: int, last: int, sick: Bools, texts: Integers, banned: Bools, out: Floats) -> None:
    for i in range(first, last):
        count = _matches(i, sick, texts, banned[i % len(banned)], out[i])
        _scale(out[i], np.float32(1.0 / count))


@_compiled()
def _fill_sum(
    first: int,
    last: int,
    sick: Bools,
    texts: Integers,
    ill: Integers,
    ill_texts: Integers,
    sets: Bits,
    peer: Floats,
    banned: Bools,
    share: np.float32,
    sharpness: np.float32,
    out: Floats,
) -> None:
    overlaps = np.zeros(len(ill), np.float32)
    likeness = np.zeros(len(texts), np.float32)
    rank = np.searchsorted(ill, first)
    for i in range(first, last):
        row, bans = out[i], banned[i % len(banned)]
        count = _matches(i, sick, texts, bans, row)
        if not sick[i]:
            _scale(row, np.float32(1.0 / count))
            continue
        if len(sets) > 0:
            _overlaps(texts[i] if texts[i] >= 0 else _UNLIKE_ALL, sets[rank], ill_texts, sets, overlaps)
        rank += 1
        total = np.float32(1.0)
        if len(peer) > 0:
            top = np.float32(-np.inf)
            for j in range(len(row)):
                top = max(top, peer[i, j] if not bans[j] else np.float32(-np.inf))
            total = np.float32(0.0)
            for j in range(len(row)):
                likeness[j] = np.exp((peer[i, j] - top) * sharpness) if not bans[j] else np.float32(0.0)
                total += likeness[j]
        by_peer = (np.float32(1.0) - share) / total
        row_sum = float(count)
        for k in range(len(ill)):
            j = ill[k]
            if row[j] == 0 and not bans[j]:
                row[j] = min(share * overlaps[k] + by_peer * likeness[j], np.float32(1.0))
                row_sum += row[j]
        _scale(row, np.float32(1.0 / row_sum))


@_compiled()
def _fill_mixture(
    first: int,
    last: int,
    sick: Bools,
    texts: Integers,
    ill: Integers,
    ill_texts: Integers,
    sets: Bits,
    peer: Floats,
    banned: Bools,
    share: np.float32,
    sharpness: np.float32,
    own: np.float32,
    out: Floats,
) -> None:
    overlaps = np.zeros(len(ill), np.float32)
    likeness = np.zeros(len(ill), np.float32)
    rank = np.searchsorted(ill, first)
    for i in range(first, last):
        row, bans = out[i], banned[i % len(banned)]
        if not sick[i]:
            _scale(row, np.float32(1.0 / _matches(i, sick, texts, bans, row)))
            continue
        row[:] = 0
        common, total = 0.0, 0.0
        if len(sets) > 0:
            _overlaps(texts[i] if texts[i] >= 0 else _UNLIKE_ALL, sets[rank], ill_texts, sets, overlaps)
        rank += 1
        for k in range(len(ill)):
            overlaps[k] = overlaps[k] if ill[k] != i and not bans[ill[k]] else np.float32(0.0)
            common += overlaps[k]
        if len(peer) > 0:
            top = np.float32(-np.inf)
            for k in range(len(ill)):
                likeness[k] = peer[i, ill[k]] if ill[k] != i and not bans[ill[k]] else np.float32(-np.inf)
                top = max(top, likeness[k])
            for k in range(len(ill)):
                likeness[k] = np.exp((likeness[k] - top) * sharpness) if top > -np.inf else np.float32(0.0)
                total += likeness[k]
        if common == 0 and total == 0:
            row[i] = 1
            continue
        part = 0.0 if common == 0 else 1.0 if total == 0 else float(share)
        by_overlap = np.float32((1.0 - own) * part / max(common, 1e-30))
        by_peer = np.float32((1.0 - own) * (1.0 - part) / max(total, 1e-30))
        for k in range(len(ill)):
            row[ill[k]] = by_overlap * overlaps[k] + by_peer * likeness[k]
        row[i] = own
