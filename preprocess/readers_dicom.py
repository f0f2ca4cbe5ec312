"""Reads the slices of one DICOM series as HU with their true place, or refuses them."""

import logging
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.uid import UID, RLELossless

from preprocess.errors import Reason, StudyError
from preprocess.geometry import Affine, canonical, canonical_grid, in_file_order
from preprocess.stack import Frame, Gaps, Stack, stack_geometry
from preprocess.stack_repair import even, straighten
from preprocess.volume import Volume

logger = logging.getLogger(__name__)

AIR_HU = -1024
HIGHEST_HU = 3500
"""Padding above this would pass for metal; it becomes air."""

DECODE_ERRORS = (
    AttributeError,
    EOFError,
    IndexError,
    InvalidDicomError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    TypeError,
    ValueError,
)


def read_dicom(paths: Sequence[Path], *, gaps: Gaps = "refuse") -> Volume:
    """Volume of the files of one series, in whatever order.

    Every slice is rescaled once, with its own slope and intercept. The slices' place along their normal comes from
    ImagePositionPatient alone. Copies of a slice count once, gantry tilt is undone, and both are flagged.

    Args:
        paths: Classic files of one slice each, or enhanced ones of many.
        gaps: `resample` fills missing slices up to `stack.MAX_GAP_MM` and evens irregular steps, and flags it.

    Raises:
        StudyError: `UNREADABLE` where a file cannot be decoded, `GEOMETRY` for missing, doubled, irregular or shifted
            slices and skewed axes.
    """
    frames: list[Frame] = []
    slices: list[npt.NDArray[np.int16]] = []
    for path in paths:
        dataset = _read(path)
        of_file = _frames(dataset, path)
        stored = _stored_values(dataset, path)
        if stored.shape[0] != len(of_file):
            raise StudyError(
                Reason.UNREADABLE, f"{path.name} holds {stored.shape[0]} frames, {len(of_file)} are described"
            )
        slices += [_hu(dataset, pixels, frame) for pixels, frame in zip(stored, of_file, strict=True)]
        frames += of_file
    if len({pixels.shape for pixels in slices}) > 1:
        raise StudyError(Reason.GEOMETRY, f"slices differ in size: {sorted({pixels.shape for pixels in slices})}")
    kept = _without_copies(frames, slices)
    flags = (f"{len(frames) - len(kept)} copies of slices left out",) if len(kept) < len(frames) else ()
    stack = stack_geometry([frames[i] for i in kept], (slices[0].shape[0], slices[0].shape[1]), gaps=gaps)
    hu, affine = _stacked(slices, [kept[place] for place in stack.order], stack)
    sources = {_hu_source(frame) for frame in frames}
    return Volume(hu, affine, hu_source=_summary(sources), flags=(*flags, *stack.flags))


def _stacked(
    slices: Sequence[npt.NDArray[np.int16]], order: Sequence[int], stack: Stack
) -> tuple[npt.NDArray[np.int16], Affine]:
    """The volume of some slices in their order on canonical axes, straight and even, and its affine."""
    shape, affine = (len(order), *slices[0].shape), stack.affine
    if stack.places is None and stack.shifts is None:
        grid, moved = canonical_grid((shape[0], shape[1], shape[2]), affine)
        hu = np.empty(grid, dtype=np.int16)
        in_order = in_file_order(hu, affine)
        for place, number in enumerate(order):
            in_order[place] = slices[number]
        return hu, moved
    hu = np.stack([slices[number] for number in order])
    if stack.places is not None:
        hu = even(hu, stack.places)
    if stack.shifts is not None:
        hu, affine = straighten(hu, affine, stack.shifts)
    return canonical(hu, affine)


def _without_copies(frames: Sequence[Frame], slices: Sequence[npt.NDArray[np.int16]]) -> list[int]:
    """Numbers of the slices without those that repeat another one's place and every pixel of it."""
    at_place: dict[tuple[float, ...], list[int]] = {}
    kept = []
    for number, frame in enumerate(frames):
        same = at_place.setdefault(tuple(frame.position.round(3).tolist()), [])
        if not any(np.array_equal(slices[number], slices[other]) for other in same):
            same.append(number)
            kept.append(number)
    return kept


def _summary(sources: set[str]) -> str:
    """One phrase for all slices: scanners may scale each slice by itself."""
    listed = sorted(sources)
    return listed[0] if len(listed) == 1 else f"{listed[0]} and {len(listed) - 1} other slopes"


