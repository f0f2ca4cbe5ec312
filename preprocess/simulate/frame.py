"""A person's proportions: reference anatomy in millimetres goes in, this person's primitives come out.

The reference is a man of average height lying on his back. Its origin lies on the midline at mid depth, at the
height of the first lumbar vertebra; coordinates are (L, P, S): left, back and head are positive.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from preprocess.simulate.scene import Ellipsoid, Tube

Point = tuple[float, float, float]
Floats = NDArray[np.float64]

SPINE_S = (-290.0, -265.0, -225.0, -180.0, -147.0, -110.0, -73.0, -36.0, 0.0, 45.0, 91.0, 170.0, 240.0, 301.0, 340.0)
SPINE_P = (68.0, 80.0, 85.0, 60.0, 42.0, 32.0, 30.0, 33.0, 38.0, 45.0, 52.0, 58.0, 52.0, 36.0, 26.0)


def spine_p(s: float) -> float:
    """Depth P in mm of the vertebral bodies' centres at height `s` of the reference."""
    return float(np.interp(s, SPINE_S, SPINE_P))


@dataclass(frozen=True)
class Frame:
    """How reference coordinates become this person's.

    Attributes:
        scale: Stretch along (L, P, S).
        sex: "F" or "M".
        age_years: Age.
        fat_mm: Thickness of the fat under the skin of the flanks.
        belly_mm: How far fat inside the abdomen pushes its front wall forward.
        pivot: Reference point about which `size` acts.
        size: Enlargement about `pivot`.
        shift: Displacement in mm, applied last.
    """

    scale: Point
    sex: str
    age_years: int
    fat_mm: float
    belly_mm: float
    pivot: Point = (0.0, 0.0, 0.0)
    size: float = 1.0
    shift: Point = (0.0, 0.0, 0.0)

    def point(self, reference: Point) -> Point:
        """Place a reference point in this person, (L, P, S) mm."""
        left, back, head = (
            ((value - pivot) * self.size + pivot) * scale + shift
            for value, pivot, scale, shift in zip(reference, self.pivot, self.scale, self.shift, strict=True)
        )
        return left, back, head

    def ellipsoid(self, centre: Point, radii: Point, turn: Point = (0.0, 0.0, 0.0)) -> Ellipsoid:
        """Build an ellipsoid from reference values; `turn` rotates about (L, P, S), in degrees."""
        left, back, head = (radius * self.size * scale for radius, scale in zip(radii, self.scale, strict=True))
        return Ellipsoid(self.point(centre), (left, back, head), rotation(turn))

    def tube(self, points: Sequence[Point], radii: float | Sequence[float] | Floats) -> Tube:
        """Build a tube from reference points; the radius follows the mean of the cross stretch."""
        pivot = np.array(self.pivot)
        placed = ((np.array(points) - pivot) * self.size + pivot) * np.array(self.scale) + np.array(self.shift)
        grown = np.full(len(placed), radii) if isinstance(radii, float | int) else np.array(radii, dtype=np.float64)
        return Tube(placed, grown * self.size * (self.scale[0] + self.scale[1]) / 2)

    def organ(self, rng: np.random.Generator, pivot: Point, *, shift_mm: float, size_sd: float) -> "Frame":
        """Return a frame for one organ, moved and enlarged at random about `pivot`."""
        shift = rng.normal(0.0, shift_mm, 3)
        size = float(np.exp(np.clip(rng.normal(0.0, size_sd), -2.5 * size_sd, 2.5 * size_sd)))
        return replace(self, pivot=pivot, size=size, shift=(float(shift[0]), float(shift[1]), float(shift[2])))


def rotation(turn: Point) -> NDArray[np.float64]:
    """Rotation matrix of three angles in degrees: about L first, then P, then S."""
    a, b, c = np.deg2rad(turn)
    about_l = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_p = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_s = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(about_s @ about_p @ about_l, dtype=np.float64)


def smooth(points: Sequence[Point], count: int) -> list[Point]:
    """Resample a polyline to `count` points of a smooth curve through its points (Catmull-Rom)."""
    given = np.array(points)
    padded = np.vstack([2 * given[0] - given[1], given, 2 * given[-1] - given[-2]])
    place = np.linspace(0.0, len(given) - 1, count)
    start = np.minimum(place.astype(int), len(given) - 2)
    t = (place - start)[:, None]
    before, a, b, after = (padded[start + step] for step in range(4))
    curve = 0.5 * (
        2 * a + (b - before) * t + (2 * before - 5 * a + 4 * b - after) * t**2 + (3 * a - before - 3 * b + after) * t**3
    )
    return [(left, back, head) for left, back, head in curve.tolist()]
