"""The box of the canvas in which one finding is painted, and places in it that are the same on every grid."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from preprocess.simulate.scene import Floats, Mask, Phase, Scene
from preprocess.simulate.shapes import Grid, Slices, Vector

_BIG_VOXELS = 250_000


@dataclass
class Area:
    """A box of the canvas around some structures.

    Attributes:
        scene: The canvas.
        where: The box, slices of (z, y, x).
        grid: Where its voxels lie.
        organ: The structures' voxels in the box when it was opened, (z, y, x) bool.
        side: "left" or "right" where a paired organ is painted.
        hu_before: Attenuation when it was opened.
        labels_before: Labels when it was opened.
        deep: Points of the organ by least depth, as `place` finds them.
        distances: The organ's distance fields, once asked for.
    """

    scene: Scene
    where: Slices
    grid: Grid
    organ: Mask
    side: str | None = None
    hu_before: Floats = field(init=False)
    labels_before: NDArray[np.uint8] = field(init=False)
    deep: dict[float, Vector] = field(init=False, default_factory=dict)
    distances: dict[str, Floats] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.hu_before = self.hu.copy()
        self.labels_before = self.labels.copy()

    @property
    def hu(self) -> Floats:
        """The canvas's attenuation in the box; writing to it paints."""
        return self.scene.hu[self.where]

    @property
    def labels(self) -> NDArray[np.uint8]:
        """The canvas's labels in the box; writing to it relabels."""
        return self.scene.labels[self.where]

    @property
    def phase(self) -> Phase:
        """Contrast phase of the series."""
        return self.scene.phase

    def plan_hu(self, structure: str, usual: float) -> float:
        """Return the attenuation in this phase of a structure of the body's plan, `usual` where the plan has none."""
        organ = self.scene.plan.organs.get(structure)
        return usual if organ is None else float(organ.hu[self.phase])

    def number(self, structure: str) -> int:
        """Return the label of a structure, 0 where the canvas has none."""
        return next((number for number, name in self.scene.names.items() if name == structure), 0)

    def mask(self, structures: Iterable[str]) -> Mask:
        """Return where the labels in the box are one of the structures now, (z, y, x)."""
        return _labelled(self.labels, self.scene, structures)

    def lumen(self, structures: Sequence[str]) -> Mask:
        """Return the hollow inside of structures; where the canvas names none, the organ without its outer voxel."""
        known = [self.scene.hollow[name][self.where] for name in structures if name in self.scene.hollow]
        if known:
            return np.asarray(np.logical_or.reduce(known) & self.organ)
        return np.asarray(ndimage.binary_erosion(self.organ))

    def free(self) -> Mask:
        """Return the unlabelled fat inside the body's cavities, into which lesions and fluid may spread."""
        fat = (self.labels == 0) & (self.hu > -250)
        inner = self.scene.hollow.get("inner_fat")
        return np.asarray(fat & (self.hu < -20) if inner is None else fat & inner[self.where])

    def soft(self) -> Mask:
        """Return where a growing lesion may push tissue aside: inner fat and organs, not bone, muscle or lung."""
        return np.asarray(self._kept(_FIRM) & (self.labels > 0) | self.free())

    def but_bone(self) -> Mask:
        """Return where there is no bone, lung or large artery, and no air outside the body; muscle is included."""
        return np.asarray(self._kept(_HARD) & (self.hu > -300) | self.organ)

    def _kept(self, names: tuple[str, ...]) -> Mask:
        firm = np.zeros(256, bool)
        firm[[n for n, name in self.scene.names.items() if name.startswith(names)]] = True
        return np.asarray(~firm[self.labels])


_HARD = (
    "vertebrae",
    "rib",
    "sacrum",
    "hip",
    "femur",
    "sternum",
    "lung",
    "aorta",
    "scapula",
    "clavicula",
    "humerus",
    "costal",
)
_FIRM = (*_HARD, "iliopsoas", "gluteus", "autochthon", "spinal_cord", "iliac", "trachea")


def _labelled(labels: NDArray[np.uint8], scene: Scene, structures: Iterable[str]) -> Mask:
    wanted = set(structures)
    found = np.zeros(labels.shape, bool)
    for number, name in scene.names.items():
        if name in wanted:
            found |= labels == number
    return found


def open_area(
    scene: Scene, structures: Sequence[str], *, margin_mm: float, side: str | None = None, least: int = 8
) -> Area | None:
    """Return the box round structures and `margin_mm` more, or None where fewer than `least` voxels are there."""
    mask = _labelled(scene.labels, scene, structures)
    slices = []
    for axis, size in enumerate(scene.spacing_mm):
        inside = np.flatnonzero(mask.any(axis=tuple(k for k in range(3) if k != axis)))
        if inside.size == 0:
            return None
        pad = int(np.ceil(margin_mm / size)) + 1
        slices.append(slice(max(int(inside[0]) - pad, 0), min(int(inside[-1]) + pad + 1, mask.shape[axis])))
    where = slices[0], slices[1], slices[2]
    organ = mask[where].copy()
    if int(organ.sum()) < least:
        return None
    whole = Grid(scene.affine, (mask.shape[0], mask.shape[1], mask.shape[2]))
    return Area(scene, where, whole.part(where), organ, side)


