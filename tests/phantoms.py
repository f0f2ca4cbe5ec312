"""Small CT phantoms and writers of DICOM and NIfTI files for tests."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from preprocess.geometry import affine_from_axes, nifti_from_affine

SPACING = (4.0, 1.5, 2.0)


def canonical_affine(spacing=SPACING, origin=(-40.0, -30.0, 100.0)) -> npt.NDArray[np.float64]:
    """Axes z to the head, y to the back, x to the left."""
    return affine_from_axes(origin, [[0, 0, 1], [0, 1, 0], [1, 0, 0]], spacing)


def oblique_affine(spacing=SPACING, degrees=20.0) -> npt.NDArray[np.float64]:
    """Axes turned about two patient axes."""
    a, b = np.radians([degrees, degrees / 2])
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    axes = (turn_z @ turn_x @ np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=float).T).T
    return affine_from_axes((-40.0, -30.0, 100.0), axes, spacing)


def body(shape=(12, 40, 36), seed=0) -> npt.NDArray[np.int16]:
    """HU (z, y, x): a body of soft tissue with a rim of fat, a spine and some noise, in air."""
    rng = np.random.default_rng(seed)
    y, x = (np.linspace(-1, 1, n) for n in shape[1:])
    radius = np.hypot(y[:, None] / 0.8, x[None, :] / 0.9)
    plane = np.where(radius < 1, -100, -1000)
    plane = np.where(radius < 0.85, 40, plane)
    plane = np.where(np.hypot(y[:, None] - 0.5, x[None, :]) < 0.15, 500, plane)
    hu = np.repeat(plane[None], shape[0], axis=0) + rng.normal(0, 10, shape)
    hu[:, shape[1] // 4, shape[2] // 4] += np.arange(shape[0])  # no two slices and no two sides are alike
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)


def organ_labels(shape=(12, 40, 36)) -> npt.NDArray[np.uint8]:
    """Labels (z, y, x) for `body` by TotalSegmentator v2 numbers: liver 5 on the right, spleen 1 on the left, vertebra."""
    labels = np.zeros(shape, dtype=np.uint8)
    z, y, x = shape
    labels[2 : z - 2, y // 3 : y // 2, x // 6 : x // 2 - 3] = 5
    labels[3 : z - 3, y // 3 : y // 2, x // 2 + 4 : x - x // 5] = 1
    labels[:, y // 2 + y // 5 : y // 2 + y // 3, x // 2 - 2 : x // 2 + 2] = 31
    return labels


def write_nifti(
    path: Path, array: npt.NDArray[Any], affine: npt.NDArray[np.float64], *, slope: float = 1, intercept: float = 0
) -> Path:
    """Writes stored values (z, y, x), on an LPS affine, with scl_slope and scl_inter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array.transpose(2, 1, 0), nifti_from_affine(affine))
    image.set_sform(nifti_from_affine(affine), code=1)
    image.set_qform(nifti_from_affine(affine), code=1)
    image.header.set_slope_inter(slope, intercept)
    nibabel.save(image, path)
    return path


def dicom_slice(stored: npt.NDArray[Any], position, orientation, pixel_spacing, **tags: Any) -> FileDataset:
    """One uncompressed CT image; a tag given as None is left out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = tags.get("SOPInstanceUID") or generate_uid(entropy_srcs=[repr(position), "x"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    signed = stored.dtype.kind == "i"
    values: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "StudyInstanceUID": "2.25.1",
        "SeriesInstanceUID": "2.25.1.1",
        "PatientID": "P1",
        "ImagePositionPatient": [f"{value:.6f}" for value in position],
        "ImageOrientationPatient": [f"{value:.10f}" for value in np.ravel(orientation)],
        "PixelSpacing": [f"{value:.6f}" for value in pixel_spacing],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(signed),
        "PixelData": np.ascontiguousarray(stored.astype("<i2" if signed else "<u2")).tobytes(),
    }
    for name, value in {**values, **tags}.items():
        if value is not None:
            setattr(dataset, name, value)
    return dataset


def dicom_series(
    hu: npt.NDArray[np.int16],
    affine: npt.NDArray[np.float64],
    *,
    slope: float = 1,
    intercept: float = -1024,
    **tags: Any,
) -> list[FileDataset]:
    """Slices of a volume (z, y, x) on an affine, stored as (hu - intercept) / slope."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    unit = affine[:3, :3] / spacing
    kind = np.uint16 if ((hu.astype(float) - intercept) / slope).min() >= 0 else np.int16
    return [
        dicom_slice(
            np.rint((plane.astype(float) - intercept) / slope).astype(kind),
            affine[:3, 3] + z * affine[:3, 0],
            (unit[:, 2], unit[:, 1]),
            (spacing[1], spacing[2]),
            **{
                "SOPInstanceUID": generate_uid(entropy_srcs=[str(tags.get("SeriesInstanceUID")), str(z)]),
                "RescaleSlope": slope,
                "RescaleIntercept": intercept,
                "InstanceNumber": z + 1,
                **tags,
            },
        )
        for z, plane in enumerate(hu)
    ]


def save_series(
    folder: Path, series: list[FileDataset], *, syntax: UID | None = None, suffix: str = ".dcm"
) -> list[Path]:
    """Writes slices, compressed if a transfer syntax is given."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(series):
        if syntax is not None:
            dataset.compress(syntax, generate_instance_uid=False)
        path = folder / f"I{number:04d}{suffix}"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def enhanced_ct(hu: npt.NDArray[np.int16], affine: npt.NDArray[np.float64], **tags: Any) -> FileDataset:
    """The volume as one enhanced multi-frame file: spacing and scale shared, positions by frame."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    unit = affine[:3, :3] / spacing
    stored = (hu + 1024).astype(np.uint16)
    dataset = dicom_slice(stored[0], (0, 0, 0), (unit[:, 2], unit[:, 1]), (1, 1), **tags)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(dataset, name)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2.1")
    dataset.NumberOfFrames = len(hu)
    dataset.PixelData = stored.astype("<u2").tobytes()
    measures, orientation, scale, shared = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [spacing[1], spacing[2]]
    orientation.ImageOrientationPatient = [round(float(v), 10) for v in (*unit[:, 2], *unit[:, 1])]
    scale.RescaleSlope, scale.RescaleIntercept = 1, -1024
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelValueTransformationSequence = [scale]
    frames = []
    for z in range(len(hu)):
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = [round(float(v), 6) for v in affine[:3, 3] + z * affine[:3, 0]]
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = frames
    return dataset
