"""Finds and reads a study's label map, whatever form it comes in, and brings it onto the image's grid."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from numba import njit

from preprocess.errors import InputError, Reason, StudyError
from preprocess.geometry import canonical_grid, in_file_order, resample_labels_nearest, same_grid
from preprocess.readers_nifti import SUFFIXES, NiftiFile, is_nifti, nifti_stem, open_nifti, read_nifti_grid
from preprocess.structures import (
    VersionChoice,
    current_name,
    guess_version,
    is_structure,
    structure_names,
    structure_numbers,
)
from preprocess.volume import LabelMap, Labels, Volume

logger = logging.getLogger(__name__)

_SMALL_FILE = 1 << 20
"""Bytes up to which a structure's file is compared with an empty one: the many that a volume does not hold are often
the very same file."""

_LABEL_TAG = re.compile(r'<Label\b[^>]*\bKey="(\d+)"[^>]*>\s*(?:<!\[CDATA\[(.*?)\]\]>|([^<]*))\s*</Label>', re.DOTALL)


def find_masks(masks: Path, keys: Sequence[str], *, only_study: bool = False) -> Path:
    """Where the masks of one study lie.

    Args:
        masks: A multi-label file, or a folder with `<key>.nii.gz` (or `.nii`) or `<key>/<structure>.nii.gz`.
        keys: The keys by which the study is known, the preferred one first; empty ones are passed over.
        only_study: The archive holds this one study: a single mask file, or a folder of structures, is its own
            whatever its name.

    Returns:
        A multi-label file, or a folder with one file a structure.

    Raises:
        InputError: `masks` does not exist, or is a single file while the archive holds several studies.
        StudyError: `MASK_MISSING`.
    """
    if not masks.exists():
        raise InputError(f"masks={masks}: no such file or folder")
    if masks.is_file():
        if not only_study:
            raise InputError(f"masks={masks} is one file, but the archive holds several studies: give a folder")
        return masks
    usable = [key for key in keys if key and ".." not in Path(key).parts and not Path(key).is_absolute()]
    for key in usable:
        for place in (*(masks / f"{key}{end}" for end in SUFFIXES), masks / key):
            if place.is_file() or (place.is_dir() and _structure_files(place)):
                return place
    if only_study:
        found = sorted(path for path in masks.rglob("*") if path.is_file() and is_nifti(path))
        if len(found) == 1:
            return found[0]
        if _structure_files(masks):
            return masks
    raise StudyError(Reason.MASK_MISSING, f"no masks in {masks} for {' or '.join(usable) or 'a study without a key'}")


def _structure_files(folder: Path) -> dict[str, Path]:
    """File stem to path of the NIfTI files of a folder that TotalSegmentator's structures name."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and is_nifti(path))
    return {nifti_stem(path): path for path in files} if any(is_structure(nifti_stem(path)) for path in files) else {}


def read_masks(path: Path, *, version: VersionChoice = "auto") -> LabelMap:
    """Label map of a multi-label NIfTI file or of a folder with one NIfTI file a structure, on canonical axes.

    Args:
        path: What `find_masks` gave.
        version: How a multi-label file is numbered, where it does not carry its own names as TotalSegmentator writes
            them: `v1`, `v2`, or `auto` (`structures.guess_version`; v2 where both fit).

    Raises:
        StudyError: `UNREADABLE` or `GEOMETRY` for a file that cannot be trusted, `MASK_MISMATCH` for one that is no
            label map or names no known structure.
    """
    return _read_folder(path) if path.is_dir() else _read_multilabel(path, version)


def _read_multilabel(path: Path, version: VersionChoice) -> LabelMap:
    labels, affine, _ = read_nifti_grid(path, lambda values: _whole_labels(values, path))
    label_map = LabelMap(labels, affine, names_in_header(path))
    names = label_map.names or structure_names(guess_version(*_measures(label_map)) if version == "auto" else version)
    label_map = label_map.changed(names={number: current_name(name) for number, name in sorted(names.items())})
    _check_known(label_map, path)
    return label_map


def _measures(label_map: LabelMap) -> tuple[dict[int, float], dict[int, float]]:
    """Number to volume in ml, and to how far left of the middle of all labelled voxels its centre lies, in mm."""
    places = label_map.places
    voxel_ml = abs(float(np.linalg.det(label_map.affine[:3, :3]))) / 1000
    columns = [box[2] for box in places.boxes.values()]
    middle = (min(box.start for box in columns) + max(box.stop for box in columns) - 1) / 2 if columns else 0.0
    step_mm = label_map.spacing_mm[2]
    volumes = {number: places.count([number]) * voxel_ml for number in places.boxes}
    return volumes, {number: float(places.centre(number)[2] - middle) * step_mm for number in places.boxes}


