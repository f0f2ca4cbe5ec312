"""Passes over one row of a pairing's targets, compiled by numba so that each fills the lanes of vector registers.

Sums may be taken in any order ("reassoc"), which vector sums need. Passes that only scale are compiled without that
freedom: with it, LLVM moves the division that made a factor into the loop. What is the same for a whole row is read
before its loop, since the compiler cannot know that writing the row leaves it as it is.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ctvlp.compiled import compiled

Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]

NOTHING, _UNLIKE_ALL = np.int32(-1), np.int32(-2)
"""Numbers of a text that names nothing particular, and of what such a text looks for."""
_LANES = 16
"""Float32 values in 64 bytes, which are written at once."""
_LONG = 1024
"""Row length from which the targets, 4 MB and more, are written past the caches."""

ZERO, ONE = np.float32(0.0), np.float32(1.0)
_1, _2, _4, _24, _EVERY_2ND, _PAIRS, _NIBBLES, _EVERY_8TH = (
    np.uint32(value) for value in (1, 2, 4, 24, 0x55555555, 0x33333333, 0x0F0F0F0F, 0x01010101)
)
_LEAST_POWER = np.float32(-126.0)
"""Of two, that is still a normal float32."""
_ROUNDING = np.float32(1.5 * 2**23)
"""Added to a small float32, it leaves the nearest whole number in the lowest bits."""
_P1, _P2, _P3, _P4, _P5 = (
    np.float32(value) for value in (0.693147004, 0.240222424, 0.0555073358, 0.00967151299, 0.00132647273)
)
"""2^r = 1 + P1 r + ... + P5 r^5 within 1e-7 of it for |r| <= 1/2: the fit of least largest relative error."""
_MAGNITUDE, _SIGN, _FRACTION = np.int32(0x7FFFFFFF), np.int32(31), np.int32(23)
"""Of a float32's bits: all but the sign, the sign's place, and how many bits stand below the exponent."""
_LEAST_KEY = np.int32(-0x7F800001)
"""What -inf becomes in `_largest`."""


class Samples(NamedTuple):
    """One anatomy's samples as the kernels take them.

    Attributes:
        ill: (N,) whether a sample is abnormal.
        texts: (N,) equal for equal texts, `NOTHING` where one names nothing particular.
        sets: (1 or 2, N) finding sets, 32 findings a word.
        peer: (N, N) cosines; (0, 0) if there are none.
        banned: (N, N) excluded pairs; (0, 0) if there are none.
    """

    ill: Bools
    texts: Codes
    sets: Words
    peer: Floats
    banned: Bools


@compiled()
def _ones(word: np.uint32) -> np.int32:
    """Return the number of set bits of a 32-bit word."""
    word = np.uint32(word - ((word >> _1) & _EVERY_2ND))
    word = np.uint32((word & _PAIRS) + ((word >> _2) & _PAIRS))
    word = np.uint32((word + (word >> _4)) & _NIBBLES)
    return np.int32(np.uint32(word * _EVERY_8TH) >> _24)


@compiled("contract")
def _jaccard(low: np.uint32, high: np.uint32, sets: Words, j: int) -> np.float32:
    """Overlap of a finding set, given by its lowest and its highest word, with the j-th."""
    common, union = _ones(np.uint32(low & sets[0, j])), _ones(np.uint32(low | sets[0, j]))
    if len(sets) == 2:
        common += _ones(np.uint32(high & sets[1, j]))
        union += _ones(np.uint32(high | sets[1, j]))
    return np.float32(common) / max(np.float32(union), ONE)


@compiled("contract")
def _power_of_two(value: np.float32) -> np.float32:
    """Return 2^value for value <= 0, within 2e-7 of it; below -126 2^-126, which to a sum that holds a 1 is nothing.

    2^value = 2^whole 2^rest, where `whole` goes from the lowest bits of the rounded value straight into the exponent:
    no conversion, no table and no branch, so that it runs in all lanes of a vector.
    """
    value = max(value, _LEAST_POWER)
    rounded = value + _ROUNDING
    rest = value - (rounded - _ROUNDING)
    power = ((((_P5 * rest + _P4) * rest + _P3) * rest + _P2) * rest + _P1) * rest + ONE
    bits = np.float32(power).view(np.int32) + (np.float32(rounded).view(np.int32) << _FRACTION)
    return np.int32(bits).view(np.float32)


@compiled()
def _largest(values: Floats, allowed: Bools) -> np.float32:
    """Return the largest allowed value, -inf if none is; by integers of the same order, which have vector maxima."""
    top = _LEAST_KEY
    for j in range(len(values)):
        bits = np.float32(values[j]).view(np.int32)
        key = np.int32(bits ^ ((bits >> _SIGN) & _MAGNITUDE))
        top = max(top, key if allowed[j] else _LEAST_KEY)
    return np.int32(top ^ ((top >> _SIGN) & _MAGNITUDE)).view(np.float32)


@compiled()
def _wanted(text: np.int32) -> np.int32:
    """Return what an equal text is numbered; nothing is, for one that names nothing particular."""
    return text if text >= 0 else _UNLIKE_ALL


@compiled()
def allow(i: int, samples: Samples, allowed: Bools) -> None:
    """Set allowed to where a pair with i is not excluded; it stays as it is if nothing is."""
    if len(samples.banned) == 0:
        return
    bans = samples.banned[i]
    for j in range(len(allowed)):
        allowed[j] = not bans[j]


@compiled()
def plain_rows(samples: Samples) -> Bools:
    """Return which rows (N,) weigh all normal samples alike that are not excluded, and no others.

    They are those of normal samples whose text no abnormal one has.
    """
    ill, texts = samples.ill, samples.texts
    plain = np.zeros(len(ill), np.bool_)
    highest = NOTHING
    for j in range(len(ill)):
        highest = max(highest, texts[j])
    said_of_ill = np.zeros(highest + 1, np.bool_)
    for j in range(len(ill)):
        if ill[j] and texts[j] >= 0:
            said_of_ill[texts[j]] = True
    for j in range(len(ill)):
        plain[j] = not (ill[j] or (texts[j] >= 0 and said_of_ill[texts[j]]))
    return plain


@compiled()
def all_healthy(samples: Samples) -> tuple[Floats, np.float32]:
    """Return weights (N,) of a plain row, 1 for normal samples and 0 for the others, and their sum."""
    row = np.zeros(len(samples.ill), np.float32)
    count = 0
    for j in range(len(row)):
        if not samples.ill[j]:
            row[j] = ONE
            count += 1
    return row, np.float32(count)


@compiled("nsz", "reassoc")
def leave_out(values: Floats, bans: Bools, row: Floats) -> np.float32:
    """Set row to values where they are not banned, else to 0; return the sum."""
    total = ZERO
    for j in range(len(row)):
        row[j] = ZERO if bans[j] else values[j]
        total += row[j]
    return total


@compiled()
def write_plain(i: int, samples: Samples, healthy: Floats, count: np.float32, row: Floats, out: Floats) -> None:
    """Write a plain row; what it reads and counts is the same for all of them where nothing is excluded."""
    if len(samples.banned) == 0:
        write(healthy, ONE / count, out)
    else:
        total = leave_out(healthy, samples.banned[i], row)
        write(row, ONE / total, out)


@compiled()
def other_ill(i: int, samples: Samples, allowed: Bools, others: Bools) -> None:
    """Set others to the allowed abnormal samples other than i."""
    ill = samples.ill
    for j in range(len(others)):
        others[j] = ill[j] & allowed[j]
    others[i] = False


@compiled("contract", "nsz", "reassoc")
def likeness(cosines: Floats, allowed: Bools, sharpness: np.float32, row: Floats) -> np.float32:
    """Set row to 2^(sharpness x cosine) where allowed, in units of the largest, else to 0; return the sum."""
    top = _largest(cosines, allowed)
    total = ZERO
    for j in range(len(row)):
        row[j] = _power_of_two((cosines[j] - top) * sharpness) if allowed[j] else ZERO
        total += row[j]
    return total


@compiled("contract", "nsz", "reassoc")
def overlap(i: int, samples: Samples, allowed: Bools, row: Floats) -> np.float32:
    """Set row to the Jaccard overlap of i's findings with those of the allowed, else to 0; return the sum."""
    texts, sets = samples.texts, samples.sets
    mine, low, high = _wanted(texts[i]), sets[0, i], sets[-1, i]
    total = ZERO
    for j in range(len(row)):
        common = ONE if texts[j] == mine else _jaccard(low, high, sets, j)
        row[j] = common if allowed[j] else ZERO
        total += row[j]
    return total


