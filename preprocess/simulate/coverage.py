"""How much of each anatomy a scan range shows, from the primitives alone."""

from collections.abc import Mapping

import numpy as np

from preprocess.simulate.scene import BodyPlan, Ellipsoid, Organ, Primitive

COVERED_SHARE = 0.5
"""From this share of an anatomy's volume on, its findings are drawn, reported and judged; below, they are unknown."""
LUNG_SPACE = "pleural_cavity"


def covered_anatomies(
    plan: BodyPlan, structures: Mapping[str, tuple[str, ...]], low_mm: float, high_mm: float
) -> dict[str, float]:
    """Return the anatomies of which at least `COVERED_SHARE` lies in the range, and how much of each does.

    Args:
        plan: The body without findings, so that coverage cannot depend on them.
        structures: Anatomy to its structures.
        low_mm: Lower end of the range, S in mm.
        high_mm: Upper end.
    """
    shares = {}
    for anatomy, names in structures.items():
        own = [plan.organs[LUNG_SPACE]] if anatomy == "lung" else [plan.organs[n] for n in names if n in plan.organs]
        share = share_inside(own, low_mm, high_mm)
        if share >= COVERED_SHARE:
            shares[anatomy] = share
    return shares


def share_inside(organs: list[Organ], low_mm: float, high_mm: float) -> float:
    """Share of the primitives' volume between two heights; overlaps count twice, the warp is left out."""
    pieces = [_piece(shape, low_mm, high_mm) for organ in organs for shape in organ.shapes]
    total = sum(volume for volume, _ in pieces)
    return sum(volume * inside for volume, inside in pieces) / total if total else 0.0


def _piece(shape: Primitive, low: float, high: float) -> tuple[float, float]:
    """Volume in mm3 of a primitive, and the share of it between two heights."""
    if isinstance(shape, Ellipsoid):
        radii = np.array(shape.radii)
        half = float(np.sqrt((shape.rotation[2] ** 2 * radii**2).sum()))
        ends = np.clip((np.array([low, high]) - shape.centre[2]) / half, -1, 1)
        below = (3 * ends - ends**3 + 2) / 4
        return float(4 / 3 * np.pi * radii.prod()), float(below[1] - below[0])
    start, stop = shape.points[:-1], shape.points[1:]
    radius = (np.asarray(shape.radii)[:-1] + np.asarray(shape.radii)[1:]) / 2
    volume = np.pi * radius**2 * np.linalg.norm(stop - start, axis=1)
    middle = (start[:, 2] + stop[:, 2]) / 2
    inside = ((middle >= low) & (middle <= high)).astype(float)
    total = float(volume.sum())
    return total, float((volume * inside).sum() / total) if total else 0.0
