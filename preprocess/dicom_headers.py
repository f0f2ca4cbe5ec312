"""Reads the headers of DICOM files, without their pixels, and says which cannot belong to a CT volume."""

import logging
import math
import re
import warnings
from array import array
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pydicom

from preprocess.readers_dicom import DECODE_ERRORS

logger = logging.getLogger(__name__)

# fmt: off
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "ImageType", "Modality", "StudyInstanceUID", "SeriesInstanceUID",
    "AccessionNumber", "StudyDate", "SeriesDate", "AcquisitionDate", "Manufacturer", "ManufacturerModelName",
    "SeriesDescription", "ProtocolName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge",
    "ContrastBolusAgent", "ConvolutionKernel", "SeriesNumber", "AcquisitionNumber", "TemporalPositionIdentifier",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
# fmt: on
_CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT image",
    "1.2.840.10008.5.1.4.1.1.2.1": "enhanced CT image",
    "1.2.840.10008.5.1.4.1.1.2.2": "legacy converted enhanced CT image",
}
OLDEST_AGE = 90
"""Higher ages are recorded as this: very old patients could be recognised by their age."""


@dataclass(frozen=True)
class SharedHeader:
    """What the slices of a series have in common.

    Attributes:
        study_uid: Empty where the file has none; so are `accession`, `patient` and `series_uid`.
        orientation: Six cosines, or None where the image has no place in the patient.
        pixel_spacing: Distance between rows, and between columns, in mm.
        size: Rows and columns.
        refusal: Why the file cannot be part of a CT volume, or None.
        day: Date of the study.
        splits: Attributes that can part slices which share a series UID and a place: acquisition, time point, kernel.
    """

    study_uid: str
    accession: str
    patient: str
    series_uid: str
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, float] | None
    size: tuple[int, int]
    refusal: str | None
    day: date | None
    age_years: float | None
    sex: str | None
    manufacturer: str | None
    model: str | None
    description: str
    contrast: bool | None
    kernel: str | None
    original: bool
    splits: tuple[tuple[str, str], ...]


class DicomHeader(NamedTuple):
    """What is needed of one file to sort it into studies and series.

    Attributes:
        path: The file; text, for a study has a thousand and more.
        instance_uid: SOPInstanceUID, or empty.
        positions: LPS mm of each frame's first voxel, three float64 a frame; empty where it has no place.
        shared: The rest; slices read from an index share the object too.
    """

    path: str
    instance_uid: str
    positions: bytes
    shared: SharedHeader


def read_header(path: Path) -> DicomHeader | None:
    """Header of a DICOM file, or None where the file is something else.

    A file counts as DICOM by its preamble, or, without one, where it starts with an element of group 0002 or 0008
    and names an image.
    """
    with path.open("rb") as stream:
        start = stream.read(132)
    has_preamble = start[128:132] == b"DICM"
    if not has_preamble and start[:2] not in (b"\x08\x00", b"\x00\x08", b"\x02\x00"):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, force=not has_preamble, stop_before_pixels=True, specific_tags=_TAGS)
            if not has_preamble and not {"SOPClassUID", "Modality", "Rows"} & set(dataset.dir()):
                return None
            return _header(path, dataset)
    except DECODE_ERRORS as error:
        logger.info("a file could not be read as DICOM and is left out: %s", type(error).__name__)
        return None


def _header(path: Path, dataset: Any) -> DicomHeader:
    place = _place(dataset)
    day = _date(dataset, "StudyDate", "SeriesDate", "AcquisitionDate")
    image_type = [part.upper() for part in _texts(dataset, "ImageType")]
    kernel = " ".join(_texts(dataset, "ConvolutionKernel")) or None
    contrast = bool(_text(dataset, "ContrastBolusAgent")) if "ContrastBolusAgent" in dataset else None
    shared = SharedHeader(
        study_uid=_text(dataset, "StudyInstanceUID"),
        accession=_text(dataset, "AccessionNumber"),
        patient=_text(dataset, "PatientID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        orientation=place[1],
        pixel_spacing=place[2],
        size=(int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)),
        refusal=_refusal(dataset, image_type, bool(place[0]) and place[1] is not None and place[2] is not None),
        day=day,
        age_years=_age(dataset, day),
        sex={"M": "M", "F": "F", "O": "O"}.get(_text(dataset, "PatientSex").upper()[:1]),
        manufacturer=_text(dataset, "Manufacturer") or None,
        model=_text(dataset, "ManufacturerModelName") or None,
        description=" ".join((_text(dataset, "SeriesDescription"), _text(dataset, "ProtocolName"))).strip(),
        contrast=contrast,
        kernel=kernel,
        original="DERIVED" not in image_type[:1] and "SECONDARY" not in image_type[1:2],
        splits=(
            ("acquisition", _text(dataset, "AcquisitionNumber")),
            ("time point", _text(dataset, "TemporalPositionIdentifier")),
            ("series number", _text(dataset, "SeriesNumber")),
            ("kernel", kernel or ""),
            ("description", _text(dataset, "SeriesDescription")),
        ),
    )
    return DicomHeader(str(path), _text(dataset, "SOPInstanceUID"), place[0], shared)


