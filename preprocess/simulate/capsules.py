"""How much of each voxel capsules cover: balls and tubes, divided finely, at the cost of their surface only."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

DETAIL = 3
"""A voxel is divided by three along each axis; the 27 parts are the bits of one integer."""


@njit(cache=True, fastmath=True)
def cover_capsules(bits, affine, capsules, boxes):  # type: ignore[no-untyped-def]  # numba
    """Set the bits of the voxel parts whose centres lie in any capsule.

    Args:
        bits: (z, y, x) int32, updated.
        affine: (3, 4) index (z, y, x, 1) to LPS mm.
        capsules: (n, 8) start, end, radius at start and end, mm.
        boxes: (n, 6) voxel ranges of each capsule, low then high.
    """
    half = 0.5 * np.sqrt((affine[:, :3] ** 2).sum()) + 0.01
    for n in range(capsules.shape[0]):
        c, box = capsules[n], boxes[n]
        for z in range(box[0], box[3]):
            for y in range(box[1], box[4]):
                left = affine[0, 0] * z + affine[0, 1] * y + affine[0, 3]
                back = affine[1, 0] * z + affine[1, 1] * y + affine[1, 3]
                head = affine[2, 0] * z + affine[2, 1] * y + affine[2, 3]
                for x in range(box[2], box[5]):
                    pl, pp, ps = left + affine[0, 2] * x, back + affine[1, 2] * x, head + affine[2, 2] * x
                    outside = _beyond(pl, pp, ps, c)
                    if outside > half:
                        continue
                    if outside < -half:
                        bits[z, y, x] = (1 << 27) - 1
                        continue
                    found = bits[z, y, x]
                    for m in range(27):
                        dz, dy, dx = (m // 9 - 1) / 3.0, ((m // 3) % 3 - 1) / 3.0, (m % 3 - 1) / 3.0
                        ql = pl + affine[0, 0] * dz + affine[0, 1] * dy + affine[0, 2] * dx
                        qp = pp + affine[1, 0] * dz + affine[1, 1] * dy + affine[1, 2] * dx
                        qs = ps + affine[2, 0] * dz + affine[2, 1] * dy + affine[2, 2] * dx
                        if _beyond(ql, qp, qs, c) <= 0:
                            found |= 1 << m
                    bits[z, y, x] = found


@njit(cache=True, fastmath=True)
def _beyond(left, back, head, c):  # type: ignore[no-untyped-def]  # numba
    """Distance in mm of a point from a capsule's surface, negative inside."""
    dl, dp, ds = left - c[0], back - c[1], head - c[2]
    al, ap, asu = c[3] - c[0], c[4] - c[1], c[5] - c[2]
    t = (dl * al + dp * ap + ds * asu) / (al * al + ap * ap + asu * asu + 1e-12)
    t = min(max(t, 0.0), 1.0)
    dl, dp, ds = dl - t * al, dp - t * ap, ds - t * asu
    return np.sqrt(dl * dl + dp * dp + ds * ds) - (c[6] + t * (c[7] - c[6]))


def capsule_share(
    affine: NDArray[np.float64], shape: tuple[int, int, int], capsules: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the share of each voxel covered by the union of capsules, (z, y, x) in 0..1.

    Args:
        affine: 4x4, index (z, y, x) to LPS mm.
        shape: (z, y, x).
        capsules: (n, 8) start, end, radius at start and end, mm.
    """
    inverse = np.linalg.inv(affine)
    ends = np.stack([capsules[:, :3], capsules[:, 3:6]]) @ inverse[:3, :3].T + inverse[:3, 3]
    reach = capsules[:, 6:].max(axis=1, keepdims=True) * np.linalg.norm(inverse[:3, :3], axis=1) + 1
    low = np.clip(np.floor(ends.min(axis=0) - reach), 0, shape)
    high = np.clip(np.ceil(ends.max(axis=0) + reach) + 1, 0, shape)
    boxes = np.concatenate([low, high], axis=1).astype(np.int64)
    bits = np.zeros(shape, np.int32)
    cover_capsules(bits, np.ascontiguousarray(affine[:3], np.float64), np.ascontiguousarray(capsules), boxes)
    return np.bitwise_count(bits).astype(np.float32) / np.float32(DETAIL**3)