@compiled("nsz", "reassoc")
def match(i: int, samples: Samples, allowed: Bools, row: Floats) -> np.float32:
    """Set row to the weights of "normal"; return their sum."""
    ill, texts = samples.ill, samples.texts
    mine, healthy = _wanted(texts[i]), not ill[i]
    total = ZERO
    for j in range(len(row)):
        row[j] = ONE if ((texts[j] == mine) | (healthy & (not ill[j]))) & allowed[j] else ZERO
        total += row[j]
    missing = np.float32(ONE - row[i])
    row[i] = ONE
    return total + missing


@compiled("contract", "nsz", "reassoc")
def weigh(
    i: int, samples: Samples, allowed: Bools, by_overlap: np.float32, by_peer: np.float32, row: Floats
) -> np.float32:
    """Turn row's likenesses into the weights of "sum": 1 for equal texts, else what overlap and peer give the ill.

    Returns:
        Their sum.
    """
    ill, texts, sets = samples.ill, samples.texts, samples.sets
    mine, low, high = _wanted(texts[i]), sets[0, i], sets[-1, i]
    total = ZERO
    for j in range(len(row)):
        weight = by_overlap * _jaccard(low, high, sets, j) + by_peer * row[j]
        weight = min(weight, ONE) if ill[j] else ZERO
        weight = ONE if texts[j] == mine else weight
        row[j] = weight if allowed[j] else ZERO
        total += row[j]
    missing = np.float32(ONE - row[i])
    row[i] = ONE
    return total + missing


