"""From structures to an anatomy: the organ's mask by parts, and the region where its findings can be."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from preprocess.blocks import Blocks
from preprocess.dilation import dilate
from preprocess.label_places import Box, take
from preprocess.structures import structures_named
from preprocess.thorax import BELOW_MM, CAGE, fill_hull, fill_thorax
from preprocess.vocabulary import Anatomy
from preprocess.volume import LabelMap

Bools = npt.NDArray[np.bool_]
Place = tuple[int, int, int]

COARSE_MM = {"none": 4.0, "hull": 4.0, "thorax": 6.0}
"""Regions are computed on blocks of whole source voxels of about this size, by fill; the organ's mask never is."""


@dataclass(frozen=True)
class AnatomyMask:
    """The organ by parts, as numbers of a label map.

    Attributes:
        label_map: Structures, on the image's grid.
        parts: uint8, number to part: 1, 2, ... in the order of the anatomy's parts, 0 for all that is not the organ.
        box: Bounding box of the organ.
    """

    label_map: LabelMap
    parts: npt.NDArray[np.uint8]
    box: Box

    @property
    def numbers(self) -> list[int]:
        """Numbers of the organ's structures."""
        return [int(number) for number in np.flatnonzero(self.parts)]

    def at(self, indices: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.uint8]:
        """Parts at all combinations of source indices along z, y and x; 0 outside the grid."""
        z, y, x = indices
        found: npt.NDArray[np.uint8] = self.parts.take(take(self.label_map.labels, z, y, x))
        return found


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
    start: Place
    block: Place
    box: npt.NDArray[np.float64]

    def at(self, indices: Sequence[npt.NDArray[np.int64]]) -> Bools:
        """Whether source voxels lie in the region, at all combinations of indices along z, y and x."""
        z, y, x = ((axis - start) // size for axis, start, size in zip(indices, self.start, self.block, strict=True))
        return take(self.inside, z, y, x)


def anatomy_mask(label_map: LabelMap, anatomy: Anatomy) -> AnatomyMask | None:
    """The organ's voxels by parts, exact on the source grid; None where the label map holds none of it.

    Args:
        label_map: Structures.
        anatomy: Which structures make which part.
    """
    boxes = label_map.places.boxes
    table = np.zeros(1 << 8 * label_map.labels.itemsize, dtype=np.uint8)
    for value, structures in enumerate(anatomy.parts.values(), start=1):
        table[[number for number in structures_named(label_map.names, structures) if number in boxes]] = value
    box = _union([boxes[int(number)] for number in np.flatnonzero(table)])
    if box is None:
        return None
    return AnatomyMask(label_map, table, box)


def _union(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    z, y, x = (slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)) for axis in range(3))
    return (z, y, x)


def anatomy_region(label_map: LabelMap, anatomy: Anatomy, organ: AnatomyMask) -> RegionMask:
    """Where an anatomy's findings can be: organ and companions, filled, then dilated, by the rule of its data.

    Args:
        label_map: Structures, on the image's grid.
        anatomy: The rule.
        organ: The anatomy's mask.
    """
    boxes, rule, spacing = label_map.places.boxes, anatomy.region, np.array(label_map.spacing_mm)
    block = np.maximum(1, np.rint(COARSE_MM[rule.fill] / spacing)).astype(np.int64)
    companions = [number for number in structures_named(label_map.names, rule.companions) if number in boxes]
    whole = _union([organ.box, *(boxes[number] for number in companions)]) or organ.box
    if rule.fill == "thorax":
        whole = _chest_box(label_map, whole, boxes)
    start, stop = _grown(whole, rule.dilate_mm / spacing + block, label_map.shape)
    filled = _filled(label_map, anatomy, companions, Blocks(_whole(start), _whole(stop), _whole(block)))
    inside = dilate(filled, rule.dilate_mm, _floats(block * spacing))
    found = ndimage.find_objects(inside.view(np.uint8))[0]
    low = start + [axis.start for axis in found] * block
    high = np.minimum(start + [axis.stop for axis in found] * block, stop)
    return RegionMask(inside, _whole(start), _whole(block), np.array([low, high], dtype=np.float64))


def _filled(label_map: LabelMap, anatomy: Anatomy, companions: Sequence[int], blocks: Blocks) -> Bools:
    """The organ on blocks, filled by the anatomy's rule, and its companions."""
    names, fill = label_map.names, anatomy.region.fill
    parts = [structures_named(names, structures) for structures in anatomy.parts.values()] if fill == "hull" else []
    own, cage = structures_named(names, anatomy.structures), structures_named(names, CAGE) if fill == "thorax" else []
    organ: Bools
    organ, beside, ribs, *pieces = blocks.holding(label_map, [own, companions, cage, *parts])
    for piece in pieces:
        organ |= fill_hull(piece)
    if fill == "thorax":
        crowded = blocks.in_middle(label_map, {number for number in names if number not in {*own, *cage}})
        organ = fill_thorax(organ, ribs, crowded, _floats(blocks.block * np.array(label_map.spacing_mm)))
    organ |= beside
    return organ


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


def _whole(values: Iterable[int]) -> Place:
    z, y, x = (int(value) for value in values)
    return (z, y, x)


def _floats(values: Iterable[float]) -> tuple[float, float, float]:
    z, y, x = (float(value) for value in values)
    return (z, y, x)