def names_in_header(path: Path) -> dict[int, str]:
    """Number to structure name that TotalSegmentator wrote into a NIfTI file's extended header; empty if none."""
    names: dict[int, str] = {}
    for extension in getattr(nibabel.load(path).header, "extensions", ()):
        content: Any = extension.get_content()
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
        for number, quoted, plain in _LABEL_TAG.findall(text):
            names[int(number)] = (quoted or plain).strip()
    return {number: name for number, name in names.items() if number > 0 and name}


def _whole_labels(array: npt.NDArray[Any], path: Path) -> Labels:
    """Values as uint8, or uint16 where larger than 255."""
    if array.dtype == np.uint8:
        return array
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 65535) or (array.dtype.kind == "f" and not np.array_equal(array, np.rint(array))):
        raise StudyError(
            Reason.MASK_MISMATCH, f"{path.name} is no label map: its values are not whole numbers from 0 to 65535"
        )
    return array.astype(np.uint8, copy=False) if high <= 255 else array.astype(np.uint16, copy=False)


def _read_folder(folder: Path) -> LabelMap:
    """One label map of all structure files; where two overlap, the structure of the lower number keeps the voxel."""
    files = _structure_files(folder)
    if not files:
        raise StudyError(Reason.MASK_MISMATCH, f"{folder.name}: no file there is named like a structure")
    known = structure_numbers()
    new = sorted({current_name(stem) for stem in files} - set(known))
    numbers = {**known, **{name: max(known.values()) + 1 + place for place, name in enumerate(new)}}
    ordered = sorted(files.items(), key=lambda item: (numbers[current_name(item[0])], item[0]))
    first = open_nifti(ordered[0][1])
    shape, affine = canonical_grid(first.shape, first.affine)
    labels: npt.NDArray[Any] = np.zeros(shape, dtype=np.uint8 if max(numbers.values()) <= 255 else np.uint16)
    empty = b""
    for stem, path in ordered:
        content = path.read_bytes() if path.stat().st_size < _SMALL_FILE else b""
        if content and content == empty:
            continue
        file = open_nifti(path)
        if not same_grid(*canonical_grid(file.shape, file.affine), shape, affine):
            raise StudyError(Reason.MASK_MISMATCH, f"{path.name} lies on another grid than {first.path.name}")
        if not _add_structure(labels, file, numbers[current_name(stem)]):
            empty = content
    names = {number: name for name, number in sorted(numbers.items(), key=lambda item: item[1])}
    label_map = LabelMap(labels, affine, names)
    _check_known(label_map, folder)
    return label_map


def _add_structure(labels: npt.NDArray[Any], file: NiftiFile, number: int) -> bool:
    """Give all voxels of one structure's file its number, save those that another has already; whether it has any."""
    target, value, alone = in_file_order(labels, file.affine), 0, True
    for part, stored in file.slabs():
        values = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        value, alone = _paint(values, target[part], number, values.dtype.type(value))
        if not alone:
            raise StudyError(
                Reason.MASK_MISMATCH, f"{file.path.name} is no mask: it holds more than one value beside 0"
            )
    return bool(value != 0)


@njit(cache=True, nogil=True)
def _paint(values, target, number, value):  # type: ignore[no-untyped-def]  # numba
    """Set free voxels where values are not 0; return the value there (0: none yet) and whether there is no other."""
    for z in range(values.shape[0]):
        plane, held = values[z].reshape(-1), False
        for x in range(plane.size):
            held |= plane[x] != 0
        for y in range(values.shape[1] if held else 0):
            row, line = values[z, y], target[z, y]
            held = False
            for x in range(row.size):
                held |= row[x] != 0
            if held:
                for x in range(row.size):
                    if row[x] != 0:
                        if value == 0:
                            value = row[x]
                        if row[x] != value:
                            return value, False
                        if line[x] == 0:
                            line[x] = number
    return value, True


def _check_known(label_map: LabelMap, path: Path) -> None:
    present = sorted(label_map.places.boxes)
    if not any(is_structure(label_map.names.get(number, "")) for number in present):
        raise StudyError(
            Reason.MASK_MISMATCH,
            f"{path.name} names no known structure; the numbers it holds: {present[:10] or 'none'}",
        )


def place_labels(label_map: LabelMap, volume: Volume) -> LabelMap:
    """The label map on the image's grid: unchanged where it lies there, else resampled to the nearest label.

    Raises:
        StudyError: `MASK_MISMATCH`, where no labelled voxel comes to lie in the image.
    """
    if same_grid(label_map.shape, label_map.affine, volume.shape, volume.affine):
        return label_map.changed(affine=volume.affine)
    found: npt.NDArray[Any] = label_map.labels
    labels = resample_labels_nearest(found, label_map.affine, volume.shape, volume.affine)
    if not labels.any():
        raise StudyError(
            Reason.MASK_MISMATCH,
            f"the mask (grid {label_map.shape}) does not overlap the image (grid {volume.shape}) in patient space",
        )
    return LabelMap(labels, volume.affine, label_map.names)