@compiled("contract")
def blend(overlaps: Floats, by_overlap: np.float32, by_peer: np.float32, row: Floats) -> None:
    """Turn row's likenesses into the weights of "mixture"."""
    for j in range(len(row)):
        row[j] = by_overlap * overlaps[j] + by_peer * row[j]


@compiled()
def write(row: Floats, factor: np.float32, out: Floats) -> None:
    """Set out to factor x row; a long row past the caches, which could not hold the whole of the targets anyway."""
    first = min(((-out.ctypes.data) // 4) % _LANES, len(row)) if len(row) >= _LONG else len(row)
    for j in range(first):
        out[j] = row[j] * factor
    blocks = (len(row) - first) // _LANES
    source, target = row.ctypes.data + 4 * first, out.ctypes.data + 4 * first
    for k in range(blocks):
        _stream(source + 4 * _LANES * k, target + 4 * _LANES * k, factor)
    for j in range(first + _LANES * blocks, len(row)):
        out[j] = row[j] * factor


@intrinsic  # type: ignore[untyped-decorator]
def _stream(context: Any, source: Any, target: Any, factor: Any) -> Any:
    """Write `_LANES` float32 times a factor from one address to another, a multiple of 64, by a non-temporal store.

    It spares the read of what is overwritten. Whoever takes the targets over from another thread does so by a lock,
    which comes after such stores too.
    """
    lanes, word = ir.VectorType(ir.FloatType(), _LANES), ir.IntType(32)

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        empty = ir.Constant(lanes, ir.Undefined)
        first = builder.insert_element(empty, values[2], word(0))
        factors = builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(word, _LANES), [0] * _LANES))
        read = builder.load(builder.inttoptr(values[0], lanes.as_pointer()), align=4)
        place = builder.inttoptr(values[1], lanes.as_pointer())
        written = builder.store(builder.fmul(read, factors), place, align=4 * _LANES)
        written.set_metadata("nontemporal", builder.module.add_metadata([word(1)]))
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.float32), build
