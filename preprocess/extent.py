"""Whether a volume holds all of an organ: does its mask touch a face, or the edge of the reconstruction circle?"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from preprocess.regions import AnatomyMask
from preprocess.volume import Volume

AIR_HU = -1000
"""Scanners fill the corners outside the reconstruction circle with a constant at or below this."""


def reconstruction_field(volume: Volume) -> npt.NDArray[np.bool_]:
    """Where a slice was reconstructed, (y, x): all but the constant corners outside the reconstruction circle.

    A corner is filling where it holds one value, `AIR_HU` or less, in every slice; the filling is what is joined to
    such a corner and holds the same value in every slice.
    """
    hu = volume.hu
    field = np.ones(hu.shape[1:], dtype=np.bool_)
    for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        value = hu[0, y, x]
        if not field[y, x] or value > AIR_HU or (hu[:, y, x] != value).any():
            continue
        constant = hu[0] == value
        for plane in hu[1:]:
            constant &= plane == value
        parts, _ = ndimage.label(constant)
        field &= parts != parts[y, x]
    return field


def measure_extent(organ: AnatomyMask, field: npt.NDArray[np.bool_]) -> float:
    """Fraction of an organ that is cut: 0 where it lies wholly inside the volume.

    For each of the six directions the voxels that have no reconstructed neighbour in that direction are counted, and
    divided by the organ's largest cross-section across that direction. The largest of the six is returned.

    Args:
        organ: The organ's voxels.
        field: Reconstructed part of each slice (`reconstruction_field`).
    """
    box, is_organ, labels = organ.box, organ.parts > 0, organ.label_map.labels[organ.box]
    padded = np.pad(field, 1)  # nothing is reconstructed beyond the volume
    window = padded[box[1].start : box[1].stop + 2, box[2].start : box[2].stop + 2]
    beyond = [  # (y, x) of the organ's box: no reconstructed neighbour towards -y, +y, -x, +x
        (1, ~window[:-2, 1:-1]),
        (1, ~window[2:, 1:-1]),
        (2, ~window[1:-1, :-2]),
        (2, ~window[1:-1, 2:]),
    ]
    depth = organ.label_map.shape[0]
    ends = [(0, labels[end]) for end, at_face in ((0, box[0].start == 0), (-1, box[0].stop == depth)) if at_face]
    ends += [(axis, labels[:, lost]) for axis, lost in beyond if lost.any()]
    fractions = [
        np.count_nonzero(is_organ[cut]) / organ.label_map.places.largest_section(organ.numbers, axis)
        for axis, cut in ends
    ]
    return min(1.0, max(fractions, default=0.0))
