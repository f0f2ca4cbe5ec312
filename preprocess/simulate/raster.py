"""Draw a body plan onto a voxel grid: labels and materials once, attenuation for each contrast phase."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from preprocess.simulate.boxes import Rows, build_rows
from preprocess.simulate.chest import LOBES
from preprocess.simulate.fields import divide, fill_depth, noise, plan_positions, stamp
from preprocess.simulate.scene import BodyPlan, Ellipsoid, Floats, Mask, Organ, Phase, Primitive, Scene
from preprocess.simulate.skeleton import MUSCLES
from preprocess.simulate.tissue import TISSUES

AIR_HU, GAS_HU, FAT_HU = -1000.0, -960.0, -104.0
OUTSIDE, SKIN, FAT = 0, 1, 2
FAR_MM = 1e3

WALLS = ("muscle_wall", "pleural_cavity", "lung_vessels", "abdominal_cavity", *LOBES)
"""Abdominal organs stay off these, off bones and off labelled muscles: they fill the cavity and take its shape."""
INSIDE: dict[str, tuple[str, ...]] = {
    # Drawn only over these, without changing the label.
    "lung_vessels": tuple(LOBES),
    "hepatic_veins": ("liver",),
    "portal_branches": ("liver",),
    "heart_left_blood": ("heart",),
    "heart_right_blood": ("heart",),
    "kidney_medulla_left": ("kidney_left",),
    "kidney_medulla_right": ("kidney_right",),
}
GAS: dict[str, tuple[float, float]] = {
    # Level below which, front to back in radii, a lumen holds gas: mean and swing along the organ.
    "stomach": (-0.35, 0.25),
    "duodenum": (-1.4, 0.5),
    "small_bowel": (-1.25, 0.5),
    "colon": (-0.25, 0.8),
    "esophagus": (-0.9, 0.8),
}
CONTENT_TEXTURE_HU = {"colon": 45.0, "stomach": 9.0, "small_bowel": 7.0}
INNER_FAT = (
    "abdominal_cavity", "mediastinum", "pericardial_fat", "renal_sinus_left", "renal_sinus_right", "adrenal_fat_left",
    "adrenal_fat_right",
)  # fmt: skip
"""Fat inside the body, named `inner_fat` among a scene's lumens: lesions grow into it, not under the skin."""
GUT_FLOOR = 10  # priority from which organs belong to the abdominal cavity
FREE = ("esophagus", "heart", "atrial_appendage_left")


@dataclass(frozen=True)
class Grid:
    """A voxel grid: number of voxels (z, y, x), and the affine from index to LPS mm."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) in mm."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)


@dataclass(frozen=True)
class Material:
    """One paint: mean HU by phase, and the texture's standard deviation."""

    hu: dict[Phase, float]
    texture_hu: float


@dataclass
class Drawing:
    """A body on a grid, before a phase gives it attenuation.

    Attributes:
        plan: What was drawn.
        grid: Where.
        labels: (z, y, x) uint8, TotalSegmentator v2 numbers.
        material: (z, y, x) uint16, indices into `materials`.
        materials: The paints.
        lumens: Structure to the indices of its contents.
        texture: (z, y, x) unit noise shared by all phases.
    """

    plan: BodyPlan
    grid: Grid
    labels: NDArray[np.uint8]
    material: NDArray[np.uint16]
    materials: list[Material]
    lumens: dict[str, list[int]]
    texture: Floats


@cache
def structure_numbers() -> dict[str, int]:
    """TotalSegmentator v2 structure names and their numbers in the task `total`."""
    path = Path(__file__).parent.parent / "data" / "structures.yaml"
    table = yaml.safe_load(path.read_text(encoding="utf-8"))["total_v2"]
    return {name: int(number) for number, name in table.items()}


