"""What the store keeps of two real CTs, held against independent readers and an independent interpolation.

    python -m benchmarks.real_ct [--data FOLDER]

FOLDER holds `real_ct/` (by default, CTVLP_SHARED_DATA). `ct.nii.gz` is read here by nibabel and interpolated by scipy,
the DICOM series is read by SimpleITK; nothing of `preprocess` but its stored crops is used. Exit status 1 if a figure
misses its mark.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import SimpleITK
from scipy.ndimage import gaussian_filter1d, map_coordinates
from totalsegmentator.map_to_binary import class_map

from preprocess.crops import Crop
from preprocess.pipeline import preprocess_archive
from preprocess.readers_dicom import read_dicom
from preprocess.store import Store
from preprocess.vocabulary import Anatomy
from preprocess.vocabulary_files import load_anatomies

WHOLE_BODY = "ct.nii.gz"
"""The case whose organs have to keep volume and centre; the other is a slab of 40 mm that cuts slices of most."""
CASES = ((WHOLE_BODY, "totalseg_v2.nii.gz"), ("dicom", "dicom_totalseg_v2.nii.gz"))
TRUNCATED = {"colon", "liver", "lung", "spleen", "stomach"}
ABSENT = {"heart", "esophagus"}
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Source:
    """A volume as an independent reader gives it: arrays (i, j, k) in the file's own axis order."""

    hu: npt.NDArray[np.float64]
    labels: npt.NDArray[np.uint8]
    affine: npt.NDArray[np.float64]
    """Index (i, j, k, 1) to LPS mm."""
    labels_affine: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """What is compared for one crop."""

    image_hu: float
    agreement: float
    volume: float
    centre_voxels: float


def read_source(image: Path, mask: Path) -> Source:
    """Read image and labels by nibabel, or a DICOM folder by SimpleITK."""
    labels = nibabel.load(mask)
    if image.is_dir():
        files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(image))
        volume = SimpleITK.ReadImage(files)
        hu = SimpleITK.GetArrayFromImage(volume).transpose(2, 1, 0)
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(volume.GetDirection(), (3, 3)) * volume.GetSpacing()
        affine[:3, 3] = volume.GetOrigin()
    else:
        nifti = nibabel.load(image)
        hu, affine = np.asarray(nifti.dataobj), LPS_FROM_RAS @ nifti.affine
    return Source(
        hu.astype(np.float64), np.asarray(labels.dataobj).astype(np.uint8), affine, LPS_FROM_RAS @ labels.affine
    )


def compare(source: Source, crop: Crop, structures: tuple[str, ...]) -> Figures:
    """Compare one crop to its source at the world coordinates that its affine gives its voxels."""
    spacing = np.linalg.norm(source.affine[:3, :3], axis=0)
    along = np.abs(np.linalg.inv(source.affine)[:3, :3] @ crop.affine[:3, :3])  # source voxels a crop voxel, by axes
    smooth = source.hu
    for axis in range(3):
        factor = along[axis].max()
        if factor > 1 + 1e-6:
            smooth = gaussian_filter1d(smooth, (factor - 1) / 2, axis=axis, truncate=4, mode="nearest")
    index = np.indices(crop.image.shape).reshape(3, -1)
    world = crop.affine[:3, :3] @ index + crop.affine[:3, 3:]
    image = map_coordinates(smooth, to_index(source.affine, world), order=1, mode="nearest")
    label = map_coordinates(source.labels, to_index(source.labels_affine, world), order=0, mode="nearest")
    numbers = [number for number, name in class_map["total"].items() if name in structures]
    organ = ((crop.mask > 0) & (crop.mask < 255)).ravel()
    inside = np.isin(source.labels, numbers)
    volume_ml = inside.sum() * abs(np.linalg.det(source.labels_affine[:3, :3])) / 1000
    crop_ml = organ.sum() * abs(np.linalg.det(crop.affine[:3, :3])) / 1000
    centre = source.labels_affine[:3, :3] @ np.argwhere(inside).mean(axis=0) + source.labels_affine[:3, 3]
    shift = to_index(source.affine, world[:, organ].mean(axis=1)[:, None]) - to_index(source.affine, centre[:, None])
    return Figures(
        image_hu=float(np.abs(image - crop.image.ravel()).max()),
        agreement=float((organ == np.isin(label, numbers)).mean()),
        volume=crop_ml / volume_ml - 1,
        centre_voxels=float(np.linalg.norm(shift.ravel() * spacing) / spacing.min()),
    )


