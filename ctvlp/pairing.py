"""Disease-aware pairing: how much each sample of a batch counts as a match of each other one, for one anatomy.

The rule of every row is the table in `docs/`: `patient` is plain CLIP, `normal` treats all normal samples as one class
(fVLM, arXiv 2501.14548), `disease` also spreads the target of an abnormal sample over samples with overlapping findings
and over those whose texts a peer finds alike.
"""

import logging
from functools import cache
from typing import Any, Literal, TypeVar, get_args

import numba.cuda
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ctvlp.pairing_cpu import targets_cpu
from ctvlp.pairing_cuda import targets_cuda
from ctvlp.pairing_torch import targets_torch

logger = logging.getLogger(__name__)

Mode = Literal["patient", "normal", "disease"]
Mix = Literal["sum", "mixture"]
ArrayT = TypeVar("ArrayT", npt.NDArray[Any], Tensor)

_KINDS = {
    "abnormal": ("bool",),
    "text_id": ("int64",),
    "findings": ("uint64", "int64"),
    "peer_cosine": ("float32",),
    "exclude": ("bool",),
}
"""Kinds of numbers; none is converted, which could misread bits or cost an (N, N) copy."""

MAX_FINDINGS = 64
"""Findings that fit into the bit mask of a sample."""


def pairing_targets(
    abnormal: ArrayT,
    text_id: ArrayT,
    findings: ArrayT | None = None,
    peer_cosine: ArrayT | None = None,
    *,
    mode: Mode,
    mix: Mix = "mixture",
    overlap_weight: float = 0.5,
    self_weight: float = 0.5,
    peer_temperature: float = 0.1,
    exclude: ArrayT | None = None,
) -> ArrayT:
    """Return the targets of one anatomy's samples; each row sums to 1.

    Args:
        abnormal: (N,) bool.
        text_id: (N,) int64, equal for equal texts; negative where the text names nothing particular.
        findings: (N,) uint64 bit masks, bit k being finding k of the anatomy (tensors: int64 with the same bits).
        peer_cosine: (N, N) float32, cosines of the peer's text features.
        mode: "patient", "normal" or "disease".
        mix: How "disease" combines its parts, "sum" or "mixture".
        overlap_weight: Share of the overlap of findings against the peer; counts as 0 without `findings` and as 1
            without `peer_cosine`.
        self_weight: Share that an abnormal sample keeps for itself in "mixture".
        peer_temperature: Divides the peer's cosines.
        exclude: (N, N) bool, symmetric, false on the diagonal: pairs of weight 0. The diagonal is checked on the CPU
            alone, since a GPU would have to be waited for.

    Returns:
        (N, N) float32, of the kind and on the device of `abnormal`; row i belongs to anchor i.

    Raises:
        ValueError: A mode, mix, weight, shape, kind of number or the diagonal of `exclude` is wrong.
    """
    _check_arrays(abnormal, text_id=text_id, findings=findings, peer_cosine=peer_cosine, exclude=exclude)
    _check_settings(mode, mix, overlap_weight, self_weight, peer_temperature)
    on_gpu = isinstance(abnormal, Tensor) and abnormal.device.type != "cpu"
    if exclude is not None and not on_gpu and bool(exclude.diagonal().any()):
        raise ValueError("exclude holds a sample's pair with itself; its diagonal must be false")
    settings: dict[str, Any] = {
        "mode": mode,
        "mix": mix,
        "share": overlap_share(findings, peer_cosine, overlap_weight),
        "own": float(self_weight),
        "temperature": float(peer_temperature),
    }
    given: tuple[Any, ...] = (abnormal, text_id, findings, peer_cosine, exclude)
    if not isinstance(abnormal, Tensor):
        return targets_cpu(*given, **settings)
    if abnormal.device.type == "cpu":
        arrays: tuple[Any, ...] = tuple(None if value is None else value.detach().numpy() for value in given)
        return torch.from_numpy(targets_cpu(*arrays, **settings))
    return targets_cuda(*given, **settings) if _has_kernel(abnormal.device) else targets_torch(*given, **settings)


def overlap_share(findings: Any, peer_cosine: Any, overlap_weight: float) -> float:
    """Share of the overlap of findings against the peer, of which one may be absent."""
    return 1.0 if peer_cosine is None else 0.0 if findings is None else float(overlap_weight)


def relations(patient: ArrayT, uncertain: ArrayT) -> ArrayT:
    """Return which pairs are excluded: two samples of one patient, and an uncertain sample with every other one.

    Args:
        patient: (N,) patient of each sample, as numbers.
        uncertain: (N,) bool, whether the report leaves the anatomy's status uncertain.

    Returns:
        (N, N) bool, symmetric, false on the diagonal; of the kind and on the device of `patient`.
    """
    doubtful = uncertain[:, None] | uncertain[None, :]
    exclude: ArrayT = (patient[:, None] == patient[None, :]) | doubtful
    if isinstance(exclude, Tensor):
        exclude.fill_diagonal_(False)
    else:
        np.fill_diagonal(exclude, False)
    return exclude


def finding_bits(present: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """Pack finding sets, (N, K) bool, into bit masks (N,), bit k being column k.

    Raises:
        ValueError: There are more than 64 findings.
    """
    if present.shape[1] > MAX_FINDINGS:
        raise ValueError(f"an anatomy can have at most {MAX_FINDINGS} findings, got {present.shape[1]}")
    places = np.left_shift(np.uint64(1), np.arange(present.shape[1], dtype=np.uint64))
    bits: npt.NDArray[np.uint64] = np.where(present, places, np.uint64(0)).sum(axis=1, dtype=np.uint64)
    return bits


@cache
def _has_kernel(device: torch.device) -> bool:
    """Whether numba can compile for the device; without its toolkit, tensor operations do the same."""
    if device.type != "cuda":
        return False
    if not numba.cuda.is_available():
        logger.warning("numba finds no CUDA toolkit: pairing runs as tensor operations")
        return False
    return True


def _check_arrays(abnormal: Any, **others: Any) -> None:
    """Refuse arrays of another shape, kind of number or device than `pairing_targets` says."""
    if abnormal.ndim != 1:
        raise ValueError(f"abnormal must be (N,), got {tuple(abnormal.shape)}")
    for name, value in {"abnormal": abnormal, **others}.items():
        if value is None:
            continue
        shape = (len(abnormal),) * (2 if name in {"peer_cosine", "exclude"} else 1)
        if tuple(value.shape) != shape:
            raise ValueError(f"{name} must be {shape} for {len(abnormal)} samples, got {tuple(value.shape)}")
        kind = str(value.dtype).removeprefix("torch.")
        if kind not in _KINDS[name]:
            raise ValueError(f"{name} must be {' or '.join(_KINDS[name])}, got {kind}")
        if isinstance(value, Tensor) and isinstance(abnormal, Tensor) and value.device != abnormal.device:
            raise ValueError(f"{name} is on {value.device}, abnormal on {abnormal.device}")


def _check_settings(mode: str, mix: str, overlap: float, own: float, temperature: float) -> None:
    if mode not in get_args(Mode) or mix not in get_args(Mix):
        raise ValueError(f"mode={mode!r}, mix={mix!r}: expected one of {get_args(Mode)} and one of {get_args(Mix)}")
    if not (0 <= overlap <= 1 and 0 <= own <= 1):
        raise ValueError(f"overlap_weight={overlap} and self_weight={own} must lie between 0 and 1")
    if not temperature > 0:
        raise ValueError(f"peer_temperature must be positive, got {temperature}")
