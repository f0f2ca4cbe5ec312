"""What TotalSegmentator's task `total` does around its networks, in memory and voxel for voxel as its own Python API.

The image is brought onto the axes and the spacing of the networks, labelled, and the labels are brought back. The API
does the same by way of NIfTI files, child processes and a fresh network a case, none of which changes a label. The
settings and steps are those of TotalSegmentator 2.18; the tests compare with the API of the installed version.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, io_orientation
from scipy import ndimage

from preprocess.errors import Reason, StudyError
from preprocess.geometry import nifti_from_affine
from preprocess.volume import Labels, Volume

TILE_STEP = 0.8
"""Distance between tiles that TotalSegmentator takes for task `total`."""
SPLIT_VOXELS = 512 * 512 * 900
SPLIT_SLICES = 200
"""With several networks, an image of more voxels and slices than these is labelled in three parts along z."""
_OVERLAP = 20

LowLabels = npt.NDArray[np.uint8]
Run = Callable[[int, npt.NDArray[np.int16], tuple[float, float, float]], Labels]


@dataclass(frozen=True)
class LowImage:
    """A volume on the axes and spacing of the networks.

    Attributes:
        hu: int16 (z, y, x); x grows to the patient's right hand, y to the front, z to the head (NIfTI's RAS, reversed).
        spacing_mm: Along (z, y, x).
    """

    hu: npt.NDArray[np.int16]
    spacing_mm: tuple[float, float, float]


def lower(volume: Volume, spacing_mm: float) -> LowImage:
    """The volume at the networks' spacing, by linear interpolation.

    `totalsegmentator.resampling.change_spacing` without its copies: the same call of scipy on the same values in the
    same order of axes, but from int16 instead of a float64 copy of the volume, which takes four times its memory.
    """
    affine = nifti_from_affine(volume.affine)
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.hu.transpose(2, 1, 0), affine))
    hu = np.asanyarray(image.dataobj)
    zooms = np.array(image.header.get_zooms())  # float32, as TotalSegmentator takes them
    wanted = np.full(3, spacing_mm)
    if not np.array_equal(zooms, wanted):
        zoom = zooms / wanted
        if np.any(np.round(hu.shape * zoom) < 1):
            size = ", ".join(f"{length:.1f}" for length in volume.coverage_mm)
            raise StudyError(
                Reason.SEGMENTER, f"the volume, {size} mm (z, y, x), is too thin for {spacing_mm} mm voxels"
            )
        hu = ndimage.zoom(hu, zoom, order=1, mode="nearest", output=np.float64).astype(np.int16)  # cut, not rounded
        zooms = (voxel_sizes(image.affine) / zoom).astype(np.float32)
    x, y, z = (float(size) for size in zooms)
    return LowImage(hu.transpose(2, 1, 0), (z, y, x))


def label(image: LowImage, tables: Sequence[LowLabels | None], run: Run) -> LowLabels:
    """Task `total`'s number of each voxel, (z, y, x) like the image.

    Args:
        image: What `lower` gave.
        tables: For each network the task's number of each of its own, or None where the network numbers as the task.
        run: Labels of an array by the network of that place in `tables`.
    """
    spans = _spans(image.hu.shape[0], image.hu.size, several=len(tables) > 1)
    merged = np.zeros(image.hu.shape, dtype=np.uint8)
    parts = [np.zeros_like(merged[first:last]) for first, last, _, _ in spans]
    for place, table in enumerate(tables):
        for part, (first, last, _, _) in zip(parts, spans, strict=True):
            found = run(place, image.hu[first:last], image.spacing_mm).astype(np.uint8, copy=False)
            mapped = found if table is None else table[found]
            np.copyto(part, mapped, where=mapped != 0)
    for part, (first, _, begin, end) in zip(parts, spans, strict=True):
        merged[begin:end] = part[begin - first : end - first]
    return merged


def total_tables(numbers: Sequence[int]) -> list[LowLabels | None]:
    """For each network of task `total`, by nnU-Net's number of its dataset, what its own numbers mean in the task."""
    from totalsegmentator.map_to_binary import class_map, class_map_5_parts, map_taskid_to_partname_ct

    if len(numbers) == 1:
        return [None]
    of_task = {name: number for number, name in class_map["total"].items()}
    tables: list[LowLabels | None] = []
    for number in numbers:
        table = np.zeros(256, dtype=np.uint8)
        for own, name in class_map_5_parts[map_taskid_to_partname_ct[number]].items():
            table[own] = of_task[name]
        tables.append(table)
    return tables


def raise_back(labels: LowLabels, volume: Volume, keep: Collection[int] | None = None) -> LowLabels:
    """Labels on the volume's grid, by the nearest voxel along each axis as TotalSegmentator takes it.

    TotalSegmentator lays the first and last voxel centres of both grids onto each other and takes for each voxel the
    nearest label of the one merged map. A structure's voxels thus hang on no other structure's, and to bring back only
    some structures means: the others' voxels become 0 first, and only the box that holds what is left is filled. Every
    named structure keeps exactly the voxels that it has in the whole map.

    Args:
        labels: (z, y, x) on the grid of `lower`.
        volume: Where they belong.
        keep: Numbers to bring back; by default all.

    Returns:
        uint8 (z, y, x) on the volume's own axes and grid.
    """
    if keep is not None:
        table = np.zeros(256, dtype=np.uint8)
        table[list(keep)] = list(keep)
        labels = table[labels]
    result: LowLabels = np.zeros(volume.shape, dtype=np.uint8)
    turn = io_orientation(nifti_from_affine(volume.affine))
    view = apply_orientation(result.transpose(2, 1, 0), turn).transpose(2, 1, 0)  # on the networks' axes; no copy
    sources = []
    slices = []
    for axis in range(3):
        source = _nearest(labels.shape[axis], view.shape[axis])
        used = np.flatnonzero(labels.any(axis=tuple({0, 1, 2} - {axis})))
        low, high = (used[0], used[-1]) if used.size else (0, -1)
        span = slice(int(np.searchsorted(source, low)), int(np.searchsorted(source, high, side="right")))
        sources.append(source[span])
        slices.append(span)
    rows, columns = sources[1][:, None], sources[2][None, :]
    for z, source in zip(range(slices[0].start, slices[0].stop), sources[0], strict=True):
        view[z, slices[1], slices[2]] = labels[source][rows, columns]
    return result


def _nearest(length: int, wanted: int) -> npt.NDArray[np.int64]:
    """Index of the nearest of `length` voxels for each of `wanted`, ascending; scipy's own, axis by axis."""
    nearest: npt.NDArray[np.int64] = ndimage.zoom(np.arange(length), wanted / length, order=0, mode="nearest")
    return nearest


def _spans(length: int, voxels: int, *, several: bool) -> list[tuple[int, int, int, int]]:
    """Parts along z: first and last plane that the network sees, first and last plane that it decides."""
    if not (several and voxels > SPLIT_VOXELS and length > SPLIT_SLICES):
        return [(0, length, 0, length)]
    third = length // 3
    return [
        (0, third + _OVERLAP, 0, third),
        (third + 1 - _OVERLAP, 2 * third + _OVERLAP, third, 2 * third),
        (2 * third + 1 - _OVERLAP, length, 2 * third, length),
    ]
