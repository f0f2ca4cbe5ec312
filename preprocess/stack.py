"""Where the slices of one series lie: their order, their affine, and what has to be straightened or filled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from preprocess.errors import Reason, StudyError
from preprocess.geometry import GROSS_SKEW, SLIGHT_SKEW, Affine, orthonormal

Gaps = Literal["refuse", "resample"]

STEP_TOLERANCE = 0.05
"""Share of the slice step by which two neighbouring slices may lie nearer or farther than that."""
DRIFT_TOLERANCE = 0.5
"""Share of the slice step by which a slice may lie away from its place in an even stack."""
MAX_GAP_MM = 15.0
"""Widest gap that is interpolated over; a wider one is refused whatever the option says."""
LEAN_DEGREES = 0.25
"""Angle between the stack and the slices' normal from which it counts as gantry tilt."""
MAX_LEAN_DEGREES = 45.0
"""No gantry tilts farther: such slices belong to something else."""


@dataclass(frozen=True)
class Frame:
    """Place and scale of one slice.

    Attributes:
        position: LPS mm of the first voxel's centre.
        orientation: (2, 3) unit vectors along increasing column index and along increasing row index.
        pixel_spacing: Distance between rows, and between columns, in mm.
        slope: HU of one stored unit.
        intercept: HU of the stored value 0.
    """

    position: npt.NDArray[np.float64]
    orientation: npt.NDArray[np.float64]
    pixel_spacing: tuple[float, float]
    slope: float
    intercept: float


@dataclass(frozen=True)
class Stack:
    """How the slices of a series make a volume.

    Attributes:
        order: Number of the slice that comes at each place along the normal.
        affine: Index (z, y, x) to LPS mm, of the stack once straightened and filled.
        flags: What was tolerated or corrected, in words.
        places: (slice,) place of each ordered slice in units of the even step, where the steps are to be evened; else
            None.
        shifts: (slice, 2) rows and columns by which each slice, once evened, lies beyond the first, where the gantry
            was tilted; else None.
    """

    order: list[int]
    affine: Affine
    flags: tuple[str, ...] = ()
    places: npt.NDArray[np.float64] | None = None
    shifts: npt.NDArray[np.float64] | None = None


def stack_geometry(frames: Sequence[Frame], shape: tuple[int, int], *, gaps: Gaps = "refuse") -> Stack:
    """Order of the slices along their normal, the affine of the ordered stack, and what has to be done to it.

    Args:
        frames: One entry a slice, in any order.
        shape: Rows and columns of each slice.
        gaps: `resample` spreads slices with missing or irregular steps evenly instead of refusing them.

    Raises:
        StudyError: `GEOMETRY`, see `read_dicom`.
    """
    across = _axes(frames)
    normal = np.cross(across[0], across[1])
    normal /= np.linalg.norm(normal)
    positions = np.array([frame.position for frame in frames])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    places, gap_flags = _even_places(positions @ normal, gaps)
    steps = len(frames) - 1 if places is None else round(places[-1])
    step = (positions[-1] - positions[0]) / steps
    pixel_mm = np.array(frames[0].pixel_spacing)
    lean = _lean(positions, step, normal, float(pixel_mm.min()))
    shifts: npt.NDArray[np.float64] | None = None
    lean_flags: tuple[str, ...] = ()
    if lean > LEAN_DEGREES:
        found = (positions - positions[0]) @ across[::-1].T / pixel_mm  # (slice, 2), rows and columns
        at = np.arange(steps + 1.0)
        shifts = np.stack([np.interp(at, at if places is None else places, shift) for shift in found.T], axis=1)
        step = (step @ normal) * normal
        lean_flags = (f"gantry tilt of {lean:.1f} degrees corrected",)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = across[1] * pixel_mm[0]
    affine[:3, 2] = across[0] * pixel_mm[1]
    affine[:3, 3] = positions[0]
    affine, off = orthonormal(affine, (steps + 1, *shape))
    skew_flags = (f"axes made orthogonal (cosine {off:.5f})",) if off > SLIGHT_SKEW else ()
    return Stack(order.tolist(), affine, (*skew_flags, *gap_flags, *lean_flags), places, shifts)


