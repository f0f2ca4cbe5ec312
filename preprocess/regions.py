"""From structures to an anatomy: the organ's mask by parts, and the region where its findings can be."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from preprocess.structures import structures_named
from preprocess.thorax import BELOW_MM, CAGE, fill_hull, fill_thorax
from preprocess.vocabulary import Anatomy
from preprocess.volume import LabelMap

Box = tuple[slice, slice, slice]
Bools = npt.NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)

COARSE_MM = {"none": 4.0, "hull": 4.0, "thorax": 6.0}
"""Regions are computed on blocks of whole source voxels of about this size, by fill; the organ's mask never is."""


@dataclass(frozen=True)
class AnatomyMask:
    """The organ by parts, in its bounding box.

    Attributes:
        parts: uint8 (z, y, x) of the box: 1, 2, ... in the order of the anatomy's parts.
        start: Source index (z, y, x) of the box's first voxel.
        shape: Number of voxels of the whole source grid.
    """

    parts: npt.NDArray[np.uint8]
    start: tuple[int, int, int]
    shape: tuple[int, int, int]

    def at(self, indices: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.uint8]:
        """Parts at all combinations of source indices along z, y and x; 0 outside the box."""
        return _take(self.parts, [axis - start for axis, start in zip(indices, self.start, strict=True)])


