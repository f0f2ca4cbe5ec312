"""Passes over the voxels of a crop, compiled by numba: counts and histograms, and patches reduced to blocks.

Each reads a voxel once, and outside the region no more than its mask.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ctvlp.compiled import compiled

OUTSIDE, ORGAN, RIM = 0, 1, 2
"""A voxel is outside the region, in the organ, or in the region outside the organ."""
REGION_VALUE = 255
"""Value of a crop's mask in the region outside the organ."""
PAD_HU = -1024
"""Attenuation of the voxels by which a patch sticks out of its crop."""

Image = npt.NDArray[np.int16]
Mask = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]


class Survey(NamedTuple):
    """Numbers of voxels of a crop; the first axis is `OUTSIDE` (left empty), `ORGAN`, `RIM`.

    Attributes:
        along_z: (3, z) in each slice; `along_y` (3, y) and `along_x` (3, x) likewise.
        parts: (256,) of each value of the mask.
        histograms: (3, values) of each attenuation, from the image's lowest on.
        lowest: Attenuation of the first entry of a histogram.
    """

    along_z: Counts
    along_y: Counts
    along_x: Counts
    parts: Counts
    histograms: Counts
    lowest: np.int64

    @property
    def lines(self) -> tuple[Counts, Counts, Counts]:
        """`along_z`, `along_y`, `along_x`."""
        return self.along_z, self.along_y, self.along_x


@compiled()
def survey(image: Image, mask: Mask) -> Survey:
    """Count the voxels of a crop's region.

    Args:
        image: (z, y, x) HU.
        mask: (z, y, x) 0 outside the region, `REGION_VALUE` in it outside the organ, else the part of the organ.
    """
    size_z, size_y, size_x = mask.shape
    along_z, along_y = np.zeros((3, size_z), np.int64), np.zeros((3, size_y), np.int64)
    along_x, parts = np.zeros((3, size_x), np.int64), np.zeros(256, np.int64)
    lowest = np.int64(image.min())
    histograms = np.zeros((3, np.int64(image.max()) - lowest + 1), np.int64)
    for z in range(size_z):
        for y in range(size_y):
            for x in range(size_x):
                part = mask[z, y, x]
                if part == 0:
                    continue
                kind = RIM if part == REGION_VALUE else ORGAN
                along_z[kind, z] += 1
                along_y[kind, y] += 1
                along_x[kind, x] += 1
                parts[part] += 1
                histograms[kind, image[z, y, x] - lowest] += 1
    return Survey(along_z, along_y, along_x, parts, histograms, lowest)


@compiled()
def count_patches(mask: Mask, patch: int, shift: tuple[int, int, int]) -> Counts:
    """Count the voxels of each patch.

    Args:
        mask: (z, y, x), see `survey`.
        patch: Edge of a patch in voxels.
        shift: Voxels by which the grid of patches starts before the first voxel.

    Returns:
        (3, Z, Y, X): of `OUTSIDE` (left empty), `ORGAN` and `RIM`.
    """
    size_z, size_y, size_x = mask.shape
    grid = (
        -(-(size_z + shift[0]) // patch),
        -(-(size_y + shift[1]) // patch),
        -(-(size_x + shift[2]) // patch),
    )
    counts = np.zeros((3, *grid), np.int64)
    for z in range(size_z):
        for y in range(size_y):
            row = counts[:, (z + shift[0]) // patch, (y + shift[1]) // patch]
            for x in range(size_x):
                part = mask[z, y, x]
                if part != 0:
                    row[RIM if part == REGION_VALUE else ORGAN, (x + shift[2]) // patch] += 1
    return counts


@compiled()
def cut_patches(image: Image, mask: Mask, first: npt.NDArray[np.int32], patch: int) -> tuple[Image, Mask]:
    """Cut patches out of a crop.

    Args:
        image: (z, y, x) HU.
        mask: (z, y, x), see `survey`.
        first: (n, 3) first voxel of each patch; negative where it sticks out.
        patch: Edge of a patch in voxels.

    Returns:
        Attenuation (n, p, p, p), `PAD_HU` outside the crop; and what each voxel is, `OUTSIDE` there.
    """
    shape = (len(first), patch, patch, patch)
    hu, kind = np.full(shape, PAD_HU, np.int16), np.zeros(shape, np.uint8)
    size_z, size_y, size_x = mask.shape
    for n in range(len(first)):
        first_z, first_y, first_x = first[n]
        for z in range(max(0, first_z), min(size_z, first_z + patch)):
            for y in range(max(0, first_y), min(size_y, first_y + patch)):
                begin, end = max(0, first_x), min(size_x, first_x + patch)
                values, parts = image[z, y, begin:end], mask[z, y, begin:end]
                hu_row, kind_row = hu[n, z - first_z, y - first_y], kind[n, z - first_z, y - first_y]
                for x in range(end - begin):
                    hu_row[begin - first_x + x] = values[x]
                    kind_row[begin - first_x + x] = np.uint8(parts[x] > 0) + np.uint8(parts[x] == REGION_VALUE)
    return hu, kind


@compiled()
def reduce_blocks(hu: Image, kind: Mask, block: int) -> tuple[Image, Mask]:
    """Reduce patches to their blocks.

    Args:
        hu: (n, p, p, p) HU.
        kind: (n, p, p, p) what each voxel is.
        block: Edge of a block in voxels; divides p.

    Returns:
        (n, 3, h, h, h) mean, lowest and highest attenuation of the block's voxels in the region, `PAD_HU` without any;
        (n, 2, h, h, h) share of its voxels in the organ and in the rim, 255 being all.
    """
    side = hu.shape[1] // block
    statistics = np.empty((len(hu), 3, side, side, side), np.int16)
    shares = np.empty((len(hu), 2, side, side, side), np.uint8)
    for n in range(len(hu)):
        for k in range(side**3):
            z, y, x = k // side**2, k // side % side, k % side
            total, lowest, highest, organ, rim = 0, 32767, -32768, 0, 0
            for i in range(z * block, (z + 1) * block):
                for j in range(y * block, (y + 1) * block):
                    for m in range(x * block, (x + 1) * block):
                        what, value = kind[n, i, j, m], int(hu[n, i, j, m])
                        organ += what == ORGAN
                        rim += what == RIM
                        if what != OUTSIDE:
                            total += value
                            lowest = min(lowest, value)
                            highest = max(highest, value)
            count = organ + rim
            statistics[n, 0, z, y, x] = np.rint(total / count) if count > 0 else PAD_HU
            statistics[n, 1, z, y, x] = lowest if count > 0 else PAD_HU
            statistics[n, 2, z, y, x] = highest if count > 0 else PAD_HU
            shares[n, 0, z, y, x] = np.rint(255 * organ / block**3)
            shares[n, 1, z, y, x] = np.rint(255 * rim / block**3)
    return statistics, shares


@compiled()
def nearest(places: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the distance of each place (n, 3) from the nearest of the others (m, 3), (n,)."""
    result = np.full(len(places), np.inf)
    for i in range(len(places)):
        for j in range(len(others)):
            squared = 0.0
            for axis in range(3):
                squared += (places[i, axis] - others[j, axis]) ** 2
            result[i] = min(result[i], np.sqrt(squared))
    return result
