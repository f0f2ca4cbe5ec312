"""Masks as a segmenter gives them: the true labels with the failures that real networks show, at stated rates."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.simulate.fields import noise
from preprocess.simulate.scene import Lesion, Scene

Labels = NDArray[np.uint8]
LUNG_FLUID = ("lung.pleural_effusion",)
LUNG_DENSE = ("lung.pneumonia", "lung.atelectasis")
MASSES = (
    "adrenal_gland.metastasis", "adrenal_gland.nodule", "colon.colorectal_cancer", "colon.rectal_cancer",
    "esophagus.cancer", "liver.abscess", "liver.cancer", "liver.cyst", "liver.hemangioma", "liver.metastasis",
    "pancreas.cancer", "spleen.hemangioma", "spleen.infarction", "stomach.cancer",
)  # fmt: skip


@dataclass(frozen=True)
class FailureRates:
    """How often a segmenter fails, and how far.

    Attributes:
        jitter_mm: Standard deviation of the smooth displacement of all borders.
        missing: Structure to the chance that it is not found at all.
        fluid_left_out: Chance that a pleural effusion is left out of the lobes.
        dense_left_out: Chance that a part of a consolidated or collapsed lung is left out of the lobes.
        mass_missed: Chance that a part of a focal lesion is left out of its organ.
        missed_share: Range of the part that is left out, of the lesion's voxels.
        cyst_told: Chance that a renal cyst gets the label `kidney_cyst_*` instead of the kidney's.
        leak: Chance that an organ leaks into its surroundings.
        leaking: Structures that leak.
        leak_mm: Range of a leak's radius.
        swap: Chance that a part of a structure gets the label of its neighbour.
        swapped: Pairs (structure, label it gets).
        swap_mm: Range of a swap's radius.
    """

    jitter_mm: float = 1.1
    missing: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType(
            {"gallbladder": 0.05, "adrenal_gland_left": 0.05, "adrenal_gland_right": 0.05}
        )
    )
    fluid_left_out: float = 0.95
    dense_left_out: float = 0.6
    mass_missed: float = 0.4
    missed_share: tuple[float, float] = (0.15, 0.7)
    cyst_told: float = 0.5
    leak: float = 0.3
    leaking: tuple[str, ...] = (
        "liver", "spleen", "stomach", "kidney_left", "kidney_right", "colon", "small_bowel", "duodenum", "pancreas",
        "heart", "urinary_bladder", "esophagus",
    )  # fmt: skip
    leak_mm: tuple[float, float] = (8.0, 20.0)
    swap: float = 0.3
    swapped: tuple[tuple[str, str], ...] = (
        ("small_bowel", "colon"), ("colon", "small_bowel"), ("duodenum", "small_bowel"), ("stomach", "colon"),
        ("lung_upper_lobe_left", "lung_lower_lobe_left"), ("lung_middle_lobe_right", "lung_upper_lobe_right"),
        ("lung_lower_lobe_right", "lung_upper_lobe_right"), ("stomach", "duodenum"), ("sacrum", "vertebrae_L5"),
    )  # fmt: skip
    swap_mm: tuple[float, float] = (8.0, 22.0)


RATES = FailureRates()


@dataclass(frozen=True)
class Failure:
    """One failure of the segmenter.

    Attributes:
        kind: `missing`, `fluid_left_out`, `dense_left_out`, `mass_missed`, `cyst_told`, `leak` or `swap`.
        structure: Structure or finding that it happened to.
        voxels: How many labels it changed, before the borders' jitter.
    """

    kind: str
    structure: str
    voxels: int


def segment_like(
    scene: Scene, lesions: Collection[Lesion], rng: np.random.Generator, rates: FailureRates = RATES
) -> tuple[Labels, list[Failure]]:
    """Return labels as a segmenter would give them, and in what they fail.

    Args:
        scene: The drawn study with its true labels.
        lesions: What was drawn into it.
        rng: Source of chance.
        rates: How often and how far it fails.

    Returns:
        (z, y, x) uint8 in the scene's numbers, and the failures.
    """
    labels = scene.labels.copy()
    numbers = {name: number for number, name in scene.names.items()}
    failures = [failure for lesion in lesions if (failure := _miss(labels, scene, lesion, numbers, rng, rates))]
    for structure, rate in rates.missing.items():
        if rng.random() < rate and (lost := labels == numbers[structure]).any():
            labels[lost] = 0
            failures.append(Failure("missing", structure, int(lost.sum())))
    if rng.random() < rates.leak:
        failures += _leak(labels, scene, numbers, rng, rates)
    if rng.random() < rates.swap:
        failures += _swap(labels, scene, numbers, rng, rates)
    bend = [noise(rng, labels.shape, scene.spacing_mm, 16.0) for _ in range(3)]
    steps = [np.float32(rates.jitter_mm / step) for step in scene.spacing_mm]
    return shift_labels(labels, *bend, *steps), failures


def _miss(
    labels: Labels,
    scene: Scene,
    lesion: Lesion,
    numbers: Mapping[str, int],
    rng: np.random.Generator,
    rates: FailureRates,
) -> Failure | None:
    """Leave a lesion, or a part of it, out of its organ; four draws whatever the finding."""
    chance, share, way = rng.random(), float(rng.uniform(*rates.missed_share)), rng.normal(size=3)
    voxels = lesion.voxels
    if lesion.finding in LUNG_FLUID and chance < rates.fluid_left_out:
        return _erase(labels, voxels, "fluid_left_out", lesion.finding)
    if lesion.finding in LUNG_DENSE and chance < rates.dense_left_out:
        dense = voxels[scene.hu.ravel()[voxels] > -400]
        return _erase(labels, _half(scene, dense, way, share), "dense_left_out", lesion.finding)
    if lesion.finding in MASSES and chance < rates.mass_missed:
        return _erase(labels, _half(scene, voxels, way, share), "mass_missed", lesion.finding)
    if lesion.finding == "kidney.cyst" and chance < rates.cyst_told:
        return _tell_cyst(labels, scene, voxels, numbers)
    return None


def _half(scene: Scene, voxels: NDArray[np.int64], way: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """Return the given share of the voxels, cut off by a plane across `way`."""
    if not len(voxels):
        return voxels
    place = np.stack(np.unravel_index(voxels, scene.labels.shape), axis=1) @ (way * scene.spacing_mm)
    return voxels[place >= np.quantile(place, 1 - share)]


def _erase(labels: Labels, voxels: NDArray[np.int64], kind: str, what: str) -> Failure | None:
    flat = labels.reshape(-1)
    lost = voxels[flat[voxels] > 0]
    flat[lost] = 0
    return Failure(kind, what, len(lost)) if len(lost) else None


def _tell_cyst(labels: Labels, scene: Scene, voxels: NDArray[np.int64], numbers: Mapping[str, int]) -> Failure | None:
    """Label the water of renal cysts as cysts, each on the side of its nearer kidney."""
    flat = labels.reshape(-1)
    water = voxels[np.abs(scene.hu.ravel()[voxels] - 8) < 22]
    if not len(water):
        return None
    left = scene.lps(np.stack(np.unravel_index(water, labels.shape), axis=1))[:, 0] > 0
    flat[water] = np.where(left, numbers["kidney_cyst_left"], numbers["kidney_cyst_right"])
    return Failure("cyst_told", "kidney.cyst", len(water))


def _ball(
    labels: Labels, scene: Scene, number: int, radius_mm: float, rng: np.random.Generator
) -> tuple[tuple[slice, slice, slice], NDArray[np.bool_]] | None:
    """Return the box and mask of a ball about a random voxel of a structure that has another one as a neighbour."""
    own = labels == number
    rim = np.zeros_like(own)
    rim[:, :, :-1] = own[:, :, :-1] & ~own[:, :, 1:]
    rim[:, :-1] |= own[:, :-1] & ~own[:, 1:]
    found = np.flatnonzero(rim)
    if not len(found):
        return None
    centre = np.unravel_index(int(found[int(rng.integers(len(found)))]), labels.shape)
    box, axes = [], []
    for middle, step, size in zip(centre, scene.spacing_mm, labels.shape, strict=True):
        reach = int(np.ceil(radius_mm / step))
        low, high = max(0, int(middle) - reach), min(size, int(middle) + reach + 1)
        box.append(slice(low, high))
        axes.append((np.arange(low, high) - int(middle)) * step)
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    return (box[0], box[1], box[2]), np.asarray(z**2 + y**2 + x**2 <= radius_mm**2)


def _leak(
    labels: Labels, scene: Scene, numbers: Mapping[str, int], rng: np.random.Generator, rates: FailureRates
) -> list[Failure]:
    """Let one organ grow into soft tissue beside it."""
    structure = rates.leaking[int(rng.integers(len(rates.leaking)))]
    ball = _ball(labels, scene, numbers[structure], float(rng.uniform(*rates.leak_mm)), rng)
    if ball is None:
        return []
    box, inside = ball
    hu = scene.hu[box]
    taken = inside & (labels[box] != numbers[structure]) & (hu > -150) & (hu < 250)
    labels[box][taken] = numbers[structure]
    return [Failure("leak", structure, int(taken.sum()))] if taken.any() else []


def _swap(
    labels: Labels, scene: Scene, numbers: Mapping[str, int], rng: np.random.Generator, rates: FailureRates
) -> list[Failure]:
    """Give a part of one structure the label of another."""
    structure, other = rates.swapped[int(rng.integers(len(rates.swapped)))]
    ball = _ball(labels, scene, numbers[structure], float(rng.uniform(*rates.swap_mm)), rng)
    if ball is None:
        return []
    box, inside = ball
    taken = inside & (labels[box] == numbers[structure])
    labels[box][taken] = numbers[other]
    return [Failure("swap", structure, int(taken.sum()))]


@njit(cache=True)
def shift_labels(labels, bend_z, bend_y, bend_x, step_z, step_y, step_x):  # type: ignore[no-untyped-def]  # numba
    """Return the labels with every voxel taken from a place nearby: borders wander, volumes stay about the same.

    Args:
        labels: (z, y, x) uint8.
        bend_z: (z, y, x) smooth unit noise.
        bend_y: Same.
        bend_x: Same.
        step_z: Displacement along z in voxels for a noise of one.
        step_y: Same along y.
        step_x: Same along x.
    """
    out = np.empty_like(labels)
    nz, ny, nx = labels.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                a = min(max(int(np.floor(z + bend_z[z, y, x] * step_z + 0.5)), 0), nz - 1)
                b = min(max(int(np.floor(y + bend_y[z, y, x] * step_y + 0.5)), 0), ny - 1)
                c = min(max(int(np.floor(x + bend_x[z, y, x] * step_x + 0.5)), 0), nx - 1)
                out[z, y, x] = labels[a, b, c]
    return out
