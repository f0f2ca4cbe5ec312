"""What bodies and lesions are made of: primitives in millimetres, the plan of a body, and the canvas of one study."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Phase = Literal["native", "arterial", "portal"]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Ellipsoid:
    """A solid ellipsoid.

    Args:
        centre: (L, P, S) in mm.
        radii: Half axes in mm along the ellipsoid's own axes.
        rotation: 3x3 rotation from own axes to (L, P, S); identity by default.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    rotation: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))


@dataclass(frozen=True)
class Tube:
    """A solid tube: capsules along a polyline.

    Args:
        points: (n, 3) in mm, (L, P, S).
        radii: (n,) radius in mm at each point.
    """

    points: NDArray[np.float64]
    radii: NDArray[np.float64]


Primitive = Ellipsoid | Tube


@dataclass(frozen=True)
class Organ:
    """One TotalSegmentator structure of a body: the union of its primitives, with its attenuation.

    Args:
        structure: TotalSegmentator v2 name.
        shapes: Primitives; the organ is their union.
        hu: Mean attenuation in HU by phase.
        texture_hu: Standard deviation of the organ's own texture.
        content_hu: Attenuation of the lumen, for hollow organs; None for solid ones.
        wall_mm: Wall thickness of a hollow organ.
        priority: Where organs overlap, the higher one wins.
    """

    structure: str
    shapes: tuple[Primitive, ...]
    hu: dict[Phase, float]
    texture_hu: float = 8.0
    content_hu: float | None = None
    wall_mm: float = 3.0
    priority: int = 0


@dataclass(frozen=True)
class BodyPlan:
    """A body before it is drawn; shapers return a changed copy.

    Args:
        organs: Structure name to organ; bones, vessels and muscles that serve as background or companions too.
        trunk: The body's outline.
        warp_mm: Coarse displacement field (3, a, b, c) over `warp_box`, which bends all organs together.
        warp_box: ((L, P, S) low, (L, P, S) high) in mm.
        sex: "F" or "M".
        age_years: Age.
    """

    organs: dict[str, Organ]
    trunk: tuple[Primitive, ...]
    warp_mm: Floats
    warp_box: tuple[tuple[float, float, float], tuple[float, float, float]]
    sex: str
    age_years: int

    def with_organs(self, *changed: Organ) -> "BodyPlan":
        """Return a copy in which `changed` replace the organs of the same structure."""
        return replace(self, organs={**self.organs, **{organ.structure: organ for organ in changed}})


@dataclass
class Scene:
    """The canvas of one series of one study: true attenuation and true labels on one grid.

    `hu` holds clean attenuation with organ texture, before blur, noise and quantisation.

    Args:
        hu: (z, y, x) float32, HU.
        labels: (z, y, x) uint8; 0 nothing, k the structure `names[k]` (TotalSegmentator v2 numbers of task `total`).
        names: Number to structure name.
        affine: 4x4, index (z, y, x) to LPS mm; axes may be flipped or slightly oblique.
        phase: Contrast phase.
        plan: The body that was drawn.
        hollow: Structure to (z, y, x) boolean lumen mask of hollow organs.
    """

    hu: Floats
    labels: NDArray[np.uint8]
    names: dict[int, str]
    affine: NDArray[np.float64]
    phase: Phase
    plan: BodyPlan
    hollow: dict[str, Mask] = field(default_factory=dict)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size in mm, (z, y, x): the norms of the affine's columns."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    def mask(self, structures: str | Iterable[str]) -> Mask:
        """Return where the true labels are one of `structures`, (z, y, x) bool."""
        wanted = {structures} if isinstance(structures, str) else set(structures)
        numbers = [number for number, name in self.names.items() if name in wanted]
        return np.isin(self.labels, numbers)

    def lps(self, index: NDArray[Any]) -> NDArray[np.float64]:
        """Return the LPS mm of voxel indices (n, 3) in (z, y, x) order, (n, 3)."""
        return np.asarray(index @ self.affine[:3, :3].T + self.affine[:3, 3])

    def index(self, lps: NDArray[Any]) -> NDArray[np.float64]:
        """Return the fractional voxel indices (z, y, x) of LPS points (n, 3)."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(lps @ inverse[:3, :3].T + inverse[:3, 3])


@dataclass(frozen=True)
class ShapeChange:
    """What a shaper did: the changed plan, and what a report could say of it."""

    plan: BodyPlan
    structures: tuple[str, ...]
    side: str | None = None
    size_mm: float | None = None


@dataclass(frozen=True)
class Lesion:
    """One finding as drawn in one series.

    Args:
        finding: Id, `anatomy.finding`.
        severity: 0 (invisible) to 1 (plain).
        voxels: Flat indices into the canvas, int64: all voxels whose attenuation or label the finding changed, or the
            whole organ for a change of size or of density.
        side: "left", "right", "both" or None.
        part: Sub-part, such as a lobe or "tail", or None.
        size_mm: Largest extent that a report would give, or None.
        contrast_hu: Mean change of attenuation.
    """

    finding: str
    severity: float
    voxels: NDArray[np.int64]
    side: str | None = None
    part: str | None = None
    size_mm: float | None = None
    contrast_hu: float = 0.0
