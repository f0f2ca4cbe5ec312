"""Judges whether a volume's values are Hounsfield units and whether its axes agree with its masks."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from numba import njit

from preprocess.errors import Reason, StudyError
from preprocess.geometry import lps_from_index
from preprocess.volume import LabelMap, Volume

AIR_HU = -1024
PADDING_BELOW_HU = -1500
"""Nothing in or around a patient is lighter; scanners fill the corners with such values (-2000, -3024)."""

_AIR = (-1100, -850)
_SOFT = (-200, 200)
_OFFSETS = (1024, 8192)
_MIN_SAMPLES = 4_000_000


def check_hu(volume: Volume) -> None:
    """Refuses a volume whose values cannot be Hounsfield units; the message names the likely cause.

    Small fields of view, padding, metal and clipping to 12 bits pass.

    Raises:
        StudyError: `HU_IMPLAUSIBLE`.
    """
    cause = implausible_hu(volume.hu)
    if cause is not None:
        raise StudyError(Reason.HU_IMPLAUSIBLE, cause)


def implausible_hu(hu: npt.NDArray[np.int16]) -> str | None:
    """Why values (z, y, x) cannot be Hounsfield units, or None where they can."""
    low, high = int(hu.min()), int(hu.max())
    if low == high:
        other = ", or its values lie between 0 and 1" if low in (0, 1) else ""
        return f"every voxel is {low}: nothing was decoded, the image is empty{other}"
    if high - low < 20:
        guess = "the image was normalised (to values between 0 and 1, or to unit variance), or is a label map"
        return f"the values span {low} to {high}: {guess}"
    counts = _counts(hu)
    if low >= 0 and high <= 255 and (high >= 250 or _share(counts, 0, 0) > 0.01):
        return f"the values span {low} to {high}: an 8-bit picture or a label map"
    counts = _without_padding(counts)
    lowest = _share(counts, PADDING_BELOW_HU, -75)  # fat, lung or air: never rescaled values have none
    for offset in _OFFSETS:
        soft, dense = _share(counts, offset - 200, offset + 200), _share(counts, offset - 500, 32767)
        moved = _likeness(counts, offset) > _likeness(counts, 0) and soft > max(0.02, 0.5 * dense)
        if moved and lowest < 0.01:  # bone and metal spread wider above 500 than soft tissue does
            return f"soft tissue lies near {offset} instead of 0: the rescale intercept -{offset} was not applied"
    if _share(counts, -500, 32767) < 0.01:
        return f"hardly a voxel is above -500 (range {low} to {high}): the rescale intercept was applied twice"
    if _share(counts, -250, 300) < 0.01 or _share(counts, 1300, 32767) > 0.3:
        return f"soft tissue does not lie near 0 (range {low} to {high}): the values have another unit"
    return None


def without_padding(volume: Volume) -> Volume:
    """The volume with everything below `PADDING_BELOW_HU` set to air, -1024, and flagged if there was any.

    Done after `check_hu`, and before anything is interpolated: padding would smear into the image.
    """
    if volume.hu.min() >= PADDING_BELOW_HU:
        return volume
    padded = volume.hu < PADDING_BELOW_HU
    hu = np.where(padded, np.int16(AIR_HU), volume.hu)
    return replace(volume, hu=hu, flags=(*volume.flags, f"padding set to {AIR_HU}"))


def _counts(hu: npt.NDArray[np.int16]) -> npt.NDArray[np.int64]:
    """Number of voxels of each value, index 0 being -32768; of large volumes a regular sample of rows."""
    counts = np.zeros(65536, dtype=np.int64)
    _add_counts(hu.reshape(-1, hu.shape[-1])[:: max(1, hu.size // _MIN_SAMPLES)], counts)
    return counts


@njit(cache=True, nogil=True)
def _add_counts(rows, counts):  # type: ignore[no-untyped-def]  # numba
    for row in range(rows.shape[0]):
        for x in range(rows.shape[1]):
            counts[rows[row, x] + 32768] += 1


def _without_padding(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Counts without the commonest value below `PADDING_BELOW_HU`: the filling outside the reconstruction circle."""
    kept = counts.copy()
    kept[int(counts[: PADDING_BELOW_HU + 32768].argmax())] = 0
    return kept


def _share(counts: npt.NDArray[np.int64], low: int, high: int) -> float:
    """Share of voxels from `low` to `high`, both included."""
    first, last = max(low + 32768, 0), max(high + 32769, 0)
    return float(counts[first:last].sum() / max(counts.sum(), 1))


def _likeness(counts: npt.NDArray[np.int64], offset: int) -> float:
    """Share of voxels that were air or soft tissue if `offset` were subtracted."""
    return sum(_share(counts, low + offset, high + offset) for low, high in (_AIR, _SOFT))


_LEFT = (("spleen", "liver"), ("stomach", "liver"), ("heart", "liver"), ("aorta", "inferior_vena_cava"))
_ABOVE = (
    ("heart", "liver"),
    ("lung_upper_lobe_left", "liver"),
    ("lung_upper_lobe_right", "liver"),
    ("liver", "urinary_bladder"),
    ("liver", "sacrum"),
    ("spleen", "sacrum"),
    ("vertebrae_L1", "vertebrae_L5"),
    ("vertebrae_T4", "vertebrae_T12"),
)
_BEHIND = (
    ("vertebrae_L1", "stomach"),
    ("vertebrae_L2", "liver"),
    ("vertebrae_L3", "inferior_vena_cava"),
    ("vertebrae_T8", "heart"),
    ("vertebrae_T8", "sternum"),
    ("sacrum", "urinary_bladder"),
    ("aorta", "heart"),
)


def orientation_flags(label_map: LabelMap) -> tuple[str, ...]:
    """Which way the masks say the image is turned against its header; empty where they agree with it.

    Pairs of structures vote for each axis, e.g. the spleen lies to the left of the liver. At least two votes, and more
    than half of them, must be against the header.
    """
    centres = _centres(label_map)
    flags = []
    for axis, pairs, name in (
        (0, _LEFT, "left and right"),
        (2, _ABOVE, "head and feet"),
        (1, _BEHIND, "front and back"),
    ):
        votes = [centres[one][axis] > centres[other][axis] for one, other in pairs if {one, other} <= set(centres)]
        against = len(votes) - sum(votes)
        if against >= 2 and against > len(votes) / 2:
            flags.append(f"{name} look exchanged ({against} of {len(votes)} pairs of structures)")
    return tuple(flags)


def _centres(label_map: LabelMap) -> dict[str, npt.NDArray[np.float64]]:
    """Centre of mass (L, P, S) in mm of each structure that a vote needs."""
    wanted, places = {name for pair in (*_LEFT, *_ABOVE, *_BEHIND) for name in pair}, label_map.places
    return {
        name: lps_from_index(label_map.affine, places.centre(number))
        for number, name in label_map.names.items()
        if name in wanted and number in places.boxes
    }