def mm_from(area: Area, mask: Mask) -> Floats:
    """Return each voxel's distance in mm from the surface of `mask`, 0 within it; not to be written to."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return _distance(area, mask, "from", ~mask)


def mm_within(area: Area, mask: Mask) -> Floats:
    """Return the depth in mm of each voxel below the surface of `mask`, 0 outside; not to be written to."""
    return _distance(area, mask, "within", mask)


def _distance(area: Area, mask: Mask, kind: str, inside: Mask) -> Floats:
    """Distance of the voxels of `inside` from the nearest other voxel's face; kept where `mask` is the organ."""
    if mask is area.organ and kind in area.distances:
        return area.distances[kind]
    far = ndimage.distance_transform_edt(inside, sampling=area.grid.spacing_mm)
    found = np.maximum(far - area.grid.step_mm / 2, 0).astype(np.float32)
    if mask is area.organ:
        area.distances[kind] = found
    return np.asarray(found)


def _deep(area: Area, mask: Mask, depth_mm: float) -> NDArray[np.float64]:
    """Return LPS points (n, 3) of the voxels whose cube of +-depth_mm lies in `mask`, or comes nearest to it."""
    stride = 2 if mask.size > _BIG_VOXELS else 1
    seen = mask[::stride, ::stride, ::stride]
    if depth_mm > 0:
        sizes = [1 + 2 * round(depth_mm / (size * stride)) for size in area.grid.spacing_mm]
        share = ndimage.uniform_filter(seen.astype(np.float32), sizes, mode="constant")
        best = float(share[seen].max()) if seen.any() else 0.0
        seen = seen & (share >= min(0.98, 0.93 * best))
    index = np.argwhere(seen).astype(float) * stride
    return np.asarray(index @ area.grid.affine[:3, :3].T + area.grid.affine[:3, 3])


def place(
    area: Area,
    rng: np.random.Generator,
    *,
    depth_mm: float = 0.0,
    low: ArrayLike = (0, 0, 0),
    high: ArrayLike = (1, 1, 1),
    mask: Mask | None = None,
) -> Vector:
    """Return a random point (L, P, S) inside `mask` (the organ by default), the same on another grid to about a voxel.

    `low` and `high` are shares over (L, P, S) of the mask's voxels: 0 is right, front, foot; 1 is left, back, head.
    """
    share = np.asarray(low) + (np.asarray(high) - np.asarray(low)) * rng.uniform(size=3)
    if mask is None or not mask.any():
        if depth_mm not in area.deep:
            area.deep[depth_mm] = _deep(area, area.organ, depth_mm)
        points = area.deep[depth_mm]
    else:
        points = _deep(area, mask, depth_mm)
    near = max(4.0, max(area.grid.spacing_mm))
    target = np.zeros(3)
    for axis in (2, 1, 0):
        target[axis] = np.quantile(points[:, axis], share[axis], method="nearest")
        points = points[np.abs(points[:, axis] - target[axis]) <= near]
    return target


def tip(area: Area, direction: ArrayLike, *, share: float = 0.03, mask: Mask | None = None) -> Vector:
    """Return the centre (L, P, S) of the `share` of the mask's voxels that lie farthest along a direction."""
    points = _deep(area, area.organ if mask is None else mask, 0)
    along = points @ np.asarray(direction, dtype=float)
    return np.asarray(points[along >= np.quantile(along, 1 - share)].mean(0))


def middle(area: Area, mask: Mask | None = None) -> Vector:
    """Return the centre of mass (L, P, S) of the mask."""
    return np.asarray(_deep(area, area.organ if mask is None else mask, 0).mean(0))


def extent_mm(area: Area, mask: Mask | None = None) -> Vector:
    """Return the mask's extent along (L, P, S) in mm, between its 2nd and 98th percentiles."""
    points = _deep(area, area.organ if mask is None else mask, 0)
    return np.asarray(np.quantile(points, 0.98, axis=0) - np.quantile(points, 0.02, axis=0))


def midline(area: Area, axis: int, *, mask: Mask | None = None, step_mm: float = 6.0) -> Vector:
    """Return the organ's centres of mass in slabs along L (0), P (1) or S (2), smoothed, (n, 3) with n >= 2."""
    points = _deep(area, area.organ if mask is None else mask, 0)
    along = points[:, axis]
    edges = np.arange(along.min(), along.max() + step_mm, step_mm)
    slab = np.clip(np.digitize(along, edges) - 1, 0, None)
    count = np.bincount(slab)
    line = np.stack([np.bincount(slab, points[:, k]) for k in range(3)], axis=1)[count > 0] / count[count > 0, None]
    if len(line) < 2:
        return np.stack([line[0] - 1.0, line[0] + 1.0])
    line[1:-1] = (line[:-2] + 2 * line[1:-1] + line[2:]) / 4
    return np.asarray(line)


def along(line: Vector, share: float) -> Vector:
    """Return the point at a share 0..1 of the way along a polyline (n, 3)."""
    index = float(np.clip(share, 0, 1)) * (len(line) - 1)
    return np.array([np.interp(index, np.arange(len(line)), axis) for axis in line.T])
