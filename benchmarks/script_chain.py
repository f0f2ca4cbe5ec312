"""The usual way from a CT to what a model reads: four scripts, each reading and writing gzip NIfTI.

Written after the habit of public code for training on CT: one script sets the rescale and writes the volume anew, one
merges the segmenter's masks into the organs that are wanted, one resamples volume and mask to 1 x 1 x 3 mm, one scales
the intensities to 0..1, crops to the organs with a rim and pads to the model's size. SimpleITK reads, resamples and
writes with its default settings. As there, resampled images stay 32-bit floats; masks stay bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK

SPACING_MM = (1.0, 1.0, 3.0)
WINDOW_HU = (-1150.0, 350.0)
RIM = (5, 20, 20)
PADDED = (112, 256, 352)
"""Voxels along (z, y, x), of the rim round the organs and of the smallest volume written."""


def run_chain(
    image: Path, masks: Path, organs: Mapping[str, Sequence[str]], numbers: Mapping[str, int], out: Path
) -> None:
    """Run all four scripts.

    Args:
        image: The CT.
        masks: Folder with one file a structure, or one file with all structures.
        organs: Organ to the structures that make it.
        numbers: Structure to its number in a file with all structures.
        out: Folder to fill.
    """
    fix(image, out / "fixed.nii.gz")
    if masks.is_dir():
        merge_files(masks, organs, out / "merged.nii.gz")
    else:
        merge_numbers(masks, organs, numbers, out / "merged.nii.gz")
    resample(out / "fixed.nii.gz", out / "resampled.nii.gz", SimpleITK.sitkLinear)
    resample(out / "merged.nii.gz", out / "resampled_mask.nii.gz", SimpleITK.sitkNearestNeighbor)
    crop_and_pad(out / "resampled.nii.gz", out / "resampled_mask.nii.gz", out)


def fix(source: Path, target: Path, slope: float = 1.0, intercept: float = 0.0) -> None:
    """Rescale to HU as the table of the archive says, and write as int16."""
    image = SimpleITK.ReadImage(source)
    SimpleITK.WriteImage(SimpleITK.Cast(image * slope + intercept, SimpleITK.sitkInt16), target)


def merge_files(folder: Path, organs: Mapping[str, Sequence[str]], target: Path) -> None:
    """Merge one file a structure into one label an organ."""
    merged = first = None
    for number, structures in enumerate(organs.values(), start=1):
        for structure in structures:
            mask = SimpleITK.ReadImage(folder / f"{structure}.nii.gz")
            values = SimpleITK.GetArrayFromImage(mask)
            if merged is None:
                first, merged = mask, np.zeros_like(values)
            merged[values > 0] = number
    _write(merged, first, target)


def merge_numbers(source: Path, organs: Mapping[str, Sequence[str]], numbers: Mapping[str, int], target: Path) -> None:
    """Merge the structures of one file into one label an organ."""
    image = SimpleITK.ReadImage(source)
    values = SimpleITK.GetArrayFromImage(image)
    merged = np.zeros_like(values)
    for number, structures in enumerate(organs.values(), start=1):
        for structure in structures:
            merged[values == numbers[structure]] = number
    _write(merged, image, target)


def resample(source: Path, target: Path, interpolator: int) -> None:
    """Resample to the model's voxel size."""
    image = SimpleITK.ReadImage(source)
    if interpolator == SimpleITK.sitkLinear:
        image = SimpleITK.Cast(image, SimpleITK.sitkFloat32)
    size = [
        round(count * step / wanted)
        for count, step, wanted in zip(image.GetSize(), image.GetSpacing(), SPACING_MM, strict=True)
    ]
    resampled = SimpleITK.Resample(
        image, size, SimpleITK.Transform(), interpolator, image.GetOrigin(), SPACING_MM, image.GetDirection()
    )
    SimpleITK.WriteImage(resampled, target)


def crop_and_pad(source: Path, mask_source: Path, out: Path) -> None:
    """Scale to 0..1, crop both to the organs with a rim, pad both to the model's size."""
    image, mask = SimpleITK.ReadImage(source), SimpleITK.ReadImage(mask_source)
    low, high = WINDOW_HU
    values = (np.clip(SimpleITK.GetArrayFromImage(image), low, high) - low) / (high - low)
    labels = SimpleITK.GetArrayFromImage(mask)
    box = []
    for axis, rim in enumerate(RIM):
        planes = np.flatnonzero(labels.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(max(0, planes[0] - rim), planes[-1] + 1 + rim))
    values, labels = values[tuple(box)], labels[tuple(box)]
    missing = [max(0, wanted - size) for wanted, size in zip(PADDED, values.shape, strict=True)]
    pad = [(less // 2, less - less // 2) for less in missing]
    _write(np.pad(values, pad), image, out / "processed.nii.gz", same_grid=False)
    _write(np.pad(labels, pad), image, out / "processed_mask.nii.gz", same_grid=False)


def _write(values: np.ndarray, like: SimpleITK.Image, target: Path, *, same_grid: bool = True) -> None:
    image = SimpleITK.GetImageFromArray(values)
    if same_grid:
        image.CopyInformation(like)
    else:
        image.SetSpacing(like.GetSpacing())
        image.SetDirection(like.GetDirection())
    SimpleITK.WriteImage(image, target)