def _axes(frames: Sequence[Frame]) -> npt.NDArray[np.float64]:
    """Unit vectors (2, 3) along the column index and along the row index, shared by all slices."""
    if len(frames) < 2:
        raise StudyError(Reason.GEOMETRY, "a single slice has no distance to a next one")
    orientation = frames[0].orientation
    spread = max(float(np.abs(frame.orientation - orientation).max()) for frame in frames)
    if spread > SLIGHT_SKEW:
        raise StudyError(Reason.GEOMETRY, f"the slices are not parallel: their cosines differ by {spread:.4f}")
    spacing = np.array([frame.pixel_spacing for frame in frames])
    if np.ptp(spacing, axis=0).max() > 1e-3 * spacing.min():
        raise StudyError(
            Reason.GEOMETRY, f"the slices differ in pixel spacing: {np.unique(spacing, axis=0).tolist()} mm"
        )
    norms = np.linalg.norm(orientation, axis=1)
    if np.abs(norms - 1).max() >= GROSS_SKEW:
        raise StudyError(Reason.GEOMETRY, f"the direction cosines have lengths {norms.round(4).tolist()}, not 1")
    unit: npt.NDArray[np.float64] = orientation / norms[:, None]
    return unit


def _even_places(along: npt.NDArray[np.float64], gaps: Gaps) -> tuple[npt.NDArray[np.float64] | None, tuple[str, ...]]:
    """Places of the slices in units of the even step, where they have to be evened; refuses what cannot be.

    Args:
        along: (slice,) ascending place along the normal in mm.
        gaps: What to do with missing and irregular steps.
    """
    steps = np.diff(along)
    usual = float(np.median(steps))
    doubled = int((steps < 0.01 * max(usual, 0.01)).sum())
    if doubled:
        at = float(along[:-1][steps < 0.01 * max(usual, 0.01)][0])
        raise StudyError(Reason.GEOMETRY, f"{doubled} slices lie where another one lies, the first at {at:.2f} mm")
    problem = _uneven(along, steps, usual)
    if problem is None:
        return None, ()
    widest = float(steps.max())
    if gaps == "refuse" or widest > max(MAX_GAP_MM, (1 + STEP_TOLERANCE) * usual):
        raise StudyError(Reason.GEOMETRY, problem)
    count = max(1, round(float(along[-1] - along[0]) / usual))
    places = (along - along[0]) * (count / (along[-1] - along[0]))
    return places, (f"slices resampled to even steps ({problem})",)


def _uneven(along: npt.NDArray[np.float64], steps: npt.NDArray[np.float64], usual: float) -> str | None:
    """What is wrong with the steps between slices, or None."""
    off = np.abs(steps - usual)
    worst = int(off.argmax())
    if off[worst] > max(STEP_TOLERANCE * usual, 0.01):
        kind = "a gap" if steps[worst] > usual else "an irregular step"
        missing = round(float(steps[worst]) / usual) - 1
        tail = f": {missing} missing" if kind == "a gap" and missing >= 1 else ""
        return (
            f"{kind} of {steps[worst]:.2f} mm between the slices at {along[worst]:.2f} and {along[worst + 1]:.2f} mm, "
            f"where the usual step is {usual:.2f} mm{tail}"
        )
    drift = float(np.abs(along - np.linspace(along[0], along[-1], len(along))).max())
    if drift > max(DRIFT_TOLERANCE * usual, 0.01):
        return (
            f"irregular steps: slices lie up to {drift:.2f} mm from even places, where the usual step is {usual:.2f} mm"
        )
    return None


def _lean(
    positions: npt.NDArray[np.float64], step: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], pixel_mm: float
) -> float:
    """Angle in degrees between the stack and its normal; refuses slices that are shifted against each other.

    Args:
        positions: (slice, 3) sorted along `normal`.
        step: From slice to slice, in LPS mm.
        normal: Of the slices.
        pixel_mm: Smaller distance between pixels.
    """
    lean = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))
    if lean > MAX_LEAN_DEGREES:
        raise StudyError(Reason.GEOMETRY, f"the stack leans by {lean:.2f} degrees against its normal")
    along = (positions - positions[0]) @ normal
    line = positions[0] + (along / (step @ normal))[:, None] * step
    off = float(np.linalg.norm(positions - line, axis=1).max())
    if off > 0.5 * pixel_mm:
        raise StudyError(Reason.GEOMETRY, f"slices are shifted sideways by up to {off:.2f} mm")
    return lean
