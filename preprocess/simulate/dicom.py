"""Write a simulated series as DICOM files: CT Image Storage, Explicit VR Little Endian, one file a slice."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

IMPLEMENTATION_UID = "2.25.301922436281745209374650183427610923754"
INTERCEPT_HU = -1024
PRIVATE_NOTE = "PrivateNote"
PRIVATE_GROUP = 0x0009
_UID_MARK = "2.25." + "7" * 38
_INSTANCE_MARK = "77777777"
_PLACE_MARK = "\\".join(["-777777.7777", "-777777.7778", "-777777.7779"])
_LOCATION_MARK = "-777777.7776"


@dataclass(frozen=True)
class StudyHeader:
    """What all files of a study share.

    Attributes:
        study_uid: StudyInstanceUID.
        frame_uid: FrameOfReferenceUID.
        patient_id: PatientID.
        accession: AccessionNumber.
        date: YYYYMMDD.
        time: HHMMSS.
        sex: "F" or "M".
        age_years: Age.
        manufacturer: Maker.
        model: Model name.
        kvp: Tube voltage.
        body_part: BodyPartExamined.
        people: What names persons and places, keyword to value; PRIVATE_NOTE among them stands in a private group.
    """

    study_uid: str
    frame_uid: str
    patient_id: str
    accession: str
    date: str
    time: str
    sex: str
    age_years: int
    manufacturer: str
    model: str
    kvp: int
    body_part: str
    people: Mapping[str, str]


@dataclass(frozen=True)
class SeriesHeader:
    """What all files of a series share.

    Attributes:
        series_uid: SeriesInstanceUID.
        number: SeriesNumber.
        description: SeriesDescription.
        kernel: ConvolutionKernel.
        contrast: ContrastBolusAgent, empty without contrast.
        image_type: ImageType.
        thickness_mm: SliceThickness.
        is_signed: Whether pixels are stored as signed HU, without an offset.
        is_head_first: Whether instance 1 is the last slice of the array.
    """

    series_uid: str
    number: int
    description: str
    kernel: str
    contrast: str
    image_type: tuple[str, ...]
    thickness_mm: float
    is_signed: bool
    is_head_first: bool


def build_uid(*parts: object) -> str:
    """Build a UID `2.25.<integer of 38 digits>` from what it names; equal parts give equal UIDs of one length."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return f"2.25.{10**37 + int.from_bytes(digest[:16], 'big') % (9 * 10**37)}"


def write_series(
    folder: Path, hu: NDArray[np.int16], affine: NDArray[np.float64], study: StudyHeader, series: SeriesHeader
) -> None:
    """Write one series.

    The first slice is encoded by pydicom with marks in place of what differs from slice to slice; the others are copies
    with the marks replaced by values of the same length, which takes a tenth of the time.

    Args:
        folder: Is made; receives `IM00001.dcm`, ...
        hu: (z, y, x), HU.
        affine: Index (z, y, x) to LPS mm.
        study: Shared header.
        series: Shared header.
    """
    folder.mkdir(parents=True)
    template = _encode(_template(hu, affine, study, series))
    along = _unit(affine[:3, 0])
    order = range(len(hu))[::-1] if series.is_head_first else range(len(hu))
    offset = 0 if series.is_signed else -INTERCEPT_HU
    pixels = (hu.astype(np.int32) + offset).astype("<i2" if series.is_signed else "<u2")
    for instance, index in enumerate(order, start=1):
        place = affine[:3, 3] + affine[:3, 0] * index
        values = {
            _UID_MARK: build_uid(series.series_uid, instance),
            _INSTANCE_MARK: f"{instance:<{len(_INSTANCE_MARK)}d}",
            _PLACE_MARK: "\\".join(_decimal(value) for value in place),
            _LOCATION_MARK: _decimal(float(place @ along)),
        }
        header = template
        for mark, value in values.items():
            header = header.replace(mark.encode(), value.encode())
        (folder / f"IM{instance:05d}.dcm").write_bytes(header + pixels[index].tobytes())