def to_index(affine: npt.NDArray[np.float64], world: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return fractional indices (3, n) of LPS points (3, n)."""
    return np.linalg.solve(affine[:3, :3], world - affine[:3, 3:])


def check_case(folder: Path, image: str, mask: str) -> Iterator[bool]:
    """Preprocess one case, print its figures, and yield whether each reaches its mark."""
    source = read_source(folder / image, folder / mask)
    anatomies = load_anatomies()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "store"
        summary = preprocess_archive(folder / image, out, masks=folder / mask, workers=1)
        print(f"\n{image}: {summary.done} study done, {summary.failed} failed")
        store = Store(out)
        with store.open_study(store.study_ids()[0]) as study:
            crops = {name: study.crop("v0", name) for name in anatomies}
    print(f"{'anatomy':16s} {'extent':10s} {'cut':>5s} {'ml':>8s} {'spacing':>18s} {'|HU|':>6s} {'mask':>7s} "
          f"{'volume':>8s} {'centre':>7s}")  # fmt: skip
    for name, crop in crops.items():
        yield print_crop(source, crop, anatomies[name], whole_body=image == WHOLE_BODY)
    if image == WHOLE_BODY:
        yield {name for name, crop in crops.items() if crop.extent == "truncated"} == TRUNCATED
        yield {name for name, crop in crops.items() if crop.extent == "absent"} == ABSENT
    yield len({crop.spacing_mm for crop in crops.values() if crop.image is not None}) >= 3
    if (folder / image).is_dir():
        yield same_hu(folder / image, source)


def print_crop(source: Source, crop: Crop, anatomy: Anatomy, *, whole_body: bool) -> bool:
    """Print one row; return whether it reaches its marks."""
    if crop.image is None:
        print(f"{anatomy.name:16s} {crop.extent:10s}")
        return True
    figures = compare(source, crop, anatomy.structures)
    good = figures.image_hu <= 1 and figures.agreement >= 0.995
    if whole_body:
        good &= abs(figures.volume) <= (0.02 if crop.volume_ml > 20 else 0.06) and figures.centre_voxels <= 0.5
    spacing = " ".join(f"{step:.2f}" for step in crop.spacing_mm)
    print(
        f"{anatomy.name:16s} {crop.extent:10s} {crop.cut_fraction:5.2f} {crop.volume_ml:8.1f} {spacing:>18s} "
        f"{figures.image_hu:6.2f} {figures.agreement:7.2%} {figures.volume:8.2%} {figures.centre_voxels:7.2f}"
        f"{'' if good else '   <--'}"
    )
    return good


def same_hu(folder: Path, source: Source) -> bool:
    """Print whether the DICOM reader's HU equal SimpleITK's, voxel for voxel, at the same places."""
    volume = read_dicom(sorted(folder.iterdir()))
    index = np.indices(volume.shape).reshape(3, -1)
    world = volume.affine[:3, :3] @ index + volume.affine[:3, 3:]
    i, j, k = np.rint(to_index(source.affine, world)).astype(int)
    away = np.abs(to_index(source.affine, world) - (i, j, k)).max()
    different = int((source.hu[i, j, k] != volume.hu.ravel()).sum())
    print(f"HU that differ from SimpleITK's: {different} of {volume.hu.size} voxels, places off by {away:.1e} voxels")
    return different == 0 and away < 1e-3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("CTVLP_SHARED_DATA", "../shared/data"))
    folder = parser.parse_args().data / "real_ct"
    results = [good for image, mask in CASES for good in check_case(folder, image, mask)]
    print(f"\n{sum(results)} of {len(results)} marks reached")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
