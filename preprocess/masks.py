"""Finds and reads a study's label map, whatever form it comes in, and brings it onto the image's grid."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from preprocess.errors import InputError, Reason, StudyError
from preprocess.geometry import Affine, resample_labels_nearest, same_grid, spacing_mm
from preprocess.readers_nifti import SUFFIXES, is_nifti, nifti_stem, read_nifti_grid
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
    array, affine, _ = read_nifti_grid(path)
    labels = _whole_labels(array, path)
    names = names_in_header(path)
    if not names:
        names = structure_names(guess_version(*_measures(labels, affine)) if version == "auto" else version)
    names = {number: current_name(name) for number, name in sorted(names.items())}
    label_map = LabelMap(labels, affine, names)
    _check_known(label_map, path)
    return label_map


def _measures(labels: Labels, affine: Affine) -> tuple[dict[int, float], dict[int, float]]:
    """Number to volume in ml, and to how far left of the middle of all labelled voxels its centre lies, in mm."""
    counts = np.bincount(labels.ravel())
    present = [int(number) for number in np.flatnonzero(counts) if number]
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    columns = np.zeros((len(counts), labels.shape[2]))
    for x in range(labels.shape[2]):
        columns[:, x] = np.bincount(labels[:, :, x].ravel(), minlength=len(counts))
    used = np.flatnonzero(columns[1:].any(axis=0))
    middle = (used[0] + used[-1]) / 2 if used.size else 0.0
    offset_mm = (np.arange(labels.shape[2]) - middle) * spacing_mm(affine)[2]
    volumes = {number: float(counts[number]) * voxel_ml for number in present}
    return volumes, {number: float(columns[number] @ offset_mm / counts[number]) for number in present}


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
    first, affine, _ = read_nifti_grid(ordered[0][1])
    labels: npt.NDArray[np.uint16] = np.zeros(first.shape, dtype=np.uint16)
    for stem, path in ordered:
        array, own_affine, _ = read_nifti_grid(path)
        if not same_grid(_shape(array), own_affine, _shape(labels), affine):
            raise StudyError(Reason.MASK_MISMATCH, f"{path.name} lies on another grid than {ordered[0][1].name}")
        inside = array != 0
        if (array[inside] != array.max()).any():
            raise StudyError(Reason.MASK_MISMATCH, f"{path.name} is no mask: it holds more than one value beside 0")
        labels[inside & (labels == 0)] = numbers[current_name(stem)]
    names = {number: name for name, number in sorted(numbers.items(), key=lambda item: item[1])}
    label_map = LabelMap(_whole_labels(labels, folder), affine, names)
    _check_known(label_map, folder)
    return label_map


def _shape(array: npt.NDArray[Any]) -> tuple[int, int, int]:
    z, y, x = array.shape
    return (z, y, x)


def _check_known(label_map: LabelMap, path: Path) -> None:
    present = [int(number) for number in np.flatnonzero(np.bincount(label_map.labels.ravel())) if number]
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
        return LabelMap(label_map.labels, volume.affine, label_map.names)
    found: npt.NDArray[Any] = label_map.labels
    labels = resample_labels_nearest(found, label_map.affine, volume.shape, volume.affine)
    if not labels.any():
        raise StudyError(
            Reason.MASK_MISMATCH,
            f"the mask (grid {label_map.shape}) does not overlap the image (grid {volume.shape}) in patient space",
        )
    return LabelMap(labels, volume.affine, label_map.names)
