"""One study on disk: a Zarr v3 group in a zip file, written whole, read array by array.

Writing goes through zarr. Reading takes the few bytes of an array straight from the zip file, since zarr's event loop
costs more than the data; a plain zarr opens the same files.
"""

import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import zarr
from numcodecs import Zstd
from zarr.codecs import ZstdCodec
from zarr.storage import MemoryStore

from preprocess.crops import Crop, SourceGrid
from preprocess.errors import StoreError
from preprocess.geometry import Affine
from preprocess.publish import publish
from preprocess.volume import LabelMap

SCHEMA_VERSION = 1
SUFFIX = ".zarr.zip"
ROOT_KEYS = (
    "schema_version", "study_id", "patient_id", "study_day", "age_years", "sex", "manufacturer", "model", "split",
    "source_digest",
)  # fmt: skip
VOLUME_KEYS = (
    "series", "hu_source", "phase", "phase_source", "kernel", "coverage_mm", "segmenter", "flags",
)  # fmt: skip
_LEVEL = 3
_EPOCH = (1980, 1, 1, 0, 0, 0)
_NOT_ANATOMIES = ("labels", "overview", "volume")


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


def write_study_file(path: Path, attributes: Mapping[str, Any], volumes: Mapping[str, StoredVolume]) -> None:
    """Write one study; the same input gives the same bytes.

    Args:
        path: `<study_id>.zarr.zip`; replaced if it exists.
        attributes: The keys `ROOT_KEYS` but `schema_version`; those not given are null.
        volumes: `v0`, `v1`, ... to what is kept of each.

    Raises:
        ValueError: An attribute is not one of the schema's.
        OSError: The file system refuses.
    """
    entries: dict[str, Any] = {}
    root = zarr.create_group(
        MemoryStore(entries),
        zarr_format=3,
        attributes=_attributes({**attributes, "schema_version": SCHEMA_VERSION}, ROOT_KEYS),
    )
    for name, volume in sorted(volumes.items()):
        group = root.create_group(name, attributes=_attributes(volume.attributes, VOLUME_KEYS))
        names = {str(number): structure for number, structure in sorted(volume.labels.names.items())}
        _write_array(group, "labels", volume.labels.labels, volume.labels.affine, structures=names)
        _write_array(group, "overview", *volume.overview)
        if volume.volume is not None:
            _write_array(group, "volume", *volume.volume)
        for anatomy, crop in sorted(volume.crops.items()):
            _write_crop(group, anatomy, crop)
    publish(path, _zipped({key: value.to_bytes() for key, value in entries.items()}))


def _attributes(given: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(keys))
    if unknown:
        raise ValueError(f"{unknown[0]} is no attribute of the store's schema; known: {', '.join(keys)}")
    return {key: given.get(key) for key in keys}


def _write_array(group: Any, name: str, array: npt.NDArray[Any], affine: Affine, **attributes: Any) -> None:
    group.create_array(
        name,
        data=np.ascontiguousarray(array),
        chunks=array.shape,
        filters=None,
        compressors=ZstdCodec(level=_LEVEL, checksum=True),
        fill_value=0,
        attributes={"affine": affine.tolist(), **attributes},
    )


def _write_crop(group: Any, anatomy: str, crop: Crop) -> None:
    attributes = {
        "spacing_mm": list(crop.spacing_mm),
        "affine": None if crop.affine is None else crop.affine.tolist(),
        "extent": crop.extent,
        "cut_fraction": crop.cut_fraction,
        "volume_ml": crop.volume_ml,
        "parts": list(crop.parts),
        "source_grid": {"shape": list(crop.source_grid.shape), "affine": crop.source_grid.affine.tolist()},
    }
    target = group.create_group(anatomy, attributes=attributes)
    if crop.image is not None and crop.mask is not None and crop.affine is not None:
        _write_array(target, "image", crop.image, crop.affine)
        _write_array(target, "mask", crop.mask, crop.affine)


