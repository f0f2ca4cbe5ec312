"""Messy cases of headers: identifiers that are empty or repeated, and places that are wrong, skewed or uneven."""

from typing import Any

import nibabel
import numpy as np
from scipy.ndimage import affine_transform

from preprocess.simulate.dicom import build_uid
from preprocess.simulate.messy_study import (
    MessyStudy,
    Slices,
    all_files,
    change_headers,
    change_series,
    ct_folders,
    flip_mask,
    place,
    read_slices,
    remove,
    store_pixels,
)

TILT_DEGREES = 12.0
AIR_HU = -1024


def empty_study_uid(study: MessyStudy) -> None:
    """No file has a StudyInstanceUID; the accession number remains."""

    def change(file: Any) -> None:
        file.StudyInstanceUID = ""

    change_headers(study, change)


def empty_series_uids(study: MessyStudy) -> None:
    """No file has a SeriesInstanceUID."""

    def change(file: Any) -> None:
        file.SeriesInstanceUID = ""

    change_headers(study, change)


def repeated_series_uid(study: MessyStudy) -> None:
    """All series share one SeriesInstanceUID."""

    def change(file: Any) -> None:
        file.SeriesInstanceUID = build_uid(file.StudyInstanceUID, "repeated")

    change_headers(study, change)


def repeated_instance_uids(study: MessyStudy) -> None:
    """All files share one SOPInstanceUID."""

    def change(file: Any) -> None:
        file.SOPInstanceUID = build_uid(file.StudyInstanceUID, "repeated instance")

    change_headers(study, change)


def two_patients(study: MessyStudy) -> None:
    """Some files name another patient."""
    number = iter(range(len(all_files(study))))

    def change(file: Any) -> None:
        if next(number) % 5 == 0:
            file.PatientID = f"{file.PatientID}9"

    change_headers(study, change)


def copied_slices(study: MessyStudy) -> None:
    """Some slices lie twice in their folder, under other instance UIDs."""
    for folder in ct_folders(study):
        slices = read_slices(folder)
        for path, file in list(zip(slices.paths, slices.files, strict=True))[::7]:
            file.SOPInstanceUID = build_uid(file.SOPInstanceUID, "again")
            file.save_as(path.with_name(f"again-{path.name}"))


def wrong_thickness(study: MessyStudy) -> None:
    """SliceThickness and SpacingBetweenSlices are not the distance between slices."""

    def change(file: Any) -> None:
        file.SliceThickness, file.SpacingBetweenSlices = "7.5", "0.5"

    change_headers(study, change)


def cosines_rounded(study: MessyStudy) -> None:
    """Direction cosines are off by a millionth."""
    _skew(study, 1e-6)


def cosines_skewed(study: MessyStudy) -> None:
    """Rows and columns are off the right angle by a hundredth."""
    _skew(study, 1e-2)


def _skew(study: MessyStudy, by: float) -> None:
    def change(slices: Slices) -> None:
        for file in slices.files:
            cosines = np.array(file.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
            cosines[0] += by * cosines[1]
            cosines[0] /= np.linalg.norm(cosines[0])
            file.ImageOrientationPatient = [f"{value:.9f}" for value in cosines.ravel()]

    change_series(study, change)


def no_position(study: MessyStudy) -> None:
    """No slice says where it lies."""

    def change(file: Any) -> None:
        file.ImagePositionPatient = None

    change_headers(study, change)


def moved_slice(study: MessyStudy) -> None:
    """One slice of each CT series lies a third of a step off its place."""

    def change(slices: Slices) -> None:
        file = slices.files[len(slices.files) // 2]
        moved = np.array(file.ImagePositionPatient, dtype=np.float64) + slices.affine[:3, 0] / 3
        file.ImagePositionPatient = [f"{value:.5f}" for value in moved]

    change_series(study, change)


def few_slices(study: MessyStudy) -> None:
    """Two slices of each CT series are left."""
    for folder in ct_folders(study):
        remove(read_slices(folder).paths[2:])


def tilted(study: MessyStudy) -> None:
    """The gantry was tilted: slices lean against the table's way, and are sampled there."""
    angle = np.radians(TILT_DEGREES)

    def change(slices: Slices) -> None:
        old, tilt = slices.affine, slices.affine.copy()
        axis, rows = (old[:3, n] / np.linalg.norm(old[:3, n]) for n in (0, 1))
        tilt[:3, 1] = np.linalg.norm(old[:3, 1]) * (np.cos(angle) * rows + np.sin(angle) * axis)
        middle = (np.array(slices.hu.shape) - 1) / 2
        tilt[:3, 3] += (old[:3, :3] - tilt[:3, :3]) @ middle
        at = np.linalg.solve(old, tilt)
        hu = affine_transform(slices.hu, at[:3, :3], at[:3, 3], order=1, mode="constant", cval=AIR_HU)
        for index, file in enumerate(slices.files):
            place(file, tilt, index)
            store_pixels(file, hu[index])

    change_series(study, change)


def mirrored(study: MessyStudy) -> None:
    """The pixels are mirrored, left to right, and the header is not."""
    _turn(study, 2)


def back_to_front(study: MessyStudy) -> None:
    """The pixels are turned back to front, and the header is not."""
    _turn(study, 1)


def upside_down(study: MessyStudy) -> None:
    """The slices are in reverse order, and their places are not."""
    _turn(study, 0)


def _turn(study: MessyStudy, axis: int) -> None:
    def change(slices: Slices) -> None:
        turned = np.flip(slices.hu, axis)
        for index, file in enumerate(slices.files):
            store_pixels(file, turned[index])

    change_series(study, change)
    flip_mask(study, _mask_axis(study, axis))


def _mask_axis(study: MessyStudy, axis: int) -> int:
    """The axis of the label map (z, y, x) that runs along an axis of the primary series."""
    image: Any = nibabel.load(study.mask)
    lps = np.diag([-1.0, -1, 1]) @ image.affine[:3, :3][:, ::-1]
    along = read_slices(ct_folders(study)[0]).affine[:3, axis]
    return int(np.abs(along @ (lps / np.linalg.norm(lps, axis=0))).argmax())
