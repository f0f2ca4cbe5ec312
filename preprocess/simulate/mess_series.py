"""Messy cases of series: others beside the one wanted, parted ones, and other file formats."""

import shutil
from typing import Any

import nibabel
import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, EnhancedSRStorage, PositronEmissionTomographyImageStorage
from pydicom.uid import SecondaryCaptureImageStorage as SecondaryCapture
from scipy.ndimage import gaussian_filter

from preprocess.geometry import nifti_from_affine
from preprocess.simulate.dicom import build_uid
from preprocess.simulate.messy_study import (
    Affine,
    MessyStudy,
    Slices,
    ct_folders,
    read_slices,
    store_pixels,
    write_copy,
)


def _primary(study: MessyStudy) -> Slices:
    return read_slices(study.primary)


def localizer(study: MessyStudy) -> None:
    """A localizer stands beside the series."""
    slices = _primary(study)
    kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write_copy(study, "topogram", slices.hu[:1], slices.affine, slices.files[0], ImageType=kind)


def dose_report(study: MessyStudy) -> None:
    """A dose report: a structured report, and a picture of it."""
    like = _primary(study).files[0]
    picture = np.zeros((1, 40, 60), np.int16)
    kind = ["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT", "DOSE_INFO"]
    write_copy(study, "protocol", picture, np.eye(4), like, ImageType=kind, SeriesDescription="Patient Protocol")
    report = pydicom.dcmread(like.filename)
    for name in ("PixelData", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(report, name)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = EnhancedSRStorage
    report.Modality = "SR"
    report.SeriesInstanceUID = build_uid(like.SeriesInstanceUID, "dose")
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = build_uid(report.SeriesInstanceUID, 1)
    report.save_as(study.folder / "dose.dcm")


def secondary_capture(study: MessyStudy) -> None:
    """Pictures made at a workstation stand beside the series."""
    slices = _primary(study)
    write_copy(study, "capture", slices.hu[:4], slices.affine, slices.files[0], SOPClassUID=SecondaryCapture)


def pet(study: MessyStudy) -> None:
    """A series of another modality stands beside it."""
    slices = _primary(study)
    tags = {"Modality": "PT", "SOPClassUID": PositronEmissionTomographyImageStorage}
    write_copy(study, "pet", slices.hu, slices.affine, slices.files[0], **tags)


def sharp_copy(study: MessyStudy) -> None:
    """The same scan, reconstructed with a kernel for lungs."""
    slices = _primary(study)
    tags = {"ConvolutionKernel": "B70f", "SeriesDescription": "Lunge 1.0 B70f", "SeriesNumber": 71}
    write_copy(study, "lung", slices.hu, slices.affine, slices.files[0], **tags)


def thick_copy(study: MessyStudy) -> None:
    """The same scan in slices twice as thick."""
    slices = _primary(study)
    count = len(slices.hu) // 2
    hu = slices.hu[: 2 * count].reshape(count, 2, *slices.hu.shape[1:]).mean(axis=1)
    affine = slices.affine.copy()
    affine[:3, 3] += affine[:3, 0] / 2
    affine[:3, 0] *= 2
    write_copy(study, "thick", np.rint(hu).astype(np.int16), affine, slices.files[0], SeriesNumber=72)


def reformatted(study: MessyStudy) -> None:
    """Coronal slices, derived from the scan."""
    slices = _primary(study)
    tags = {"ImageType": ["DERIVED", "SECONDARY", "MPR"], "SeriesDescription": "cor", "SeriesNumber": 73}
    affine = slices.affine[:, [1, 0, 2, 3]].copy()
    write_copy(study, "coronal", slices.hu.transpose(1, 0, 2), affine, slices.files[0], **tags)


def late_phase(study: MessyStudy) -> None:
    """A second contrast phase, described in German."""
    slices = _primary(study)
    hu = gaussian_filter(slices.hu.astype(np.float32), (1, 0.6, 0.6))
    tags = {"SeriesDescription": "Abdomen Spätphase 5 min", "SeriesNumber": 74}
    write_copy(study, "late", np.rint(hu).astype(np.int16), slices.affine, slices.files[0], **tags)


def bolus_tracking(study: MessyStudy) -> None:
    """A few thin slices at one level, from before the scan."""
    slices = _primary(study)
    affine = slices.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (len(slices.hu) // 2)
    affine[:3, 0] /= 4
    tags = {"SeriesDescription": "PreMonitoring", "SeriesNumber": 75}
    write_copy(study, "bolus", slices.hu[:4], affine, slices.files[0], **tags)


def two_regions(study: MessyStudy) -> None:
    """Chest and abdomen are series of their own under one accession number, and overlap a little."""
    slices = _primary(study)
    count = len(slices.paths)
    upper = build_uid(slices.files[0].SeriesInstanceUID, "chest")
    folder = study.folder / "chest"
    folder.mkdir()
    for index in range(count // 2, count):
        file = pydicom.dcmread(slices.paths[index])
        file.SeriesInstanceUID, file.SeriesNumber = upper, 76
        file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = build_uid(upper, index)
        file.save_as(folder / slices.paths[index].name)
    for path in slices.paths[count // 2 + max(1, count // 20) :]:
        path.unlink()


def enhanced(study: MessyStudy) -> None:
    """Each CT series is one enhanced multi-frame file."""
    for folder in ct_folders(study):
        slices = read_slices(folder)
        file = _enhanced_file(slices)
        for path in slices.paths:
            path.unlink()
        file.save_as(folder / "enhanced.dcm")


def _enhanced_file(slices: Slices) -> Any:
    """One file of all slices: spacing, directions and scale shared, the place of each frame its own."""
    file = pydicom.dcmread(slices.paths[0])
    shared, measures, scale, turn = (Dataset() for _ in range(4))
    measures.PixelSpacing, turn.ImageOrientationPatient = file.PixelSpacing, file.ImageOrientationPatient
    scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = "1", "0", "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [turn]
    shared.PixelValueTransformationSequence = [scale]
    frames = []
    for one in slices.files:
        frame, where = Dataset(), Dataset()
        where.ImagePositionPatient = one.ImagePositionPatient
        frame.PlanePositionSequence = [where]
        frames.append(frame)
    store_pixels(file, slices.hu[0])
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(file, name)
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    file.NumberOfFrames, file.PixelData = len(frames), slices.hu.astype("<i2").tobytes()
    file.SharedFunctionalGroupsSequence, file.PerFrameFunctionalGroupsSequence = [shared], frames
    return file


def _replace(study: MessyStudy, suffix: str, values: NDArray[Any], affine: Affine, **scale: float) -> None:
    """One file of values (z, y, x) instead of the study's folder."""
    path = study.folder.with_name(f"volume{suffix}")
    if suffix.startswith(".nii"):
        image = nibabel.Nifti1Image(values.transpose(2, 1, 0), nifti_from_affine(affine))
        image.header.set_slope_inter(scale.get("slope", 1), scale.get("intercept", 0))
        nibabel.save(image, path)
    else:
        volume = SimpleITK.GetImageFromArray(values)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        volume.SetSpacing(spacing[::-1].tolist())
        volume.SetDirection((affine[:3, :3] / spacing)[:, ::-1].ravel().tolist())
        volume.SetOrigin(affine[:3, 3].tolist())
        SimpleITK.WriteImage(volume, str(path), useCompression=True)
    shutil.rmtree(study.folder)


def nifti(study: MessyStudy) -> None:
    """The study is a NIfTI file in HU."""
    slices = _primary(study)
    _replace(study, ".nii.gz", slices.hu, slices.affine)


def nifti_scaled(study: MessyStudy) -> None:
    """The study is a NIfTI file of stored values with `scl_slope` and `scl_inter`."""
    slices = _primary(study)
    _replace(study, ".nii.gz", slices.hu + np.int16(1024), slices.affine, slope=1, intercept=-1024)


def nifti_scale_lost(study: MessyStudy) -> None:
    """The study is a NIfTI file of stored values without `scl_inter`."""
    slices = _primary(study)
    _replace(study, ".nii.gz", slices.hu + np.int16(1024), slices.affine)


def nifti_scale_twice(study: MessyStudy) -> None:
    """The study is a NIfTI file in HU that asks for the intercept once more."""
    slices = _primary(study)
    _replace(study, ".nii.gz", slices.hu, slices.affine, slope=1, intercept=-1024)


def nifti_zero_to_one(study: MessyStudy) -> None:
    """The study is a NIfTI file of numbers from 0 to 1."""
    slices = _primary(study)
    values = ((slices.hu.astype(np.float32) + 1024) / 4095).clip(0, 1)
    _replace(study, ".nii.gz", values, slices.affine)


def nifti_other_axes(study: MessyStudy) -> None:
    """The study is a NIfTI file with its axes in another order, one of them reversed."""
    slices = _primary(study)
    affine = slices.affine[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 0] * (slices.hu.shape[2] - 1)
    affine[:3, 0] *= -1
    _replace(study, ".nii.gz", slices.hu.transpose(2, 0, 1)[::-1], affine)


def nifti_without_place(study: MessyStudy) -> None:
    """The study is a NIfTI file without sform and qform."""
    slices = _primary(study)
    path = study.folder.with_name("volume.nii.gz")
    image = nibabel.Nifti1Image(slices.hu.transpose(2, 1, 0), None)
    nibabel.save(image, path)
    shutil.rmtree(study.folder)


def mha(study: MessyStudy) -> None:
    """The study is a MetaImage file in HU."""
    slices = _primary(study)
    _replace(study, ".mha", slices.hu, slices.affine)


def nrrd(study: MessyStudy) -> None:
    """The study is an NRRD file in HU."""
    slices = _primary(study)
    _replace(study, ".nrrd", slices.hu, slices.affine)