def _zipped(entries: Mapping[str, bytes]) -> bytes:
    """A zip file, uncompressed, with sorted entries and fixed times."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, entries[name])
    return buffer.getvalue()


class StudyFile:
    """One study of a store, open for reading; the file is opened on first use, in each process anew.

    Args:
        path: `<study_id>.zarr.zip`.
        study_id: Named in errors.
    """

    def __init__(self, path: Path, study_id: str) -> None:
        self.path = path
        self.study_id = study_id
        self._archive: zipfile.ZipFile | None = None
        self._process = 0

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "study_id": self.study_id, "_archive": None, "_process": 0}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; it opens again when next read."""
        if self._archive is not None and self._process == os.getpid():
            self._archive.close()
        self._archive = None

    @property
    def attributes(self) -> dict[str, Any]:
        """The study's attributes (`ROOT_KEYS`)."""
        attributes = self._node("")["attributes"]
        if attributes.get("schema_version") != SCHEMA_VERSION:
            found = attributes.get("schema_version")
            raise StoreError(f"study {self.study_id}: schema version {found!r}; this program reads {SCHEMA_VERSION}")
        return dict(attributes)

    @property
    def volumes(self) -> list[str]:
        """Names of the study's volumes, `v0` first."""
        names = {entry.split("/")[0] for entry in self._names() if "/" in entry}
        return sorted(names, key=lambda name: (len(name), name))

    def volume_attributes(self, volume: str) -> dict[str, Any]:
        """The attributes of one volume (`VOLUME_KEYS`)."""
        return dict(self._node(volume)["attributes"])

    def anatomies(self, volume: str) -> list[str]:
        """Names of a volume's anatomies, absent ones too, sorted."""
        found = {
            entry.split("/")[1] for entry in self._names() if entry.startswith(f"{volume}/") and entry.count("/") > 1
        }
        return sorted(found - set(_NOT_ANATOMIES))

    def anatomy_attributes(self, volume: str, anatomy: str) -> dict[str, Any]:
        """The attributes of one anatomy's crop, without reading its arrays."""
        return dict(self._node(f"{volume}/{anatomy}")["attributes"])

    def crop(self, volume: str, anatomy: str) -> Crop:
        """One anatomy of one volume.

        Raises:
            StoreError: The crop is missing or damaged.
        """
        attributes = self.anatomy_attributes(volume, anatomy)
        try:
            grid = attributes["source_grid"]
            shape_z, shape_y, shape_x = grid["shape"]
            z, y, x = attributes["spacing_mm"]
            extent = attributes["extent"]
            crop_values = {
                "spacing_mm": (z, y, x),
                "extent": extent,
                "cut_fraction": attributes["cut_fraction"],
                "volume_ml": attributes["volume_ml"],
                "parts": tuple(attributes["parts"]),
                "source_grid": SourceGrid((shape_z, shape_y, shape_x), np.array(grid["affine"], dtype=np.float64)),
            }
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(f"{volume}/{anatomy}", f"attribute {error}") from error
        if extent == "absent":
            return Crop(image=None, mask=None, affine=None, **crop_values)
        image, affine = self._array(f"{volume}/{anatomy}/image")
        mask, _ = self._array(f"{volume}/{anatomy}/mask")
        return Crop(image=image, mask=mask, affine=affine, **crop_values)

    def overview(self, volume: str) -> tuple[npt.NDArray[np.int16], Affine]:
        """The whole volume at 6 mm, int16 HU (z, y, x), and its affine."""
        return self._array(f"{volume}/overview")

    def labels(self, volume: str) -> LabelMap:
        """The segmenter's label map of a volume, on its own grid."""
        labels, affine = self._array(f"{volume}/labels")
        names = self._node(f"{volume}/labels")["attributes"].get("structures", {})
        return LabelMap(labels, affine, {int(number): name for number, name in names.items()})

    def array(self, volume: str, name: str) -> tuple[npt.NDArray[np.int16], Affine]:
        """Another array of a volume, such as `volume`, and its affine."""
        return self._array(f"{volume}/{name}")

    def _open(self) -> zipfile.ZipFile:
        if self._archive is None or self._process != os.getpid():
            try:
                self._archive = zipfile.ZipFile(self.path)
            except (OSError, zipfile.BadZipFile) as error:
                raise StoreError(f"study {self.study_id}: {self.path.name} cannot be opened: {error}") from error
            self._process = os.getpid()
        return self._archive

    def _names(self) -> list[str]:
        return self._open().namelist()

    def _read(self, entry: str, what: str) -> bytes:
        try:
            return self._open().read(entry)
        except KeyError as error:
            raise self._damaged(what, f"{entry} is missing") from error
        except (OSError, zipfile.BadZipFile, EOFError) as error:
            raise self._damaged(what, str(error)) from error

    def _node(self, place: str) -> dict[str, Any]:
        try:
            node: dict[str, Any] = json.loads(self._read(f"{place}/zarr.json".lstrip("/"), place))
        except ValueError as error:
            raise self._damaged(place, str(error)) from error
        if not isinstance(node, dict) or "attributes" not in node:
            raise self._damaged(place, "its zarr.json has no attributes")
        return node

    def _array(self, place: str) -> tuple[npt.NDArray[Any], Affine]:
        node = self._node(place)
        data = self._read(f"{place}/c/0/0/0", place)
        try:
            array = np.empty(node["shape"], dtype=np.dtype(node["data_type"]).newbyteorder("<"))
            Zstd().decode(data, out=array)
            affine = np.array(node["attributes"]["affine"], dtype=np.float64).reshape(4, 4)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise self._damaged(place, str(error)) from error
        return array.astype(array.dtype.newbyteorder("="), copy=False), affine

    def _damaged(self, place: str, what: str) -> StoreError:
        return StoreError(f"study {self.study_id}, {place or 'root'}: damaged or missing ({what})")
