"""A CT volume in Hounsfield units and a label map, each with its place in the patient."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from preprocess.geometry import Affine, spacing_mm
from preprocess.label_places import LabelPlaces, find_places

Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def _check_grid(array: npt.NDArray[np.generic], affine: Affine, what: str) -> None:
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"{what} must have three axes (z, y, x) and no empty one; its shape is {array.shape}")
    if affine.shape != (4, 4):
        raise ValueError(f"the affine of {what} must be 4x4; its shape is {affine.shape}")


@dataclass(frozen=True)
class Volume:
    """Pixels of one series in Hounsfield units, on canonical axes.

    Attributes:
        hu: int16 (z, y, x); z grows towards the head, y towards the back, x towards the patient's left.
        affine: 4x4 float64, voxel index (z, y, x, 1) to patient LPS millimetres (L, P, S, 1).
        hu_source: How the file's numbers became HU, e.g. `dicom rescale` or `nifti scl_slope`.
        flags: What a reader noticed and tolerated, in words.
    """

    hu: npt.NDArray[np.int16]
    affine: Affine
    hu_source: str = "unknown"
    flags: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        _check_grid(self.hu, self.affine, "a volume")
        if self.hu.dtype != np.int16:
            raise ValueError(f"a volume holds int16 HU, not {self.hu.dtype}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        return (self.hu.shape[0], self.hu.shape[1], self.hu.shape[2])

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (z, y, x), in millimetres."""
        return spacing_mm(self.affine)

    @property
    def coverage_mm(self) -> tuple[float, float, float]:
        """Extent of all voxels along (z, y, x), in millimetres."""
        z, y, x = (n * step for n, step in zip(self.shape, self.spacing_mm, strict=True))
        return (z, y, x)


@dataclass(frozen=True)
class LabelMap:
    """A segmenter's structures, one number a voxel, on canonical axes.

    Attributes:
        labels: uint8 or uint16 (z, y, x); 0 is nothing.
        affine: 4x4 float64, voxel index (z, y, x, 1) to patient LPS millimetres; need not be an image's affine.
        names: Structure name of every number that can occur.
    """

    labels: Labels
    affine: Affine
    names: Mapping[int, str]

    def __post_init__(self) -> None:
        _check_grid(self.labels, self.affine, "a label map")
        if self.labels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"a label map holds uint8 or uint16, not {self.labels.dtype}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        return (self.labels.shape[0], self.labels.shape[1], self.labels.shape[2])

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (z, y, x), in millimetres."""
        return spacing_mm(self.affine)

    @cached_property
    def places(self) -> LabelPlaces:
        """How often and where each number occurs, found on first use: the labels must not change afterwards."""
        return find_places(self.labels)

    def changed(self, *, affine: Affine | None = None, names: Mapping[int, str] | None = None) -> "LabelMap":
        """The same labels, and what is known of their places, with another affine or other names."""
        other = LabelMap(self.labels, self.affine if affine is None else affine, self.names if names is None else names)
        if "places" in self.__dict__:
            other.__dict__["places"] = self.places
        return other

    def number(self, structure: str) -> int | None:
        """Number of a structure, or None where the segmenter does not know it."""
        return next((number for number, name in self.names.items() if name == structure), None)