def rasterise(plan: BodyPlan, grid: Grid, phase: Phase, rng_texture: np.random.Generator) -> Scene:
    """Draw a plan in one contrast phase.

    Args:
        plan: The body.
        grid: Where to draw it.
        phase: Contrast phase.
        rng_texture: Source of surface roughness, gas levels and texture.

    Returns:
        The clean scene, before blur and noise.
    """
    return colour(draw(plan, grid, rng_texture), phase)


def colour(drawing: Drawing, phase: Phase) -> Scene:
    """Give a drawing its attenuation in `phase`; scenes of one drawing share nothing that a painter changes."""
    mean = np.array([paint.hu[phase] for paint in drawing.materials], dtype=np.float32)
    spread = np.array([paint.texture_hu for paint in drawing.materials], dtype=np.float32)
    hu = spread[drawing.material]
    hu *= drawing.texture
    hu += mean[drawing.material]
    names = {number: name for name, number in structure_numbers().items()}
    lumens = {name: _is_any(drawing.material, paints) for name, paints in drawing.lumens.items()}
    return Scene(hu, drawing.labels.copy(), names, drawing.grid.affine, phase, drawing.plan, lumens)


def _is_any(material: NDArray[np.uint16], wanted: list[int]) -> Mask:
    found = material == wanted[0]
    for index in wanted[1:]:
        found |= material == index
    return np.asarray(found)


def draw(plan: BodyPlan, grid: Grid, rng: np.random.Generator) -> Drawing:
    """Draw labels and materials: outline first, then organs from the lowest priority to the highest."""
    spacing = grid.spacing_mm
    ripple = noise(rng, grid.shape, spacing, 14.0)
    swing = noise(rng, grid.shape, spacing, 45.0)
    texture = noise(rng, grid.shape, spacing, 7.0)
    texture += np.float32(0.5) * rng.standard_normal(grid.shape, dtype=np.float32)
    flat = dict.fromkeys(("native", "arterial", "portal"), FAT_HU)
    canvas = Drawing(
        plan=plan,
        grid=grid,
        labels=np.zeros(grid.shape, dtype=np.uint8),
        material=np.zeros(grid.shape, dtype=np.uint16),
        materials=[Material(dict.fromkeys(flat, AIR_HU), 0.0), _tissue("skin"), _tissue("fat")],  # type: ignore[arg-type]
        lumens={},
        texture=texture,
    )
    outline = Organ("trunk", plan.trunk, {}, content_hu=FAT_HU, wall_mm=2.0)
    organs = [outline, *sorted(plan.organs.values(), key=lambda organ: organ.priority)]
    positions = plan_positions(plan, grid.shape, grid.affine)
    rows = build_rows(plan, organs, grid.shape, grid.affine)
    indices: dict[str, list[int]] = {"trunk": [SKIN, FAT]}
    for organ, row in zip(organs, rows, strict=True):
        if organ.structure in LOBES:
            continue
        _draw_organ(canvas, organ, row, positions, ripple, swing, indices)
        if organ.structure == "pleural_cavity":
            _draw_lobes(canvas, positions, ripple, indices)
    return canvas


def _tissue(name: str) -> Material:
    native, arterial, portal, texture = TISSUES[name]
    return Material({"native": native, "arterial": arterial, "portal": portal}, texture)


def _draw_organ(
    canvas: Drawing,
    organ: Organ,
    rows: Rows,
    positions: Floats,
    ripple: Floats,
    swing: Floats,
    indices: dict[str, list[int]],
) -> None:
    if (rows.high <= rows.low).any():
        return
    if organ.structure != "trunk":
        _register(canvas, organ, indices)
    own = indices[organ.structure]
    size = tuple((rows.high - rows.low).tolist())
    depth = np.full(size, FAR_MM, dtype=np.float32)
    across = np.zeros(size, dtype=np.float32)
    fill_depth(
        depth,
        across,
        rows.low,
        positions,
        rows.ellipsoids,
        rows.ellipsoid_boxes,
        rows.capsules,
        rows.capsule_boxes,
        np.float32(max(rows.blend_mm, 1e-3)),
    )
    gas = GAS.get(organ.structure, (0.0, 0.0))
    label = -1 if organ.structure in INSIDE else structure_numbers().get(organ.structure, 0)
    content = own[1] if len(own) > 1 else -1
    air = own[2] if len(own) > 2 else -1
    paint = np.array([own[0], content, air, label, rows.rough_mm, organ.wall_mm, *gas], dtype=np.float32)
    stamp(
        depth, across, rows.low, ripple, swing, _allowed(organ, canvas, indices), canvas.material, canvas.labels, paint
    )


