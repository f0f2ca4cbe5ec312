"""Where the slices of one series lie: their order and affine from positions along the normal, or a refusal."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from preprocess.errors import Reason, StudyError
from preprocess.geometry import GROSS_SKEW, SLIGHT_SKEW, Affine, orthonormal

STEP_TOLERANCE = 0.05
"""Share of the slice step by which two neighbouring slices may lie nearer or farther than that."""
LEAN_DEGREES = 0.25
"""Angle between the stack and the slices' normal from which it counts as gantry tilt."""


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


def stack_geometry(frames: Sequence[Frame], shape: tuple[int, int]) -> tuple[list[int], Affine, tuple[str, ...]]:
    """Order of the slices along their normal, the affine of the ordered stack, and what was tolerated.

    Args:
        frames: One entry a slice, in any order.
        shape: Rows and columns of each slice.

    Raises:
        StudyError: `GEOMETRY`, see `read_dicom`.
    """
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
    across = orientation / norms[:, None]
    normal = np.cross(across[0], across[1])
    normal /= np.linalg.norm(normal)
    positions = np.array([frame.position for frame in frames])
    order = np.argsort(positions @ normal, kind="stable")
    _check_steps((positions @ normal)[order])
    step = (positions[order[-1]] - positions[order[0]]) / (len(frames) - 1)
    _check_tilt(positions[order], step, normal, min(frames[0].pixel_spacing))
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = across[1] * frames[0].pixel_spacing[0]
    affine[:3, 2] = across[0] * frames[0].pixel_spacing[1]
    affine[:3, 3] = positions[order[0]]
    affine, off = orthonormal(affine, (len(frames), *shape))
    return order.tolist(), affine, (f"axes made orthogonal (cosine {off:.5f})",) if off > SLIGHT_SKEW else ()


def _check_steps(along: npt.NDArray[np.float64]) -> None:
    """Refuses doubled, missing and irregular slices; `along` is sorted, in mm."""
    steps = np.diff(along)
    usual = float(np.median(steps))
    doubled = int((steps < 0.01 * max(usual, 0.01)).sum())
    if doubled:
        at = float(along[:-1][steps < 0.01 * max(usual, 0.01)][0])
        raise StudyError(Reason.GEOMETRY, f"{doubled} slices lie where another one lies, the first at {at:.2f} mm")
    off = np.abs(steps - usual)
    worst = int(off.argmax())
    if off[worst] <= max(STEP_TOLERANCE * usual, 0.01):
        return
    kind = "a gap" if steps[worst] > usual else "an irregular step"
    missing = round(float(steps[worst]) / usual) - 1
    tail = f": {missing} missing" if kind == "a gap" and missing >= 1 else ""
    raise StudyError(
        Reason.GEOMETRY,
        f"{kind} of {steps[worst]:.2f} mm between the slices at {along[worst]:.2f} and {along[worst + 1]:.2f} mm, "
        f"where the usual step is {usual:.2f} mm{tail}",
    )


def _check_tilt(
    positions: npt.NDArray[np.float64], step: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], pixel_mm: float
) -> None:
    """Refuses slices that are shifted sideways against each other; `positions` are sorted along `normal`."""
    lean = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))
    if lean > LEAN_DEGREES:
        raise StudyError(Reason.GEOMETRY, f"the stack leans by {lean:.2f} degrees against its normal (gantry tilt)")
    line = positions[0] + np.arange(len(positions))[:, None] * step
    sideways = (positions - line) - ((positions - line) @ normal)[:, None] * normal
    off = float(np.linalg.norm(sideways, axis=1).max())
    if off > 0.5 * pixel_mm:
        raise StudyError(Reason.GEOMETRY, f"slices are shifted sideways by up to {off:.2f} mm")
