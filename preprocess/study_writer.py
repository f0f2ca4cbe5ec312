"""Writes one study as a Zarr v3 group in a zip file, whole; `study_file` reads it, and so does a plain zarr.

What describes an array is made by zarr, once for each type. The rest is put together here: zarr's event loop costs
several times as much as compressing the data.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from numcodecs import Zstd
from zarr.codecs import ZstdCodec
from zarr.storage import MemoryStore

from preprocess.crops import Crop
from preprocess.geometry import Affine
from preprocess.publish import publish
from preprocess.store_place import StorePath
from preprocess.study_file import ROOT_KEYS, SCHEMA_VERSION, VOLUME_KEYS
from preprocess.volume import LabelMap

_LEVEL = 3
_EPOCH = (1980, 1, 1, 0, 0, 0)
Entry = tuple[str, bytes]


@dataclass(frozen=True)
class StoredVolume:
    """What the store keeps of one volume.

    Attributes:
        attributes: The keys `VOLUME_KEYS`; those not given are null.
        labels: The segmenter's whole label map, on its own grid.
        overview: int16 HU (z, y, x) of the whole volume, and its affine.
        crops: Anatomy name to crop, absent ones too.
        volume: int16 HU (z, y, x) at 1 x 1 x 3 mm and its affine, where it is to be kept.
    """

    attributes: Mapping[str, Any]
    labels: LabelMap
    overview: tuple[npt.NDArray[np.int16], Affine]
    crops: Mapping[str, Crop]
    volume: tuple[npt.NDArray[np.int16], Affine] | None = None


def write_study_file(path: StorePath, attributes: Mapping[str, Any], volumes: Mapping[str, StoredVolume]) -> None:
    """Write one study; the same input gives the same bytes.

    Args:
        path: `<study_id>.zarr.zip`; replaced if it exists.
        attributes: The keys `ROOT_KEYS` but `schema_version`; those not given are null.
        volumes: `v0`, `v1`, ... to what is kept of each.

    Raises:
        ValueError: An attribute is not one of the schema's.
        OSError: The file system refuses.
    """
    entries = [_group("", _attributes({**attributes, "schema_version": SCHEMA_VERSION}, ROOT_KEYS))]
    for name, volume in sorted(volumes.items()):
        entries += _volume_entries(f"{name}/", volume)
    publish(path, _zipped(entries))


def _attributes(given: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(keys))
    if unknown:
        raise ValueError(f"{unknown[0]} is no attribute of the store's schema; known: {', '.join(keys)}")
    return {key: given.get(key) for key in keys}


def _volume_entries(place: str, volume: StoredVolume) -> Iterator[Entry]:
    yield _group(place, _attributes(volume.attributes, VOLUME_KEYS))
    names = {str(number): structure for number, structure in sorted(volume.labels.names.items())}
    yield from _array(f"{place}labels/", volume.labels.labels, volume.labels.affine, structures=names)
    yield from _array(f"{place}overview/", *volume.overview)
    if volume.volume is not None:
        yield from _array(f"{place}volume/", *volume.volume)
    for anatomy, crop in volume.crops.items():
        yield from _crop_entries(f"{place}{anatomy}/", crop)


def _crop_entries(place: str, crop: Crop) -> Iterator[Entry]:
    attributes = {
        "spacing_mm": list(crop.spacing_mm),
        "affine": None if crop.affine is None else crop.affine.tolist(),
        "extent": crop.extent,
        "cut_fraction": crop.cut_fraction,
        "volume_ml": crop.volume_ml,
        "parts": list(crop.parts),
        "source_grid": {"shape": list(crop.source_grid.shape), "affine": crop.source_grid.affine.tolist()},
    }
    yield _group(place, attributes)
    if crop.image is not None and crop.mask is not None and crop.affine is not None:
        yield from _array(f"{place}image/", crop.image, crop.affine)
        yield from _array(f"{place}mask/", crop.mask, crop.affine)


def _group(place: str, attributes: Mapping[str, Any]) -> Entry:
    """What describes a group."""
    return _described(place, {"attributes": attributes, "zarr_format": 3, "node_type": "group"})


def _array(place: str, array: npt.NDArray[Any], affine: Affine, **attributes: Any) -> Iterator[Entry]:
    """What describes an array, and its only chunk."""
    described = json.loads(_array_template(array.dtype.name))
    described["shape"] = list(array.shape)
    described["chunk_grid"]["configuration"]["chunk_shape"] = list(array.shape)
    described["attributes"] = {"affine": affine.tolist(), **attributes}
    yield _described(place, described)
    stored = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    yield f"{place}c/0/0/0", Zstd(level=_LEVEL, checksum=True).encode(stored)


def _described(place: str, content: Mapping[str, Any]) -> Entry:
    return f"{place}zarr.json", json.dumps(content).encode()


@cache
def _array_template(dtype: str) -> bytes:
    """What zarr says of an array of this type with one chunk."""
    entries: dict[str, Any] = {}
    zarr.create_array(
        MemoryStore(entries),
        shape=(1, 1, 1),
        dtype=dtype,
        chunks=(1, 1, 1),
        filters=None,
        compressors=ZstdCodec(level=_LEVEL, checksum=True),
        fill_value=0,
        zarr_format=3,
    )
    return bytes(entries["zarr.json"].to_bytes())


def _zipped(entries: list[Entry]) -> bytes:
    """A zip file, uncompressed, with sorted entries and fixed times."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(entries):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return buffer.getvalue()
