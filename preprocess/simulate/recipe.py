"""How a drawing becomes a painter: sides are drawn, boxes opened, and what changed is written down as a lesion."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocess.simulate.area import Area, open_area
from preprocess.simulate.scene import BodyPlan, Lesion, Mask, Scene, ShapeChange

_LEAST_CHANGE_HU = 0.02


@dataclass(frozen=True)
class Note:
    """What a report could say of a drawing: sub-part and size."""

    part: str | None = None
    size_mm: float | None = None


Draw = Callable[[Area, float, np.random.Generator], Note]
Painter = Callable[[Scene, float, np.random.Generator], Lesion | None]
Shaper = Callable[[BodyPlan, float, np.random.Generator], ShapeChange]


@dataclass(frozen=True)
class Recipe:
    """How one finding is painted.

    Attributes:
        structures: The organ; `{side}` in a name stands for left or right.
        draw: Paints into the area.
        margin_mm: How far round the organ the drawing reaches.
        both: For paired organs, the chance that both sides are drawn; None for single organs.
        whole: Whether the whole organ counts as the lesion, as in a change of size or density.
    """

    structures: tuple[str, ...]
    draw: Draw
    margin_mm: float = 15.0
    both: float | None = None
    whole: bool = False


def draw_sides(rng: np.random.Generator, both: float) -> dict[str, np.random.Generator]:
    """Return the sides drawn, each with a generator of its own; the first thing that a paired finding draws."""
    first = float(rng.uniform())
    seeds = rng.integers(0, 2**63, size=2)
    if first < both:
        sides: tuple[str, ...] = ("left", "right")
    else:
        sides = ("left",) if first < (1 + both) / 2 else ("right",)
    return {side: np.random.default_rng(seeds[("left", "right").index(side)]) for side in sides}


def painter(finding: str, recipe: Recipe) -> Painter:
    """Return the painter of one finding; it gives None where the organ is not on the canvas."""

    def paint(scene: Scene, severity: float, rng: np.random.Generator) -> Lesion | None:
        sides = {None: rng} if recipe.both is None else draw_sides(rng, recipe.both)
        areas, notes = [], []
        for side, source in sides.items():
            structures = tuple(name.format(side=side) for name in recipe.structures)
            area = open_area(scene, structures, margin_mm=recipe.margin_mm, side=side)
            if area is not None:
                notes.append(recipe.draw(area, severity, source))
                areas.append(area)
        return _lesion(finding, severity, areas, notes, whole=recipe.whole)

    return paint


def _changed(area: Area, *, whole: bool) -> Mask:
    changed = (np.abs(area.hu - area.hu_before) > _LEAST_CHANGE_HU) | (area.labels != area.labels_before)
    return np.asarray(changed | area.organ if whole else changed)


def _flat(area: Area, mask: Mask) -> NDArray[np.int64]:
    start = [s.start for s in area.where]
    z, y, x = (index + offset for index, offset in zip(np.nonzero(mask), start, strict=True))
    return np.asarray(np.ravel_multi_index((z, y, x), area.scene.hu.shape), np.int64)


def _lesion(finding: str, severity: float, areas: list[Area], notes: list[Note], *, whole: bool) -> Lesion | None:
    masks = [_changed(area, whole=whole) for area in areas]
    voxels = [_flat(area, mask) for area, mask in zip(areas, masks, strict=True)]
    change = np.concatenate([np.zeros(0)] + [(a.hu - a.hu_before)[m] for a, m in zip(areas, masks, strict=True)])
    if change.size == 0:
        return None
    sides = [area.side for area in areas]
    sizes = [note.size_mm for note in notes if note.size_mm is not None]
    return Lesion(
        finding=finding,
        severity=severity,
        voxels=np.unique(np.concatenate(voxels)),
        side="both" if len(sides) == 2 else sides[0],
        part=notes[0].part,
        size_mm=round(max(sizes), 1) if sizes else None,
        contrast_hu=float(change.mean()),
    )