def _read(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(path, force=True)
    except DECODE_ERRORS as error:
        raise StudyError(Reason.UNREADABLE, f"{path.name} is no readable DICOM file: {_one_line(error)}") from error


def _stored_values(dataset: Any, path: Path) -> npt.NDArray[np.generic]:
    """Decoded pixels (frame, row, column), before rescaling.

    JPEG, JPEG-LS and JPEG 2000 go through GDCM where it can, so that one archive is decoded by one library.
    """
    try:
        syntax = dataset.file_meta.TransferSyntaxUID if "TransferSyntaxUID" in dataset.file_meta else None
        if syntax is None:
            dataset.file_meta.TransferSyntaxUID = syntax = _guessed_syntax(dataset)
        if dataset.get("SamplesPerPixel", 1) != 1:
            raise StudyError(Reason.UNREADABLE, f"{path.name} is a colour image")
        if syntax.is_compressed and syntax != RLELossless and not syntax.is_deflated and _gdcm_decodes(syntax):
            dataset.pixel_array_options(decoding_plugin="gdcm")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels: npt.NDArray[np.generic] = dataset.pixel_array
    except DECODE_ERRORS as error:
        raise StudyError(Reason.UNREADABLE, f"{path.name} cannot be decoded: {_one_line(error)}") from error
    return pixels[None] if pixels.ndim == 2 else pixels


def _gdcm_decodes(syntax: UID) -> bool:
    return "gdcm" in get_decoder(syntax).available_plugins


def _guessed_syntax(dataset: Any) -> UID:
    """A file without meta header is uncompressed; pydicom found its encoding when it read it."""
    implicit, little = dataset.original_encoding
    if implicit:
        return pydicom.uid.ImplicitVRLittleEndian
    return pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _hu(dataset: Any, stored: npt.NDArray[np.generic], frame: Frame) -> npt.NDArray[np.int16]:
    """One slice in HU, (row, column); padding that would pass for metal becomes air."""
    if float(frame.slope).is_integer() and float(frame.intercept).is_integer():
        scaled = stored.astype(np.int64) * int(frame.slope) + int(frame.intercept)
    else:
        scaled = np.rint(stored.astype(np.float64) * frame.slope + frame.intercept)
    hu: npt.NDArray[np.int16] = scaled.clip(-32768, 32767).astype(np.int16)
    padding = dataset.get("PixelPaddingValue")
    if isinstance(padding, int) and padding * frame.slope + frame.intercept > HIGHEST_HU:
        hu[stored == padding] = AIR_HU
    return hu


def _hu_source(frame: Frame) -> str:
    if frame.slope == 1 and frame.intercept == 0:
        return "dicom values"
    return f"dicom rescale slope={frame.slope:g} intercept={frame.intercept:g}"


def _frames(dataset: Any, path: Path) -> list[Frame]:
    """Place and scale of each frame of a file: one of a classic image, many of an enhanced one."""
    try:
        if "PerFrameFunctionalGroupsSequence" not in dataset:
            return [_frame(dataset, dataset, dataset, dataset)]
        shared = dataset.SharedFunctionalGroupsSequence[0] if "SharedFunctionalGroupsSequence" in dataset else Dataset()
        return [_enhanced_frame(shared, own) for own in dataset.PerFrameFunctionalGroupsSequence]
    except DECODE_ERRORS as error:
        raise StudyError(
            Reason.GEOMETRY, f"{path.name} does not say where its slices lie: {_one_line(error)}"
        ) from error


def _enhanced_frame(shared: Any, own: Any) -> Frame:
    def group(name: str) -> Any:
        return (own if name in own else shared)[name][0]

    return _frame(
        group("PlanePositionSequence"),
        group("PlaneOrientationSequence"),
        group("PixelMeasuresSequence"),
        group("PixelValueTransformationSequence") if _scaled(shared, own) else Dataset(),
    )


def _scaled(shared: Any, own: Any) -> bool:
    """Whether an enhanced frame says how its values become HU; one that does not is left to the HU gate."""
    return any("PixelValueTransformationSequence" in groups for groups in (own, shared))


def _frame(position: Any, orientation: Any, measures: Any, scale: Any) -> Frame:
    rows, columns = (float(value) for value in measures.PixelSpacing)
    if min(rows, columns) <= 0:
        raise ValueError(f"PixelSpacing is {rows}, {columns}")
    return Frame(
        position=np.array([float(value) for value in position.ImagePositionPatient]).reshape(3),
        orientation=np.array([float(value) for value in orientation.ImageOrientationPatient]).reshape(2, 3),
        pixel_spacing=(rows, columns),
        slope=float(1 if scale.get("RescaleSlope") is None else scale.RescaleSlope),
        intercept=float(0 if scale.get("RescaleIntercept") is None else scale.RescaleIntercept),
    )
