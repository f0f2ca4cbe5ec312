"""Site B's changes of an organ's size: along single directions, where site A scales all alike."""

from dataclasses import replace

import numpy as np

from preprocess.simulate.lesions_shape import HEART_PARTS, centre_of, grow, scaled, thin
from preprocess.simulate.recipe import Shaper, draw_sides
from preprocess.simulate.scene import BodyPlan, ShapeChange, Tube


def cardiomegaly(plan: BodyPlan, severity: float, rng: np.random.Generator) -> ShapeChange:
    """Widen the heart to the left and to the back more than it grows in height."""
    wide = 1 + 0.5 * severity * float(rng.uniform(0.9, 1.1))
    return grow(plan, HEART_PARTS, "heart", (wide, 1 + 0.3 * severity, 1 + 0.2 * severity))


def splenomegaly(plan: BodyPlan, severity: float, rng: np.random.Generator) -> ShapeChange:
    """Lengthen the spleen downwards and thicken it."""
    long = 1 + 0.75 * severity * float(rng.uniform(0.9, 1.1))
    return grow(plan, ("spleen",), "spleen", (1 + 0.45 * severity, 1 + 0.2 * severity, long))


def kidney_atrophy(plan: BodyPlan, severity: float, rng: np.random.Generator) -> ShapeChange:
    """Shorten and thin one or both kidneys."""
    sides = draw_sides(rng, 0.3)
    for side, source in sides.items():
        short = 1 - 0.48 * severity * float(source.uniform(0.9, 1.05))
        parts = (f"kidney_{side}", f"kidney_medulla_{side}", f"renal_sinus_{side}")
        plan = grow(plan, parts, f"kidney_{side}", (1 - 0.3 * severity, 1 - 0.38 * severity, short)).plan
    word = "both" if len(sides) == 2 else next(iter(sides))
    return ShapeChange(plan, tuple(f"kidney_{side}" for side in sides), side=word)


def pancreas_atrophy(plan: BodyPlan, severity: float, rng: np.random.Generator) -> ShapeChange:
    """Thin the pancreas more and more from head to tail, or from tail to head."""
    if "pancreas" not in plan.organs:
        return ShapeChange(plan, ())
    organ, tailward = plan.organs["pancreas"], rng.uniform() < 0.5
    shapes = []
    for shape in organ.shapes:
        if isinstance(shape, Tube):
            slope = np.linspace(0.35, 0.65, len(shape.radii))
            slope = slope if tailward else slope[::-1]
            shape = Tube(shape.points, np.asarray(shape.radii, float) * (1 - slope * severity))
        shapes.append(shape)
    return ShapeChange(plan.with_organs(replace(organ, shapes=tuple(shapes))), ("pancreas",))


def pancreas_swelling(plan: BodyPlan, severity: float, rng: np.random.Generator) -> ShapeChange:
    """Swell the pancreas a little."""
    return thin(plan, "pancreas", 1 + 0.3 * severity * float(rng.uniform(0.85, 1.1)))


def portal_hypertension(plan: BodyPlan, severity: float, rng: np.random.Generator) -> ShapeChange:
    """Widen the veins and lengthen their bends."""
    change = thin(plan, "portal_vein_and_splenic_vein", 1 + 0.6 * severity * float(rng.uniform(0.9, 1.1)))
    name = "portal_vein_and_splenic_vein"
    if name not in change.plan.organs:
        return change
    organ = change.plan.organs[name]
    bent = scaled(organ, centre_of(organ), (1.0, 1 + 0.25 * severity, 1 + 0.25 * severity))
    return replace(change, plan=change.plan.with_organs(bent), size_mm=13 + 8 * severity)


def cirrhosis(plan: BodyPlan, severity: float, rng: np.random.Generator) -> ShapeChange:
    """Flatten the liver from above and narrow it."""
    low = 1 - 0.16 * severity * float(rng.uniform(0.85, 1.1))
    return grow(plan, ("liver",), "liver", (1 - 0.07 * severity, 1 - 0.05 * severity, low))


SHAPERS: dict[str, Shaper] = {
    "heart.cardiomegaly": cardiomegaly,
    "spleen.splenomegaly": splenomegaly,
    "kidney.atrophy": kidney_atrophy,
    "pancreas.atrophy": pancreas_atrophy,
    "pancreas.pancreatitis": pancreas_swelling,
    "portal_vein.hypertension": portal_hypertension,
    "liver.cirrhosis": cirrhosis,
}
