"""The truth beside a simulated archive: label maps, lesions as rows and as voxels. Only scoring opens it."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Extension
from numpy.typing import NDArray

from preprocess.geometry import nifti_from_affine
from preprocess.simulate.scene import Lesion


def write_labels(path: Path, labels: NDArray[np.uint8], affine: NDArray[np.float64], names: Mapping[int, str]) -> None:
    """Write a label map as NIfTI with the names of its numbers in the header, as TotalSegmentator does.

    Args:
        path: File to write, `.nii.gz`.
        labels: (z, y, x).
        affine: Index (z, y, x) to LPS mm.
        names: Number to structure name.
    """
    rows = "".join(
        f'<Label Key="{number}" Red="1" Green="1" Blue="1" Alpha="1"><![CDATA[{html.escape(name)}]]></Label>'
        for number, name in sorted(names.items())
    )
    head = '<?xml version="1.0" encoding="UTF-8"?><CaretExtension><VolumeInformation Index="0"><LabelTable>'
    tail = "</LabelTable></VolumeInformation></CaretExtension>"
    image = nibabel.Nifti1Image(labels.transpose(2, 1, 0), nifti_from_affine(affine))
    image.header.set_xyzt_units("mm")
    image.header.extensions.append(Nifti1Extension(0, f"{head}{rows}{tail}".encode()))
    nibabel.save(image, path)


def write_voxels(path: Path, lesions: Sequence[Lesion], shape: tuple[int, ...], affine: NDArray[np.float64]) -> None:
    """Write the lesions' voxels: `shape` (3,), `affine` (4, 4), and for each finding flat indices, int32 ascending."""
    arrays: dict[str, Any] = {lesion.finding: np.sort(lesion.voxels).astype(np.int32) for lesion in lesions}
    np.savez_compressed(path, shape=np.array(shape), affine=affine, **arrays)


def read_voxels(path: Path) -> tuple[dict[str, NDArray[np.int32]], tuple[int, int, int], NDArray[np.float64]]:
    """Read what `write_voxels` wrote: flat indices by finding, shape (z, y, x), affine to LPS mm."""
    with np.load(path) as file:
        lesions = {name: file[name] for name in file.files if "." in name}
        z, y, x = (int(n) for n in file["shape"])
        return lesions, (z, y, x), file["affine"]


def describe_lesion(lesion: Lesion, shape: tuple[int, ...], affine: NDArray[np.float64]) -> dict[str, object]:
    """Return the lesion's row: centre and box in LPS mm, size, side, part and contrast."""
    index = np.stack(np.unravel_index(lesion.voxels, shape), axis=1).astype(np.float32)
    points = index @ affine[:3, :3].T.astype(np.float32)
    centre, low, high = points.mean(axis=0), points.min(axis=0), points.max(axis=0)
    row: dict[str, object] = {
        "finding": lesion.finding,
        "severity": lesion.severity,
        "side": lesion.side,
        "part": lesion.part,
    }
    for name, point in (("centre", centre), ("low", low), ("high", high)):
        place = point.astype(np.float64) + affine[:3, 3]
        row |= {f"{name}_{axis}_mm": round(float(value), 2) for axis, value in zip("lps", place, strict=True)}
    return row | {"size_mm": lesion.size_mm, "voxels": len(lesion.voxels), "contrast_hu": lesion.contrast_hu}
