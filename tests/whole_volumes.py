"""Whole volumes with organs as boxes, in memory and in a store on disk."""

from pathlib import Path
from typing import Any, Self

import numpy as np

from ctvlp.windows import OrganPlace, WholeVolume
from preprocess.crops import Crop, SourceGrid
from preprocess.manifest import write_manifest
from preprocess.store import StoredVolume, write_study
from preprocess.volume import LabelMap
from tests.screened_store import absent_crop
from tests.small_store import SmallStore, small_store, small_vocabulary

AFFINE = np.array([[0, 0, 1.0, -30], [0, 1.0, 0, 12], [3.0, 0, 0, 70], [0, 0, 0, 1]])
"""Of a volume of 3 x 1 x 1 mm."""
SHAPE = (20, 24, 40)

Boxes = dict[str, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]
"""Anatomy to first voxel and the one after the last, along z, y and x."""
BOXES: Boxes = {"liver": ((2, 7), (3, 11), (2, 17)), "kidney": ((12, 18), (10, 19), (20, 36))}


def box_volume(boxes: Boxes = BOXES, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> WholeVolume:
    """A volume of noise whose organs are boxes."""
    hu = np.random.default_rng(seed).normal(40, 30, shape).round().astype(np.int16)
    organs = {}
    for name, sides in boxes.items():
        z, y, x = (np.arange(low, high) for low, high in sides)
        organs[name] = OrganPlace(np.ones((len(z), len(y), len(x)), dtype=bool), (z, y, x))
    return WholeVolume(hu, organs)


def voxels_of(organ: OrganPlace) -> np.ndarray:
    """The voxels of a volume that hold an organ, (m, 3)."""
    places = np.argwhere(organ.mask)
    return np.stack([line[places[:, axis]] for axis, line in enumerate(organ.lines)], axis=1)


def box_crop(
    volume: WholeVolume, anatomy: str, affine: np.ndarray = AFFINE, step: tuple[int, int, int] = (1, 2, 2)
) -> Crop:
    """The crop of an organ with a rim of two voxels round it, on every `step`-th voxel of the volume's grid."""
    voxels = voxels_of(volume.organs[anatomy])
    low, high = voxels.min(axis=0) - 2, voxels.max(axis=0) + 3
    inside = np.zeros(volume.hu.shape, dtype=bool)
    inside[tuple(voxels.T)] = True
    rim = 8
    every = tuple(slice(a + rim, b + rim, s) for a, b, s in zip(low, high, step, strict=True))
    organ = np.pad(inside, rim)[every]
    own = affine @ np.diag([*step, 1.0])
    own[:3, 3] = affine[:3, :3] @ low + affine[:3, 3]
    spacing = np.linalg.norm(own[:3, :3], axis=0)
    return Crop(
        image=np.pad(volume.hu, rim, mode="edge")[every],
        mask=np.where(organ, 1, 255).astype(np.uint8),
        affine=own,
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        extent="complete",
        cut_fraction=0.0,
        volume_ml=float(organ.sum()) * float(spacing.prod()) / 1000,
        parts=(anatomy,),
        source_grid=SourceGrid(volume.hu.shape, affine),
    )


def write_volume_store(path: Path, *, studies: int = 4, keep: bool = True, split: str = "test") -> None:
    """Write a store of studies with a liver and a kidney, whose volumes are kept whole; the first one's kidney is absent."""
    for number in range(studies):
        volume = box_volume(seed=number)
        crops = {name: box_crop(volume, name) for name in small_vocabulary().anatomies}
        if number == 0:
            crops["kidney"] = absent_crop(crops["kidney"])
        labels = LabelMap(np.zeros((4, 4, 4), dtype=np.uint8), AFFINE, {5: "liver"})
        attributes = {"series": f"x{number}", "coverage_mm": [60.0, 24.0, 40.0], "flags": []}
        overview = volume.hu[::2, ::6, ::6], AFFINE @ np.diag([2, 6, 6, 1.0])
        whole = (volume.hu, AFFINE) if keep else None
        stored = StoredVolume(attributes, labels, overview, crops, whole)
        write_study(path, f"{number:03d}", {"patient_id": f"p{number}", "split": split}, {"v0": stored})
    write_manifest(path)


class VolumeStudy:
    """Stands in for a study's file: one volume, kept whole."""

    def __init__(self, volume: WholeVolume) -> None:
        self.volume = volume

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def array(self, volume: str, name: str) -> tuple[np.ndarray, np.ndarray]:
        assert (volume, name) == ("v0", "volume")
        return self.volume.hu, AFFINE

    def crop(self, volume: str, anatomy: str) -> Crop:
        return box_crop(self.volume, anatomy)

    def volume_attributes(self, volume: str) -> dict[str, Any]:
        return {"flags": []}


def volume_store(studies: int, **options: Any) -> SmallStore:
    """A small store whose studies are whole volumes; a fatty liver is less dense, as its report says."""
    store = small_store(studies, **options)
    for number, (study, labels) in enumerate(zip(store.studies, store.labels, strict=True)):
        volume = box_volume(seed=number)
        volume.hu[tuple(voxels_of(volume.organs["liver"]).T)] -= 200 * labels["liver.fatty_liver"]
        store.studies[study] = VolumeStudy(volume)  # type: ignore[assignment]
    return store
