"""A simulated study that is to be made messy: its files, its CT series, and ways to read and change them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian

from preprocess.simulate.dicom import build_uid

Hu = NDArray[np.int16]
Affine = NDArray[np.float64]


@dataclass(frozen=True)
class MessyStudy:
    """What a case works on.

    Attributes:
        folder: Of the study, with one folder a series; a case may replace it by one file `volume.*` beside it.
        mask: Its label map.
        primary: Folder of the series that the label map was made from.
        rng: Source of chance.
    """

    folder: Path
    mask: Path
    primary: Path
    rng: np.random.Generator


@dataclass(frozen=True)
class Slices:
    """One CT series in memory.

    Attributes:
        paths: Files along the slices' normal.
        files: Their datasets, in the same order.
        hu: (z, y, x) as the files state it.
        affine: Index (z, y, x) to LPS mm.
    """

    paths: list[Path]
    files: list[Any]
    hu: Hu
    affine: Affine


def read_slices(folder: Path) -> Slices:
    """The series of a folder, sorted along its normal."""
    pairs = [(path, pydicom.dcmread(path)) for path in sorted(folder.iterdir())]
    columns, rows = np.array(pairs[0][1].ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    normal = np.cross(columns, rows)
    pairs.sort(key=lambda pair: float(np.array(pair[1].ImagePositionPatient, dtype=np.float64) @ normal))
    files = [file for _, file in pairs]
    places = np.array([file.ImagePositionPatient for file in files], dtype=np.float64)
    spacing = [float(value) for value in files[0].PixelSpacing]
    affine = np.eye(4)
    affine[:3, 0] = (places[-1] - places[0]) / max(len(files) - 1, 1)
    affine[:3, 1], affine[:3, 2], affine[:3, 3] = rows * spacing[0], columns * spacing[1], places[0]
    hu = [file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept) for file in files]
    return Slices([path for path, _ in pairs], files, np.rint(hu).astype(np.int16), affine)


def ct_folders(study: MessyStudy) -> list[Path]:
    """Folders of the CT series, without localizers, the primary one first."""
    found = []
    for folder in sorted(path for path in study.folder.iterdir() if path.is_dir()):
        first = pydicom.dcmread(next(iter(sorted(folder.iterdir()))), stop_before_pixels=True)
        if "LOCALIZER" not in first.ImageType:
            found.append(folder)
    return sorted(found, key=lambda folder: (folder != study.primary, folder))


def all_files(study: MessyStudy) -> list[Path]:
    """All files below the study's folder, sorted."""
    return sorted(path for path in study.folder.rglob("*") if path.is_file())


def change_headers(study: MessyStudy, change: Callable[[Any], None]) -> None:
    """Changes every file of the study and writes it back, encoded as its meta header then says."""
    for path in all_files(study):
        file = pydicom.dcmread(path)
        list(file.iterall())  # decoded now, not later under another encoding
        change(file)
        syntax = file.file_meta.TransferSyntaxUID
        pydicom.dcmwrite(path, file, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)


def change_series(study: MessyStudy, change: Callable[[Slices], None]) -> None:
    """Changes the datasets of each CT series and writes them back."""
    for folder in ct_folders(study):
        slices = read_slices(folder)
        change(slices)
        for path, file in zip(slices.paths, slices.files, strict=True):
            file.save_as(path)


def store_pixels(file: Any, stored: NDArray[Any], *, slope: float = 1, intercept: float = 0) -> None:
    """Replaces a slice's pixels (row, column) by signed 16-bit values, uncompressed, with their scale."""
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.Rows, file.Columns = stored.shape
    file.BitsAllocated = file.BitsStored = 16
    file.HighBit, file.PixelRepresentation = 15, 1
    file.RescaleSlope, file.RescaleIntercept = f"{slope:g}", f"{intercept:g}"
    file.PixelData = np.ascontiguousarray(stored.astype("<i2")).tobytes()


def place(file: Any, affine: Affine, index: int) -> None:
    """Writes the place of slice `index` of a stack into its header."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    unit = affine[:3, :3] / spacing
    file.ImagePositionPatient = [f"{value:.5f}" for value in affine[:3, 3] + affine[:3, 0] * index]
    file.ImageOrientationPatient = [f"{value:.8f}" for value in (*unit[:, 2], *unit[:, 1])]
    file.PixelSpacing = [f"{spacing[1]:.6f}", f"{spacing[2]:.6f}"]


def write_copy(study: MessyStudy, name: str, hu: Hu, affine: Affine, like: Any, **tags: Any) -> Path:
    """Writes a further series (z, y, x) into the study, with the header of one of its slices and changed tags."""
    folder = study.folder / f"{name}"
    folder.mkdir()
    uid = build_uid(like.SeriesInstanceUID, name)
    for index, plane in enumerate(hu):
        file = pydicom.dcmread(like.filename)
        store_pixels(file, plane)
        place(file, affine, index)
        instance = build_uid(uid, index)
        file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = instance
        file.SeriesInstanceUID, file.InstanceNumber = uid, index + 1
        for tag, value in tags.items():
            setattr(file, tag, value)
        file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID
        file.save_as(folder / f"IM{index + 1:05d}.dcm")
    return folder


def flip_mask(study: MessyStudy, axis: int) -> None:
    """Reverses the label map along an axis of (z, y, x); its affine stays, as that of a wrong header does."""
    image: Any = nibabel.load(study.mask)
    labels = np.flip(np.asanyarray(image.dataobj), 2 - axis)
    nibabel.save(nibabel.Nifti1Image(labels, image.affine, image.header), study.mask)


def remove(paths: Sequence[Path]) -> None:
    """Deletes files."""
    for path in paths:
        path.unlink()