@dataclass(frozen=True)
class RegionMask:
    """Where an anatomy's findings can be, on blocks of source voxels.

    Attributes:
        inside: bool (z, y, x), one a block.
        start: Source index (z, y, x) of the first block's first voxel.
        block: Source voxels of a block along (z, y, x).
        box: (2, 3) low and high corner of the region in voxel edges (voxel i spans i to i + 1), within the volume.
    """

    inside: Bools
    start: tuple[int, int, int]
    block: tuple[int, int, int]
    box: npt.NDArray[np.float64]

    def at(self, indices: Sequence[npt.NDArray[np.int64]]) -> Bools:
        """Whether source voxels lie in the region, at all combinations of indices along z, y and x."""
        blocks = [(axis - start) // size for axis, start, size in zip(indices, self.start, self.block, strict=True)]
        return _take(self.inside, blocks)


def _take(array: npt.NDArray[T], indices: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[T]:
    """Values at all combinations of indices, 0 where one lies outside the array."""
    valid = [(axis >= 0) & (axis < size) for axis, size in zip(indices, array.shape, strict=True)]
    result: npt.NDArray[T] = np.zeros([len(axis) for axis in indices], dtype=array.dtype)
    picked = array[np.ix_(*(axis[ok] for axis, ok in zip(indices, valid, strict=True)))]
    result[np.ix_(*valid)] = picked
    return result


def structure_boxes(label_map: LabelMap) -> dict[int, Box]:
    """Bounding box of every number that occurs in a label map."""
    found = ndimage.find_objects(label_map.labels)
    return {number: (box[0], box[1], box[2]) for number, box in enumerate(found, start=1) if box is not None}


def anatomy_mask(
    label_map: LabelMap, anatomy: Anatomy, *, boxes: Mapping[int, Box] | None = None
) -> AnatomyMask | None:
    """The organ's voxels by parts, exact on the source grid; None where the label map holds none of it.

    Args:
        label_map: Structures.
        anatomy: Which structures make which part.
        boxes: `structure_boxes(label_map)`, where already known.
    """
    boxes = structure_boxes(label_map) if boxes is None else boxes
    table = np.zeros(max(boxes, default=0) + 1, dtype=np.uint8)
    for value, structures in enumerate(anatomy.parts.values(), start=1):
        table[[number for number in structures_named(label_map.names, structures) if number in boxes]] = value
    box = _union([boxes[int(number)] for number in np.flatnonzero(table)])
    if box is None:
        return None
    return AnatomyMask(table[label_map.labels[box]], (box[0].start, box[1].start, box[2].start), label_map.shape)


def _union(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    z, y, x = (slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)) for axis in range(3))
    return (z, y, x)


def anatomy_region(
    label_map: LabelMap, anatomy: Anatomy, organ: AnatomyMask, *, boxes: Mapping[int, Box] | None = None
) -> RegionMask:
    """Where an anatomy's findings can be: organ and companions, filled, then dilated, by the rule of its data.

    Args:
        label_map: Structures, on the image's grid.
        anatomy: The rule.
        organ: The anatomy's mask.
        boxes: `structure_boxes(label_map)`, where already known.
    """
    boxes = structure_boxes(label_map) if boxes is None else boxes
    rule, spacing = anatomy.region, np.array(label_map.spacing_mm)
    block = np.maximum(1, np.rint(COARSE_MM[rule.fill] / spacing)).astype(np.int64)
    companions = [number for number in structures_named(label_map.names, rule.companions) if number in boxes]
    organ_box = _box(organ.start, organ.parts.shape)
    whole = _union([organ_box, *(boxes[number] for number in companions)]) or organ_box
    if rule.fill == "thorax":
        whole = _chest_box(label_map, whole, boxes)
    start, stop = _grown(whole, rule.dilate_mm / spacing + block, label_map.shape)
    labels = label_map.labels[_box(start, stop - start)]
    filled = _filled(labels, label_map.names, anatomy, block, spacing)
    filled |= _holding(labels, companions, block)
    inside = dilate(filled, rule.dilate_mm, _floats(block * spacing))
    found = ndimage.find_objects(inside.view(np.uint8))[0]
    low = start + [axis.start for axis in found] * block
    high = np.minimum(start + [axis.stop for axis in found] * block, stop)
    return RegionMask(inside, _whole(start), _whole(block), np.array([low, high], dtype=np.float64))


def dilate(mask: Bools, distance_mm: float, spacing_mm: tuple[float, float, float]) -> Bools:
    """All voxels whose centre is at most `distance_mm` from a centre inside the mask."""
    if distance_mm <= 0 or not mask.any():
        return mask
    distance: npt.NDArray[np.float64] = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    near: Bools = distance <= distance_mm
    return near


def _filled(
    labels: npt.NDArray[np.generic],
    names: Mapping[int, str],
    anatomy: Anatomy,
    block: npt.NDArray[np.int64],
    spacing: npt.NDArray[np.float64],
) -> Bools:
    """The organ on blocks, filled by the anatomy's rule."""
    own = structures_named(names, anatomy.structures)
    organ = _holding(labels, own, block)
    if anatomy.region.fill == "none":
        return organ
    if anatomy.region.fill == "hull":
        parts = (structures_named(names, structures) for structures in anatomy.parts.values())
        for numbers in parts:
            organ |= fill_hull(_holding(labels, numbers, block))
        return organ
    cage = structures_named(names, CAGE)
    others = [number for number in names if number not in {*own, *cage}]
    middle = labels[tuple(slice(int(size) // 2, None, int(size)) for size in block)]
    crowded = np.zeros(organ.shape, dtype=np.bool_)  # blocks whose middle voxel is another organ's
    crowded[tuple(slice(0, size) for size in middle.shape)] = np.isin(middle, others)
    return fill_thorax(organ, _holding(labels, cage, block), crowded, _floats(block * spacing))


def _holding(labels: npt.NDArray[np.generic], numbers: Iterable[int], block: npt.NDArray[np.int64]) -> Bools:
    """Blocks that hold a voxel of one of the numbers."""
    table = np.zeros(256 if labels.dtype == np.uint8 else 65536, dtype=np.bool_)
    table[[number for number in numbers if number < len(table)]] = True
    held: Bools = table[labels]
    for axis in range(3):
        if block[axis] > 1:
            held = np.logical_or.reduceat(held, np.arange(0, held.shape[axis], block[axis]), axis=axis)
    return held


def _chest_box(label_map: LabelMap, lungs: Box, boxes: Mapping[int, Box]) -> Box:
    """The lungs' box, as wide as the rib cage and `BELOW_MM` deeper."""
    cage = _union([boxes[number] for number in structures_named(label_map.names, CAGE) if number in boxes])
    wide = _union([lungs, cage]) if cage else lungs
    low = max(0, lungs[0].start - int(np.ceil(BELOW_MM / label_map.spacing_mm[0])))
    # the lungs' mirror image may reach beyond lungs and ribs: take the whole width of the volume
    return (slice(low, lungs[0].stop), (wide or lungs)[1], slice(0, label_map.shape[2]))


def _grown(
    box: Box, rim: npt.NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First voxel, and the one after the last, of a box grown by a rim in voxels and kept within the volume."""
    rim = np.ceil(rim).astype(np.int64)
    start = np.maximum(0, np.array([axis.start for axis in box]) - rim)
    stop = np.minimum(np.array(shape), np.array([axis.stop for axis in box]) + rim)
    return start, stop


def _box(start: Iterable[int], size: Iterable[int]) -> Box:
    z, y, x = (slice(int(low), int(low + length)) for low, length in zip(start, size, strict=True))
    return (z, y, x)


def _whole(values: Iterable[int]) -> tuple[int, int, int]:
    z, y, x = (int(value) for value in values)
    return (z, y, x)


def _floats(values: Iterable[float]) -> tuple[float, float, float]:
    z, y, x = (float(value) for value in values)
    return (z, y, x)