def _register(canvas: Drawing, organ: Organ, indices: dict[str, list[int]]) -> None:
    """Add the organ's paints: wall or whole, content, gas."""
    paints = [Material(organ.hu, organ.texture_hu)]
    if organ.content_hu is not None:
        flat: dict[Phase, float] = dict.fromkeys(organ.hu, organ.content_hu)
        paints.append(Material(flat, CONTENT_TEXTURE_HU.get(organ.structure, 4.0)))
        if organ.structure in GAS:
            paints.append(Material(dict.fromkeys(organ.hu, GAS_HU), 8.0))
    first = len(canvas.materials)
    canvas.materials.extend(paints)
    indices[organ.structure] = list(range(first, first + len(paints)))
    if organ.structure in INNER_FAT:
        canvas.lumens.setdefault("inner_fat", []).append(indices[organ.structure][-1])
    is_bone = organ.hu["native"] > 300
    if len(paints) > 1 and not is_bone and organ.structure in structure_numbers():
        canvas.lumens[organ.structure] = indices[organ.structure][1:]


def _allowed(organ: Organ, canvas: Drawing, indices: dict[str, list[int]]) -> NDArray[np.bool_]:
    """Which materials the organ may be painted over."""
    if organ.structure in INSIDE:
        allowed = np.zeros(len(canvas.materials), dtype=np.bool_)
        allowed[_of(indices, INSIDE[organ.structure])] = True
        return allowed
    allowed = np.ones(len(canvas.materials), dtype=np.bool_)
    if organ.structure == "trunk":
        return allowed
    allowed[OUTSIDE] = False
    if organ.priority == MUSCLES:
        allowed[[SKIN, FAT]] = False
    if organ.structure.startswith("rib_"):
        allowed[_of(indices, LOBES)] = False
    if organ.priority >= GUT_FLOOR and organ.structure not in FREE:
        allowed[[SKIN, FAT]] = False
        allowed[_of(indices, (name for name in WALLS if name != "abdominal_cavity"))] = False
        allowed[indices.get("abdominal_cavity", [FAT])[0]] = False
        solid = [name for name in indices if name.startswith(("rib_", "vertebrae_", "hip_", "sacrum", "autochthon_"))]
        allowed[_of(indices, solid)] = False
    return allowed


def _of(indices: dict[str, list[int]], names: Iterable[str]) -> list[int]:
    return [index for name in names for index in indices.get(name, [])]


def _draw_lobes(canvas: Drawing, positions: Floats, ripple: Floats, indices: dict[str, list[int]]) -> None:
    lobes = [canvas.plan.organs[name] for name in LOBES if name in canvas.plan.organs]
    for lobe in lobes:
        _register(canvas, lobe, indices)
    seeds = np.array([_centre(lobe.shapes[0]) for lobe in lobes], dtype=np.float32)
    materials = np.array([indices[lobe.structure][0] for lobe in lobes])
    numbers = np.array([structure_numbers()[lobe.structure] for lobe in lobes])
    space = indices["pleural_cavity"][0] if "pleural_cavity" in indices else -1
    divide(positions, seeds, space, materials, numbers, ripple, canvas.material, canvas.labels)


def _centre(shape: Primitive) -> tuple[float, float, float]:
    return shape.centre if isinstance(shape, Ellipsoid) else tuple(shape.points.mean(axis=0).tolist())