def _decimal(value: float) -> str:
    """Twelve characters: a decimal string padded with blanks, which DICOM ignores."""
    return f"{value:<12.4f}"


def _encode(file: FileDataset) -> bytes:
    """Encode everything of a slice before its pixels; the file ends with the head of the pixel data."""
    buffer = BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    encoded = buffer.getvalue()
    return encoded[: len(encoded) - len(file.PixelData)]


def _template(
    hu: NDArray[np.int16], affine: NDArray[np.float64], study: StudyHeader, series: SeriesHeader
) -> FileDataset:
    """Build the dataset of a slice, without what differs from slice to slice."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    file = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    file.SpecificCharacterSet = "ISO_IR 192"
    file.SOPClassUID = CTImageStorage
    _fill_study(file, study)
    _fill_series(file, series)
    rows, columns = (affine[:3, 1], affine[:3, 2])
    file.ImageOrientationPatient = [f"{v:.7f}" for v in [*_unit(columns), *_unit(rows)]]
    file.PixelSpacing = [f"{np.linalg.norm(rows):.5f}", f"{np.linalg.norm(columns):.5f}"]
    file.Rows, file.Columns = hu.shape[1:]
    file.SamplesPerPixel = 1
    file.PhotometricInterpretation = "MONOCHROME2"
    file.BitsAllocated = 16
    file.BitsStored = 16 if series.is_signed else 12
    file.HighBit = file.BitsStored - 1
    file.PixelRepresentation = int(series.is_signed)
    file.RescaleIntercept = "0" if series.is_signed else str(INTERCEPT_HU)
    file.RescaleSlope = "1"
    file.RescaleType = "HU"
    file.WindowCenter, file.WindowWidth = "40", "400"
    file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = _UID_MARK
    file.InstanceNumber = _INSTANCE_MARK
    file.ImagePositionPatient = _PLACE_MARK.split("\\")
    file.SliceLocation = _LOCATION_MARK
    file.PixelData = bytes(hu[0].nbytes)
    return file


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / float(np.linalg.norm(vector)) + 0.0


def _fill_study(file: Dataset, study: StudyHeader) -> None:
    file.StudyInstanceUID = study.study_uid
    file.FrameOfReferenceUID = study.frame_uid
    file.PositionReferenceIndicator = ""
    file.PatientID = study.patient_id
    file.PatientSex = study.sex
    file.PatientAge = f"{study.age_years:03d}Y"
    file.AccessionNumber = study.accession
    file.StudyID = study.accession
    file.StudyDate = file.SeriesDate = file.AcquisitionDate = file.ContentDate = study.date
    file.StudyTime = file.SeriesTime = file.AcquisitionTime = file.ContentTime = study.time
    file.Modality = "CT"
    file.Manufacturer = study.manufacturer
    file.ManufacturerModelName = study.model
    file.StudyDescription = "Simulated CT"
    file.BodyPartExamined = study.body_part
    file.PatientPosition = "HFS"
    file.KVP = str(study.kvp)
    for keyword, value in study.people.items():
        if keyword == PRIVATE_NOTE:
            file.private_block(PRIVATE_GROUP, "SIMULATED ARCHIVE", create=True).add_new(0x01, "LO", value)
        else:
            setattr(file, keyword, value)


def _fill_series(file: Dataset, series: SeriesHeader) -> None:
    file.SeriesInstanceUID = series.series_uid
    file.SeriesNumber = series.number
    file.SeriesDescription = series.description
    file.ImageType = list(series.image_type)
    file.AcquisitionNumber = 1
    file.ConvolutionKernel = series.kernel
    if series.contrast:
        file.ContrastBolusAgent = series.contrast
    file.SliceThickness = f"{series.thickness_mm:.4f}"
