"""Reads a MetaImage (MHA, MHD) or NRRD file as HU with its true place, or refuses it."""

import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from preprocess.errors import Reason, StudyError
from preprocess.geometry import SLIGHT_SKEW, Affine, affine_from_axes, canonical, orthonormal
from preprocess.readers_nifti import whole_hu
from preprocess.volume import Volume

logger = logging.getLogger(__name__)

SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
_HEADER_BYTES = 64 * 1024
_END_OF_HEADER = re.compile(rb"\n\r?\n|\nElementDataFile[^\n]*\n", re.IGNORECASE)
_PLACED_META = (("offset", "position", "origin"), ("transformmatrix", "orientation", "rotation"))
_PLACED_NRRD = (("space", "space dimension"), ("space directions",), ("space origin",))
_SPACES = ("left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior", "las")


def is_itk(path: Path) -> bool:
    """Whether the name ends like a MetaImage's or an NRRD file's."""
    return path.name.lower().endswith(SUFFIXES)


def itk_stem(path: Path) -> str:
    """File name without its suffix."""
    return next((path.name[: -len(end)] for end in SUFFIXES if path.name.lower().endswith(end)), path.name)


def itk_files(path: Path) -> tuple[Path, ...]:
    """The file, and the one beside it that holds its values, where the header names one.

    Raises:
        OSError: The file cannot be read.
    """
    header = _read_header(path)
    name = header.get("elementdatafile", header.get("data file", header.get("datafile", "LOCAL")))
    values = path.parent / name
    is_own = name.upper() in ("LOCAL", "LIST") or name.startswith("LIST ") or "%" in name or not values.is_file()
    return (path,) if is_own else (path, values)


def read_itk(path: Path) -> Volume:
    """Volume of one MHA, MHD (with its raw file beside it), NRRD or NHDR file.

    The values count as HU, rounded to whole numbers; voxels that are not numbers become -1024. Origin and directions
    come from the file, in LPS, or in RAS or LAS where an NRRD says so.

    Raises:
        StudyError: `UNREADABLE` for a damaged file or one that is no three-dimensional grey image, `GEOMETRY` where it
            does not say how it lies in the patient, or says so with skewed axes.
    """
    try:
        header = _read_header(path)
    except OSError as error:
        raise StudyError(Reason.DISK, f"{path.name} cannot be read: {error.strerror or error}") from error
    _check_header(header, path)
    array, affine = _read(path)
    affine, off = orthonormal(affine, (array.shape[0], array.shape[1], array.shape[2]))
    flags = (f"axes made orthogonal (cosine {off:.5f})",) if off > SLIGHT_SKEW else ()
    hu, value_flags = whole_hu(array)
    hu, affine = canonical(hu, affine)
    return Volume(hu, affine, hu_source=f"{_kind(path)} values", flags=(*flags, *value_flags))


def _kind(path: Path) -> str:
    return "nrrd" if path.name.lower().endswith((".nrrd", ".nhdr")) else "metaimage"


def _read_header(path: Path) -> dict[str, str]:
    """Keys in lower case to values of the text at the head of a file; empty where there is none.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as stream:
        start = stream.read(_HEADER_BYTES)
    end = _END_OF_HEADER.search(start)
    text = start[: end.end() if end else len(start)].decode("latin-1")
    pairs = (re.split(r":=|:|=", line, maxsplit=1) for line in text.splitlines() if line[:1] != "#")
    return {pair[0].strip().lower(): pair[1].strip() for pair in pairs if len(pair) == 2}


def _check_header(header: dict[str, str], path: Path) -> None:
    """Refuses files without a place in the patient, for which ITK would invent one, and values that ask for scaling."""
    is_nrrd = _kind(path) == "nrrd"
    if not header or (is_nrrd and "sizes" not in header) or (not is_nrrd and "dimsize" not in header):
        raise StudyError(Reason.UNREADABLE, f"{path.name} has no readable {_kind(path)} header")
    missing = [names[0] for names in (_PLACED_NRRD if is_nrrd else _PLACED_META) if not set(names) & set(header)]
    if missing:
        raise StudyError(Reason.GEOMETRY, f"{path.name} has no {missing[0]!r}: its place in the patient is unknown")
    if is_nrrd and header.get("space", "").lower() not in _SPACES:
        said = header.get("space", "nothing")
        raise StudyError(Reason.GEOMETRY, f"{path.name} lies in the space {said!r}, which is none of a patient")
    slope = header.get("elementtointensityfunctionslope", "1"), header.get("elementtointensityfunctionoffset", "0")
    if not is_nrrd and slope not in (("1", "0"), ("1.0", "0.0")):
        raise StudyError(
            Reason.UNREADABLE,
            f"{path.name} asks for scaled values ({slope[0]} and {slope[1]}), which no reader applies",
        )


def _read(path: Path) -> tuple[npt.NDArray[Any], Affine]:
    """Values (z, y, x) as stored and the affine that the file states."""
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if _kind(path) == "nrrd" else "MetaImageIO")  # whatever the case of the suffix
    reader.SetFileName(os.fspath(path))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise StudyError(
            Reason.UNREADABLE, f"{path.name} cannot be decoded: its values are missing, cut short or damaged"
        ) from error
    array = SimpleITK.GetArrayFromImage(image)
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1 or array.dtype.kind not in "iuf":
        raise StudyError(
            Reason.UNREADABLE, f"{path.name} is no grey volume: its shape is {array.shape}, its type {array.dtype}"
        )
    axes = np.array(image.GetDirection()).reshape(3, 3).T[::-1]  # rows: directions of z, y, x in LPS
    return array, affine_from_axes(image.GetOrigin(), axes, np.array(image.GetSpacing())[::-1])
