"""One study on disk, read array by array: a Zarr v3 group in a zip file (written by `study_writer`).

The few bytes of an array are taken straight from the zip file, since zarr's event loop costs more than the data; a
plain zarr opens the same files.
"""

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from numcodecs import Zstd

from preprocess.crops import Crop, SourceGrid
from preprocess.errors import StoreError
from preprocess.geometry import Affine
from preprocess.range_file import RangeFile
from preprocess.store_place import StorePath, StoreUrl
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
_NOT_ANATOMIES = ("labels", "overview", "volume")


class StudyFile:
    """One study of a store, open for reading; the file is opened on first use, in each process anew.

    What a file at a URL does not give, because it cannot be reached, is an `OSError`: it says nothing of the study.

    Args:
        path: `<study_id>.zarr.zip`.
        study_id: Named in errors.
        content: The file's bytes, where they are at hand.
    """

    def __init__(self, path: StorePath, study_id: str, content: bytes | None = None) -> None:
        self.path = path
        self.study_id = study_id
        self._content = content
        self._archive: zipfile.ZipFile | None = None
        self._process = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_archive": None, "_process": 0}

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
        self._fetch(lambda entry: entry.startswith(f"{volume}/{anatomy}/"))
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

    def fetch_attributes(self) -> None:
        """Get the attributes of all that the study has at once, where its file lies at a URL."""
        self._fetch(lambda entry: entry.endswith("/zarr.json") and entry.count("/") < 3)

    def _open(self) -> zipfile.ZipFile:
        if self._archive is None or self._process != os.getpid():
            try:
                self._archive = zipfile.ZipFile(self._file())
            except FileNotFoundError as error:
                raise StoreError(f"study {self.study_id}: the store has no file {self.path.name}") from error
            except (OSError, zipfile.BadZipFile) as error:
                self._raise_unreached(error)
                raise StoreError(f"study {self.study_id}: {self.path.name} cannot be opened: {error}") from error
            self._process = os.getpid()
        return self._archive

    def _file(self) -> Path | RangeFile | io.BytesIO:
        """What the zip file is read from."""
        if self._content is not None:
            return io.BytesIO(self._content)
        return RangeFile(self.path) if isinstance(self.path, StoreUrl) else self.path

    def _names(self) -> list[str]:
        return self._open().namelist()

    def _read(self, entry: str, what: str) -> bytes:
        try:
            return self._open().read(entry)
        except KeyError as error:
            raise self._damaged(what, f"{entry} is missing") from error
        except (OSError, zipfile.BadZipFile, EOFError) as error:
            self._raise_unreached(error)
            raise self._damaged(what, str(error)) from error

    def _raise_unreached(self, error: Exception) -> None:
        if isinstance(self.path, StoreUrl) and isinstance(error, OSError):
            raise error

    def _fetch(self, wanted: Callable[[str], bool]) -> None:
        """Gets entries of a file at a URL, for the reads that follow; a local file is left to the system."""
        if isinstance(self.path, Path):
            return
        archive = self._open()
        file: Any = archive.fp
        if isinstance(file, RangeFile):
            entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
            stops = [*(entry.header_offset for entry in entries[1:]), archive.start_dir]
            spans = zip(entries, stops, strict=True)
            file.fetch((entry.header_offset, stop) for entry, stop in spans if wanted(entry.filename))

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