def _refusal(dataset: Any, image_type: list[str], has_place: bool) -> str | None:
    """Why a file is no slice of a CT volume; None for one that may be."""
    sop_class, modality = _text(dataset, "SOPClassUID"), _text(dataset, "Modality").upper()
    if "LOCALIZER" in image_type or "SCOUT" in image_type:
        return "localizer"
    if modality in ("SR", "PR", "KO", "SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "DOC"):
        return f"not an image ({modality})"
    if not dataset.get("Rows") or not dataset.get("Columns"):
        return "not an image"
    if modality not in ("CT", ""):
        return f"modality {modality}"
    if (dataset.get("SamplesPerPixel") or 1) != 1 or _text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        return "colour or inverted picture"
    if "DOSE_INFO" in image_type or "SCREEN SAVE" in image_type:
        return "dose report or screen shot"
    if sop_class and sop_class not in _CT_CLASSES:
        return "secondary capture" if "1.1.7" in sop_class else "not a CT image by its SOP class"
    return None if has_place else "no place in the patient (position, orientation or pixel spacing is missing)"


def _place(
    dataset: Any,
) -> tuple[bytes, tuple[float, ...] | None, tuple[float, float] | None]:
    """Positions of the frames, orientation and pixel spacing of the first; empty and None where missing.

    Where one frame of an enhanced image has no position, none is given.
    """
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if not own:
        return _position(dataset), _numbers(dataset, "ImageOrientationPatient", 6), _pixel_spacing(dataset)
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    both = [own[0], *shared[:1]]
    positions = [_position(_item((frame, *shared[:1]), "PlanePositionSequence")) for frame in own]
    orientation = _numbers(_item(both, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    return (
        b"".join(positions) if all(positions) else b"",
        orientation,
        _pixel_spacing(_item(both, "PixelMeasuresSequence")),
    )


def _item(groups: Any, name: str) -> Any:
    """First item of a sequence, from the first group that has it; an empty mapping where none has."""
    return next((group[name][0] for group in groups if name in group and len(group[name].value)), {})


def _position(dataset: Any) -> bytes:
    found = _numbers(dataset, "ImagePositionPatient", 3)
    return b"" if found is None else array("d", [number + 0.0 for number in found]).tobytes()  # no negative zero


def _pixel_spacing(dataset: Any) -> tuple[float, float] | None:
    found = _numbers(dataset, "PixelSpacing", 2)
    return None if found is None or min(found) <= 0 else (found[0], found[1])


def _numbers(dataset: Any, name: str, count: int) -> tuple[float, ...] | None:
    """That many finite numbers of an element, or None where it is missing or holds something else."""
    try:
        value = dataset.get(name)
        if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != count:
            return None
        numbers = tuple(float(number) for number in value)
    except (TypeError, ValueError):
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _texts(dataset: Any, name: str) -> list[str]:
    value = dataset.get(name)
    if value is None:
        return []
    return (
        [str(part).strip() for part in value]
        if isinstance(value, (list, pydicom.multival.MultiValue))
        else [str(value).strip()]
    )


def _text(dataset: Any, name: str) -> str:
    return " ".join(_texts(dataset, name)).strip("\0 ")


def _date(dataset: Any, *names: str) -> date | None:
    for name in names:
        text = re.sub(r"\D", "", _text(dataset, name))[:8]
        try:
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
        except ValueError:
            continue
    return None


def _age(dataset: Any, day: date | None) -> float | None:
    """Age in years at the study: from PatientAge, else from the birth date; None where neither is usable."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", _text(dataset, "PatientAge").upper())
    if match:
        days = {"D": 1.0, "W": 7.0, "M": 30.4375, "Y": 365.25}[match.group(2)]
        return min(round(int(match.group(1)) * days / 365.25, 2), float(OLDEST_AGE))
    born = _date(dataset, "PatientBirthDate")
    if born is None or day is None or born > day:
        return None
    return min(float(int((day - born).days / 365.25)), float(OLDEST_AGE))
