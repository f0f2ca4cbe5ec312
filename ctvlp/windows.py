"""Windows of whole volumes: the piece that the volume encoder sees at once, and which patches hold an anatomy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ctvlp.augmentation import AugmentationSettings, augment_hu
from ctvlp.crop_kernels import PAD_HU, REGION_VALUE
from preprocess.errors import StoreError

if TYPE_CHECKING:
    from preprocess.crops import Crop
    from preprocess.geometry import Affine
    from preprocess.store import StudyFile

Shape = tuple[int, int, int]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class WindowGrid:
    """How large a window is, and how it is cut into patches.

    Attributes:
        shape: Voxels along (z, y, x).
        patch: Voxels of a patch along (z, y, x).

    Raises:
        ValueError: The shape is no multiple of the patch.
    """

    shape: Shape
    patch: Shape

    def __post_init__(self) -> None:
        if any(size < 1 or edge < 1 or size % edge for size, edge in zip(self.shape, self.patch, strict=True)):
            raise ValueError(f"a window of {self.shape} voxels cannot be cut into patches of {self.patch}")

    @property
    def counts(self) -> Shape:
        """Patches along (z, y, x)."""
        z, y, x = (size // edge for size, edge in zip(self.shape, self.patch, strict=True))
        return (z, y, x)


@dataclass(frozen=True)
class OrganPlace:
    """Where an organ lies in a volume.

    Attributes:
        mask: bool (a, b, c): its voxels on the grid of its crop, cut to the organ's box.
        lines: Along each axis the voxels of the volume nearest to those of the mask; ascending, within the volume.
    """

    mask: Bools
    lines: tuple[Ints, Ints, Ints]

    @property
    def box(self) -> Ints:
        """First voxel, and the one after the last, (2, 3)."""
        return np.array([[line[0] for line in self.lines], [line[-1] + 1 for line in self.lines]])

    def tokens(self, grid: WindowGrid, start: Ints) -> Bools:
        """Which patches of a window that holds all of it hold some of it, bool (T,)."""
        held, places = self.mask, []
        for axis, line in enumerate(self.lines):
            patches, first = np.unique((line - start[axis]) // grid.patch[axis], return_index=True)
            held = np.logical_or.reduceat(held, first, axis=axis)
            places.append(patches)
        tokens = np.zeros(grid.counts, dtype=np.bool_)
        tokens[np.ix_(*places)] = held
        return tokens.ravel()


@dataclass(frozen=True)
class WholeVolume:
    """A volume as the store keeps it whole, and where the organs of some anatomies lie in it.

    Attributes:
        hu: int16 (z, y, x).
        organs: Anatomy to the place of its organ.
    """

    hu: npt.NDArray[np.int16]
    organs: dict[str, OrganPlace]


@dataclass(frozen=True)
class Window:
    """A piece of a volume, filled up with air where it reaches beyond.

    Attributes:
        hu: int16 (z, y, x).
        tokens: Anatomy to which patches hold some of its organ, bool (T,), patches in the order (z, y, x); anatomies
            that the border of the window cuts are left out.
    """

    hu: npt.NDArray[np.int16]
    tokens: dict[str, Bools]


def read_volume(study: "StudyFile", volume: str, anatomies: Sequence[str]) -> WholeVolume:
    """Read a whole volume, and from the masks of its crops where organs lie.

    Args:
        study: The study.
        volume: Name of the volume.
        anatomies: Anatomies in view.

    Raises:
        StoreError: The store keeps no whole volume of this study, or it is damaged.
    """
    try:
        hu, affine = study.array(volume, "volume")
    except StoreError as error:
        raise StoreError(
            f"{error}; the volume encoder needs whole volumes: preprocess or recrop with keep=[volume]"
        ) from error
    return WholeVolume(hu, {name: _organ_place(study.crop(volume, name), affine, hu.shape) for name in anatomies})


def _organ_place(crop: "Crop", affine: "Affine", shape: tuple[int, ...]) -> OrganPlace:
    """Find a crop's organ in a volume whose axes are the crop's; its region where the organ is empty.

    Raises:
        ValueError: The crop is of an absent anatomy, its mask is empty, or its axes are not the volume's.
    """
    if crop.mask is None or crop.affine is None or not crop.mask.any():
        raise ValueError("an absent anatomy, or one with an empty mask, has no place in a volume")
    across = np.linalg.inv(affine) @ crop.affine
    steps = across[:3, :3].diagonal()
    if (np.abs(across[:3, :3] - np.diag(steps)) @ crop.mask.shape > 0.5).any() or (steps <= 0).any():
        raise ValueError("the axes of a crop and of its volume must be the same")
    organ = (crop.mask > 0) & (crop.mask < REGION_VALUE)
    organ = organ if organ.any() else crop.mask > 0
    sides, lines = [], []
    for axis, others in enumerate(((1, 2), (0, 2), (0, 1))):
        held = np.flatnonzero(organ.any(axis=others))
        index = np.arange(held[0], held[-1] + 1)
        sides.append(slice(held[0], held[-1] + 1))
        lines.append(np.rint(index * steps[axis] + across[axis, 3]).astype(np.int64).clip(0, shape[axis] - 1))
    return OrganPlace(organ[tuple(sides)], (lines[0], lines[1], lines[2]))


def cut_window(volume: WholeVolume, grid: WindowGrid, start: Sequence[int]) -> Window:
    """Cut a window out of a volume.

    Args:
        volume: The volume.
        grid: Size and patches.
        start: First voxel (z, y, x); negative where the window reaches beyond.
    """
    first = np.asarray(start, dtype=np.int64)
    last = first + np.asarray(grid.shape, dtype=np.int64)
    inner = tuple(slice(max(0, a), min(n, a + w)) for a, n, w in zip(start, volume.hu.shape, grid.shape, strict=True))
    outer = tuple(slice(part.start - a, part.stop - a) for part, a in zip(inner, start, strict=True))
    hu = np.full(grid.shape, PAD_HU, dtype=np.int16)
    hu[outer] = volume.hu[inner]
    whole = {name: organ for name, organ in volume.organs.items() if _holds(first, last, organ.box)}
    return Window(hu, {name: organ.tokens(grid, first) for name, organ in whole.items()})


def _holds(first: Ints, last: Ints, box: Ints) -> bool:
    return bool((box[0] >= first).all() and (box[1] <= last).all())


def draw_window(volume: WholeVolume, grid: WindowGrid, rng: np.random.Generator) -> Window:
    """Cut a window at a random place that holds one anatomy whole, drawn from those that fit into a window.

    Windows drawn from the whole volume would cut most anatomies of a long scan.
    """
    boxes = [organ.box for _, organ in sorted(volume.organs.items())]
    fitting = [box for box in boxes if (box[1] - box[0] <= grid.shape).all()]
    low, high = _starts(volume.hu.shape, grid.shape, fitting[int(rng.integers(len(fitting)))] if fitting else None)
    return cut_window(volume, grid, [int(start) for start in rng.integers(low, high + 1)])


def plan_windows(volume: WholeVolume, grid: WindowGrid) -> list[Window]:
    """Cut windows until every anatomy lies whole in at least one of them, neighbours together where they fit.

    An anatomy larger than `grid` gets a larger window. Each window lies in the middle of what it was cut for.
    """
    boxes = {name: organ.box for name, organ in volume.organs.items()}
    left = sorted(boxes, key=lambda name: (boxes[name][0, 0], name))
    windows = []
    while left:
        together = boxes[left[0]]
        room = np.maximum(grid.shape, together[1] - together[0])
        for name in left[1:]:
            joined = np.array([np.minimum(together[0], boxes[name][0]), np.maximum(together[1], boxes[name][1])])
            if (joined[1] - joined[0] <= room).all():
                together = joined
        z, y, x = (int(n) for n in -(-room // grid.patch) * grid.patch)
        fitted = replace(grid, shape=(z, y, x))
        low, high = _starts(volume.hu.shape, fitted.shape, together)
        windows.append(cut_window(volume, fitted, [int(start) for start in (low + high) // 2]))
        left = [name for name in left if name not in windows[-1].tokens]
    return windows


def draw_study_windows(
    study: "StudyFile",
    anatomies: Mapping[str, str],
    grid: WindowGrid,
    augmentation: AugmentationSettings,
    rng: np.random.Generator,
) -> tuple[list[Window], dict[str, int]]:
    """Draw one window of each volume from which a study's samples come; one that holds no anatomy whole is left out.

    Args:
        study: The study.
        anatomies: Anatomy to the name of the volume from which its sample is taken.
        grid: Size and patches of a window.
        augmentation: How much the attenuation is changed.
        rng: Draws places and changes.

    Returns:
        The windows, and anatomy to the number of its window; anatomies that their window cuts are left out.
    """
    windows: list[Window] = []
    number_of: dict[str, int] = {}
    for volume in sorted(set(anatomies.values())):
        mine = [name for name, place in anatomies.items() if place == volume]
        window = draw_window(read_volume(study, volume, mine), grid, rng)
        if window.tokens:
            number_of.update({name: len(windows) for name in window.tokens})
            windows.append(replace(window, hu=augment_hu(window.hu, augmentation, rng)[0]))
    return windows, number_of


def _starts(volume: Sequence[int], window: Sequence[int], box: Ints | None) -> tuple[Ints, Ints]:
    """First and last start (3,) of a window that lies in a volume and holds a box, if one is given.

    Along an axis on which the volume is smaller than the window, it lies in the window's middle.
    """
    spare = np.asarray(volume) - window
    low, high = np.zeros_like(spare), spare
    if box is not None:
        low, high = np.maximum(low, box[1] - window), np.minimum(high, box[0])
    middle = -(-spare // 2)
    return np.where(spare > 0, low, middle), np.where(spare > 0, high, middle)
