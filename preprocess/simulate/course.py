"""Where the tubes of a body's plan run on the canvas, and how loops of gut are drawn along them."""

from dataclasses import dataclass

import numpy as np

from preprocess.simulate.area import Area
from preprocess.simulate.fields import warp_at
from preprocess.simulate.paint import GAS_HU, Paint, stamp
from preprocess.simulate.scene import BodyPlan, Floats, Mask, Tube
from preprocess.simulate.shapes import Grid, Vector, tube


@dataclass(frozen=True)
class Course:
    """A tube of the plan, bent as the body is.

    Attributes:
        points: (n, 3) in LPS mm.
        radii: (n,) in mm.
    """

    points: Vector
    radii: Vector

    def at(self, share: float) -> tuple[Vector, float]:
        """Return point and radius at a share 0..1 of the way."""
        place = float(np.clip(share, 0, 1)) * (len(self.points) - 1)
        index = np.arange(len(self.points))
        point = np.array([np.interp(place, index, axis) for axis in self.points.T])
        return point, float(np.interp(place, index, self.radii))

    def stretch(self, start: float, stop: float) -> "Course":
        """Return the part between two shares of the way, at least two points."""
        last = len(self.points) - 1
        first = int(np.clip(round(start * last), 0, last - 1))
        end = int(np.clip(round(stop * last), first + 1, last))
        return Course(self.points[first : end + 1], self.radii[first : end + 1])

    def heading(self, share: float) -> Vector:
        """Return the unit direction of the way at a share of it."""
        step = self.at(share + 0.02)[0] - self.at(share - 0.02)[0]
        return np.asarray(step / max(float(np.linalg.norm(step)), 1e-6))


def unbend(plan: BodyPlan, points: Vector) -> Vector:
    """Return where points (n, 3) of the unbent plan lie in the body: plan = place + warp(place), solved for place."""
    found = points.copy()
    for _ in range(6):
        found = points - warp_at(plan, found)
    return np.asarray(found)


def courses(plan: BodyPlan, structure: str) -> list[Course]:
    """Return the tubes of a structure where they lie in the body; none where the plan has none."""
    organ = plan.organs.get(structure)
    tubes = [shape for shape in organ.shapes if isinstance(shape, Tube)] if organ else []
    return [Course(unbend(plan, np.asarray(t.points, float)), np.asarray(t.radii, float)) for t in tubes]


def clear_share(area: Area, course: Course, shares: Vector, within: Mask, reach_mm: float) -> float:
    """Return the first of `shares` of the way round which much of a ball of `reach_mm` lies in `within`, else the best.

    Where organs press on each other, parts of a tube's course lie under another organ.
    """
    free = []
    for share in shares:
        where = area.grid.box(course.at(float(share))[0] - reach_mm, course.at(float(share))[0] + reach_mm)
        free.append(float(within[where].mean()) if where is not None else 0.0)
        if free[-1] > 0.6:
            break
    return float(shares[int(np.argmax(free))])


def draw_loop(
    area: Area,
    course: Course,
    strength: float,
    *,
    within: Mask,
    wall_mm: float,
    wall_hu: float,
    fluid_hu: float,
    gas: float,
    label: int,
) -> None:
    """Draw a loop of gut: wall, fluid, and gas above a level that every few points of the course have of their own.

    Args:
        area: The canvas box.
        course: Axis and outer radius.
        strength: 0 changes nothing, 1 covers.
        within: Only there.
        wall_mm: Thickness of the wall.
        wall_hu: Its attenuation.
        fluid_hu: Attenuation of the fluid.
        gas: Share of the height that is gas.
        label: Label of what is drawn.
    """
    for start in range(0, len(course.points) - 1, 6):
        points, radii = course.points[start : start + 7], course.radii[start : start + 7]
        level = float(points[:, 1].mean()) + (2 * gas - 1) * float(radii.mean())
        stamp(area, tube(points, radii), wall_hu, strength, within=within, label=label)
        stamp(area, tube(points, radii - wall_mm), _levelled(level, fluid_hu), strength, within=within)


def _levelled(level: float, fluid_hu: float) -> Paint:
    def paint(grid: Grid) -> Floats:
        fluid = np.clip((grid.points[1] - np.float32(level)) / np.float32(grid.step_mm) + np.float32(0.5), 0, 1)
        return np.asarray(GAS_HU + fluid * np.float32(fluid_hu - GAS_HU), np.float32)

    return paint
