"""Findings that change an organ's size or form: the body's plan is changed before it is drawn."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from preprocess.simulate.paint import between
from preprocess.simulate.recipe import Shaper, draw_sides
from preprocess.simulate.scene import BodyPlan, Ellipsoid, Organ, Primitive, ShapeChange, Tube
from preprocess.simulate.shapes import Vector

HEART_PARTS = ("heart", "pericardial_fat", "heart_left_blood", "heart_right_blood", "atrial_appendage_left")


def centre_of(organ: Organ) -> Vector:
    """Return the mean of an organ's primitives, weighted by size, (L, P, S) mm."""
    centres, weights = [], []
    for shape in organ.shapes:
        if isinstance(shape, Ellipsoid):
            centres.append(np.asarray(shape.centre, float))
            weights.append(float(np.prod(shape.radii)))
        else:
            centres.append(np.asarray(shape.points, float).mean(0))
            weights.append(
                float(np.mean(shape.radii) ** 2 * np.linalg.norm(np.diff(shape.points, axis=0), axis=1).sum())
            )
    return np.average(np.array(centres), axis=0, weights=np.array(weights) + 1e-9)


def scaled(organ: Organ, about: Vector, factors: Sequence[float]) -> Organ:
    """Return the organ stretched about a point by factors along (L, P, S)."""
    stretch = np.asarray(factors, float)
    return replace(organ, shapes=tuple(_scaled(shape, about, stretch) for shape in organ.shapes))


def _scaled(shape: Primitive, about: Vector, stretch: Vector) -> Primitive:
    if isinstance(shape, Tube):
        points = about + (np.asarray(shape.points, float) - about) * stretch
        return Tube(points, np.asarray(shape.radii, float) * float(np.prod(stretch) ** (1 / 3)))
    centre = about + (np.asarray(shape.centre, float) - about) * stretch
    # own axes are stretched by how much each follows the patient's axes
    own = np.sqrt(((np.asarray(shape.rotation, float) * stretch[:, None]) ** 2).sum(0)) * np.asarray(shape.radii)
    left, back, head = centre.tolist()
    a, b, c = own.tolist()
    return Ellipsoid((left, back, head), (a, b, c), shape.rotation)


def thickened(organ: Organ, factor: float) -> Organ:
    """Return the organ with the radii of its tubes changed, their courses kept."""
    shapes = [
        Tube(s.points, np.asarray(s.radii, float) * factor)
        if isinstance(s, Tube)
        else _scaled(s, centre_of(organ), np.full(3, factor))
        for s in organ.shapes
    ]
    return replace(organ, shapes=tuple(shapes))


def grow(plan: BodyPlan, structures: Sequence[str], lead: str, factors: Sequence[float]) -> ShapeChange:
    """Stretch structures about the centre of one of them; a plan without it stays as it is."""
    if lead not in plan.organs:
        return ShapeChange(plan, ())
    about = centre_of(plan.organs[lead])
    present = [plan.organs[name] for name in structures if name in plan.organs]
    return ShapeChange(plan.with_organs(*(scaled(organ, about, factors) for organ in present)), (lead,))


def cardiomegaly(plan: BodyPlan, severity: float, rng: np.random.Generator) -> ShapeChange:
    """Enlarge the heart, most to the left."""
    factor = between(1.0, 1.42, severity) * float(rng.uniform(0.98, 1.02) if severity > 0 else 1)
    return grow(plan, HEART_PARTS, "heart", (factor, 0.5 + 0.5 * factor, factor))


def splenomegaly(plan: BodyPlan, severity: float, rng: np.random.Generator) -> ShapeChange:
    """Enlarge the spleen, most downwards and inwards."""
    factor = between(1.0, 1.6, severity)
    return grow(plan, ("spleen",), "spleen", (factor, 0.6 + 0.4 * factor, factor * float(rng.uniform(0.97, 1.05))))


def kidney_atrophy(plan: BodyPlan, severity: float, rng: np.random.Generator) -> ShapeChange:
    """Shrink one or both kidneys."""
    sides = draw_sides(rng, 0.3)
    for side, source in sides.items():
        factor = between(1.0, 0.55, severity) * float(source.uniform(0.97, 1.03) if severity > 0 else 1)
        parts = (f"kidney_{side}", f"kidney_medulla_{side}", f"renal_sinus_{side}")
        plan = grow(plan, parts, f"kidney_{side}", (factor, factor, factor)).plan
    word = "both" if len(sides) == 2 else next(iter(sides))
    return ShapeChange(plan, tuple(f"kidney_{side}" for side in sides), side=word)


def pancreas_atrophy(plan: BodyPlan, severity: float, rng: np.random.Generator) -> ShapeChange:
    """Thin the pancreas."""
    return thin(plan, "pancreas", between(1.0, 0.48, severity) * float(rng.uniform(0.97, 1.03)))


def pancreas_swelling(plan: BodyPlan, severity: float, rng: np.random.Generator) -> ShapeChange:
    """Swell the pancreas."""
    return thin(plan, "pancreas", between(1.0, 1.4, severity) * float(rng.uniform(0.97, 1.03)))


def thin(plan: BodyPlan, structure: str, factor: float) -> ShapeChange:
    """Change the radii of a structure's tubes."""
    if structure not in plan.organs:
        return ShapeChange(plan, ())
    return ShapeChange(plan.with_organs(thickened(plan.organs[structure], factor)), (structure,))


def portal_hypertension(plan: BodyPlan, severity: float, rng: np.random.Generator) -> ShapeChange:
    """Widen the portal and splenic vein."""
    factor = between(1.0, 1.75, severity) * float(rng.uniform(0.97, 1.03))
    change = thin(plan, "portal_vein_and_splenic_vein", factor)
    return replace(change, size_mm=14.0 * factor)


def cirrhosis(plan: BodyPlan, severity: float, rng: np.random.Generator) -> ShapeChange:
    """Shrink the right lobe and enlarge the left and the caudate lobe."""
    if "liver" not in plan.organs:
        return ShapeChange(plan, ())
    liver = plan.organs["liver"]
    right, left = between(1.0, 0.8, severity), between(1.0, 1.18, severity) * float(rng.uniform(0.98, 1.02))
    shapes = [_lobe(shape, centre_of(liver)[0], right, left) for shape in liver.shapes]
    return ShapeChange(plan.with_organs(replace(liver, shapes=tuple(shapes))), ("liver",))


def _lobe(shape: Primitive, middle_l: float, right: float, left: float) -> Primitive:
    where = np.asarray(shape.centre if isinstance(shape, Ellipsoid) else np.mean(shape.points, axis=0), float)
    factor = right if where[0] < middle_l else left
    return _scaled(shape, where, np.array([factor, factor, factor]))


SHAPERS: dict[str, Shaper] = {
    "heart.cardiomegaly": cardiomegaly,
    "spleen.splenomegaly": splenomegaly,
    "kidney.atrophy": kidney_atrophy,
    "pancreas.atrophy": pancreas_atrophy,
    "pancreas.pancreatitis": pancreas_swelling,
    "portal_vein.hypertension": portal_hypertension,
    "liver.cirrhosis": cirrhosis,
}
