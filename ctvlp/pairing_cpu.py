"""The rows of `ctvlp.pairing`'s table on the CPU: numba kernels, parallel over rows, with no (N, N) temporaries.

Each pass (`ctvlp.pairing_rows`) runs straight over a whole row, normal and abnormal samples alike; the row stays in the
nearest cache from its first pass to its last. Rows are shared out to threads that run without the interpreter's lock.
Numba's own `parallel=True` is not used: its OpenMP pool and torch's each keep their threads spinning, and so quarrel
for the cores.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ctvlp.compiled import compiled
from ctvlp.pairing_rows import (
    NOTHING,
    ONE,
    ZERO,
    Bools,
    Codes,
    Floats,
    Samples,
    Words,
    all_healthy,
    allow,
    blend,
    likeness,
    match,
    other_ill,
    overlap,
    plain_rows,
    weigh,
    write,
    write_plain,
)

Integers = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]

_NO_COSINES: Floats = np.zeros((0, 0), dtype=np.float32)
_NO_PAIRS: Bools = np.zeros((0, 0), dtype=np.bool_)
_FEW = 1024
"""Rows below which threads cost more than they bring."""
_PARTS = 4
"""Shares of the rows for each thread: a thread that is held up leaves the rest to the others."""
_SPREAD = 16
"""Numbers of texts are kept as they are below this many times their count."""


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
    ill = np.ascontiguousarray(abnormal, dtype=np.bool_)
    samples = Samples(
        ill,
        _numbered(text_id),
        np.zeros((1, len(ill)), np.uint32) if findings is None else _words(findings),
        _NO_COSINES if peer_cosine is None else np.ascontiguousarray(peer_cosine, dtype=np.float32),
        _NO_PAIRS if exclude is None else np.ascontiguousarray(exclude, dtype=np.bool_),
    )
    out = torch.empty((len(ill), len(ill))).numpy()  # which begins at a multiple of 64 bytes
    weights = (np.float32(share), np.float32(np.log2(np.e) / temperature))
    plain = plain_rows(samples)
    if mode == "normal":
        _run(_fill_normal, samples, plain, out)
    elif mix == "sum":
        _run(_fill_sum, samples, plain, *weights, out)
    else:
        kept = 1.0 if findings is None and peer_cosine is None else own
        _run(_fill_mixture, samples, plain, *weights, np.float32(kept), out)
    return out


def _numbered(text_id: Integers) -> Codes:
    """Return texts' numbers from 0 to a few times as many as there are, equal ones kept so, `NOTHING` as one."""
    if text_id.max(initial=0) >= _SPREAD * len(text_id):
        text_id = np.where(text_id < 0, NOTHING, pd.factorize(text_id)[0])
    return np.maximum(text_id, NOTHING).astype(np.int32)


def _words(findings: Bits) -> Words:
    """Return bit masks as 32-bit words, lowest first: (1, N) if none holds a finding above the 32nd, else (2, N)."""
    bits = np.asarray(findings).view(np.uint64)
    words = np.stack([bits & np.uint64(0xFFFFFFFF), bits >> np.uint64(32)]).astype(np.uint32)
    return words if words[1].any() else words[:1]


def _run(fill: Callable[..., None], *arguments: Any) -> None:
    """Fill all rows of the last argument: in this thread if they are few, else in as many as torch may take."""
    count, threads = len(arguments[-1]), torch.get_num_threads()
    if count < _FEW or threads == 1:
        fill(0, count, *arguments)
        return
    parts = threads * _PARTS
    left = iter(list(pairwise([count * part // parts for part in range(parts + 1)])))

    def work() -> None:
        for first, last in left:
            fill(first, last, *arguments)

    helpers = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    work()
    for helper in helpers:
        helper.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="pairing")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a fork has the pool without its threads


@compiled()
def _fill_normal(first: int, last: int, samples: Samples, plain: Bools, out: Floats) -> None:
    allowed, row = np.ones(len(out), np.bool_), np.zeros(len(out), np.float32)
    healthy, count = all_healthy(samples)
    for i in range(first, last):
        if plain[i]:
            write_plain(i, samples, healthy, count, row, out[i])
            continue
        allow(i, samples, allowed)
        total = match(i, samples, allowed, row)
        write(row, ONE / total, out[i])


@compiled()
def _fill_sum(
    first: int, last: int, samples: Samples, plain: Bools, share: np.float32, sharpness: np.float32, out: Floats
) -> None:
    allowed, row = np.ones(len(out), np.bool_), np.zeros(len(out), np.float32)
    healthy, count = all_healthy(samples)
    for i in range(first, last):
        if plain[i]:
            write_plain(i, samples, healthy, count, row, out[i])
            continue
        allow(i, samples, allowed)
        if samples.ill[i]:
            by_peer = ZERO
            if len(samples.peer) > 0:
                by_peer = (ONE - share) / likeness(samples.peer[i], allowed, sharpness, row)
            total = weigh(i, samples, allowed, share, by_peer, row)
        else:
            total = match(i, samples, allowed, row)
        write(row, ONE / total, out[i])


@compiled()
def _fill_mixture(
    first: int,
    last: int,
    samples: Samples,
    plain: Bools,
    share: np.float32,
    sharpness: np.float32,
    own: np.float32,
    out: Floats,
) -> None:
    allowed, others = np.ones(len(out), np.bool_), np.zeros(len(out), np.bool_)
    row, overlaps = np.zeros(len(out), np.float32), np.zeros(len(out), np.float32)
    healthy, count = all_healthy(samples)
    for i in range(first, last):
        if plain[i]:
            write_plain(i, samples, healthy, count, row, out[i])
            continue
        allow(i, samples, allowed)
        if not samples.ill[i]:
            total = match(i, samples, allowed, row)
            write(row, ONE / total, out[i])
            continue
        other_ill(i, samples, allowed, others)
        common, alike = overlap(i, samples, others, overlaps), ZERO
        if len(samples.peer) > 0:
            alike = likeness(samples.peer[i], others, sharpness, row)
        part = ZERO if common == 0 else ONE if alike == 0 else share
        by_overlap = (ONE - own) * part / (common if common > 0 else ONE)
        by_peer = (ONE - own) * (ONE - part) / alike if alike > 0 else ZERO
        blend(overlaps, by_overlap, by_peer, row)
        row[i] = ONE if common == 0 and alike == 0 else own
        write(row, ONE, out[i])
