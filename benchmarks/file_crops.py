"""Crops kept as gzip NIfTI, as a whole volume or one by one: what `benchmarks.loader` holds the store against."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from benchmarks.study_speed import IMAGE, MASK
from preprocess.crops import Crop
from preprocess.store import Store


class FileStudy:
    """A study whose crops are read from NIfTI files instead of the store, each time anew."""

    def __init__(self, files: Path, crops: dict[str, Crop], *, whole: bool) -> None:
        self.files, self.crops, self.whole = files, crops, whole

    def __enter__(self) -> "FileStudy":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def crop(self, volume: str, anatomy: str) -> Crop:
        """Read a crop, whole from its own files or as a slice of the volume's."""
        stored = self.crops[anatomy]
        if not self.whole:
            image, mask = (read_nifti(self.files / f"{anatomy}_{kind}.nii.gz") for kind in ("image", "mask"))
            return replace(stored, image=image, mask=mask)
        for name in (IMAGE, MASK):
            read_slice(self.files / name, stored)
        return stored


def read_nifti(path: Path) -> Any:
    """Read an array with nibabel, (z, y, x)."""
    return np.asarray(nibabel.load(path).dataobj).T  # type: ignore[attr-defined]


def read_slice(path: Path, crop: Crop) -> Any:
    """Read a whole volume with nibabel and return what lies in a crop's box, (z, y, x) on the file's axes."""
    if crop.image is None or crop.affine is None:
        raise ValueError("an absent anatomy has no box")
    stored: Any = nibabel.load(path)  # type: ignore[attr-defined]
    affine = np.diag([-1, -1, 1, 1]) @ stored.affine[:, [2, 1, 0, 3]]  # from RAS of (x, y, z) to LPS of (z, y, x)
    across = np.linalg.solve(affine, crop.affine)
    corners = np.array([[0, 0, 0], crop.image.shape]) - 0.5  # voxel edges
    edges = np.sort(corners @ across[:3, :3].T + across[:3, 3], axis=0) + 0.5
    low, high = np.rint(edges).astype(int)
    return np.ascontiguousarray(np.asarray(stored.dataobj).T[tuple(map(slice, low, high))])


class FileStore:
    """Stands in for a store; all its studies have the same files."""

    def __init__(self, store: Store, files: Path, *, whole: bool) -> None:
        with store.open_study("study") as study:
            crops = {name: study.crop("v0", name) for name in study.anatomies("v0")}
        self.study = FileStudy(files, crops, whole=whole)

    def open_study(self, study_id: str) -> FileStudy:
        """Return the study, whatever its name."""
        return self.study


def write_crops(store: Store, files: Path) -> None:
    """Write two NIfTI files a crop, beside those of the whole volume."""
    with store.open_study("study") as study:
        for name in study.anatomies("v0"):
            crop = study.crop("v0", name)
            for kind, array in (("image", crop.image), ("mask", crop.mask)):
                if array is not None:
                    nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), files / f"{name}_{kind}.nii.gz")  # type: ignore[attr-defined,no-untyped-call]
