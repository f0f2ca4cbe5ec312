"""Messy cases of pixels: how they are scaled, padded, compressed and encoded, and numbers that are no HU."""

from collections.abc import Callable
from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from preprocess.simulate.messy_study import (
    Hu,
    MessyStudy,
    Slices,
    all_files,
    change_headers,
    change_series,
    place,
    store_pixels,
)

_SLOPES = (1.0, 0.5, 0.25)


def scaled_by_slice(study: MessyStudy) -> None:
    """Each slice has a slope and an intercept of its own."""

    def change(slices: Slices) -> None:
        for index, file in enumerate(slices.files):
            slope, intercept = _SLOPES[index % 3], -1024 - index % 5
            store_pixels(file, (slices.hu[index] - intercept) / slope, slope=slope, intercept=intercept)

    change_series(study, change)


def _of_hu(study: MessyStudy, stored: Callable[[Hu], NDArray[Any]]) -> None:
    """Stores a function of each CT series' HU as if it were HU."""

    def change(slices: Slices) -> None:
        values = np.rint(stored(slices.hu)).clip(-32768, 32767)
        for file, plane in zip(slices.files, values, strict=True):
            store_pixels(file, plane)

    change_series(study, change)


def never_rescaled(study: MessyStudy) -> None:
    """The intercept was lost: soft tissue lies near 1024."""
    _of_hu(study, lambda hu: hu.astype(np.int32) + 1024)


def rescaled_twice(study: MessyStudy) -> None:
    """The intercept was applied twice: soft tissue lies near -1024."""
    _of_hu(study, lambda hu: hu.astype(np.int32) - 1024)


def zero_to_one(study: MessyStudy) -> None:
    """The values were brought to 0 to 1, and rounded on the way."""
    _of_hu(study, lambda hu: (hu.astype(np.float64) + 1024) / 4095)


def eight_bits(study: MessyStudy) -> None:
    """The values are those of a picture, 0 to 255."""
    _of_hu(study, lambda hu: np.clip((hu.astype(np.float64) + 160) / 400, 0, 1) * 255)


def constant(study: MessyStudy) -> None:
    """All pixels are 0."""
    _of_hu(study, np.zeros_like)


def padding_2000(study: MessyStudy) -> None:
    """Corners outside the reconstruction circle hold -2000."""
    _pad(study, -2000)


def padding_3024(study: MessyStudy) -> None:
    """Corners outside the reconstruction circle hold -3024."""
    _pad(study, -3024)


def _pad(study: MessyStudy, value: int) -> None:
    def filled(hu: Hu) -> Hu:
        y, x = (np.linspace(-1, 1, size) for size in hu.shape[1:])
        hu = hu.copy()
        hu[:, y[:, None] ** 2 + x[None] ** 2 > 1] = value
        return hu

    _of_hu(study, filled)


def small_field(study: MessyStudy) -> None:
    """The field of view is the middle of the body: there is no air around it."""

    def change(slices: Slices) -> None:
        _, rows, columns = slices.hu.shape
        top, left = rows * 2 // 5, columns * 3 // 10
        hu = slices.hu[:, top : rows - rows // 4, left : columns - left]
        affine = slices.affine.copy()
        affine[:3, 3] += affine[:3, 1] * top + affine[:3, 2] * left
        for index, file in enumerate(slices.files):
            store_pixels(file, hu[index])
            place(file, affine, index)

    change_series(study, change)


def metal(study: MessyStudy) -> None:
    """A hip implant: the brightest value that 16 bits hold, with dark streaks."""

    def with_metal(hu: Hu) -> Hu:
        hu = hu.copy()
        z, y, x = (size // 2 for size in hu.shape)
        hu[: z // 2, y - 3 : y + 3, x - 4 : x + 4] = 30000
        hu[: z // 2, y, x + 4 : x + 12] = -900
        return hu

    _of_hu(study, with_metal)


def clipped_12_bit(study: MessyStudy) -> None:
    """Values end at 3071 and start at -1024, and many lie there."""
    _of_hu(study, lambda hu: np.clip(hu.astype(np.int32) * 3, -1024, 3071))


def jpeg_lossless(study: MessyStudy) -> None:
    """Compressed by lossless JPEG."""
    _compress(study, gdcm.TransferSyntax.JPEGLosslessProcess14_1)


def jpeg_ls(study: MessyStudy) -> None:
    """Compressed by JPEG-LS."""
    _compress(study, gdcm.TransferSyntax.JPEGLSLossless)


def jpeg_2000(study: MessyStudy) -> None:
    """Compressed by JPEG 2000 without loss."""
    _compress(study, gdcm.TransferSyntax.JPEG2000Lossless)


def rle(study: MessyStudy) -> None:
    """Compressed by run lengths."""
    _compress(study, gdcm.TransferSyntax.RLELossless)


def _compress(study: MessyStudy, syntax: int) -> None:
    for path in all_files(study):
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise ValueError(f"{path.name} cannot be compressed as {gdcm.TransferSyntax(syntax)}")
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.Write()


def implicit_vr(study: MessyStudy) -> None:
    """Encoded without value representations."""
    _encode(study, ImplicitVRLittleEndian)


def deflated(study: MessyStudy) -> None:
    """Everything after the meta header is deflated."""
    _encode(study, DeflatedExplicitVRLittleEndian)


def big_endian(study: MessyStudy) -> None:
    """Encoded with the high byte first."""
    _encode(study, ExplicitVRBigEndian)


def _encode(study: MessyStudy, syntax: Any) -> None:
    def change(file: Any) -> None:
        if not syntax.is_little_endian:
            file.PixelData = np.frombuffer(file.PixelData, "<u2").byteswap().tobytes()
        file.file_meta.TransferSyntaxUID = syntax

    change_headers(study, change)


def undecodable(study: MessyStudy) -> None:
    """The compressed streams of all slices end early."""
    _compress(study, gdcm.TransferSyntax.JPEGLSLossless)

    def change(file: Any) -> None:
        stream = next(generate_frames(file.PixelData, number_of_frames=1))
        file.PixelData = encapsulate([stream[: len(stream) // 8 * 2]])

    change_headers(study, change)
