"""The store: where its files lie, and how they are read."""

import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from preprocess.crops import Crop
from preprocess.errors import InputError, StoreError
from preprocess.store_place import StorePath, StoreUrl, store_place
from preprocess.study_file import SUFFIX, StudyFile
from preprocess.study_writer import StoredVolume, write_study_file

if TYPE_CHECKING:  # children that do studies write files and need no tables
    import pandas as pd

__all__ = ["Crop", "Store", "StoreError", "StoredVolume", "StudyFile", "study_path", "write_study"]

TextTable = Literal["anatomies", "labels", "sentences", "evidence", "links"]


def study_path(store: StorePath, study_id: str) -> StorePath:
    """Where a study's file lies.

    Raises:
        StoreError: The identifier cannot be a file name.
    """
    if not study_id or study_id[0] == "." or "/" in study_id or "\0" in study_id:
        raise StoreError(
            f"study {study_id!r}: an identifier in the store is a file name: no slash, no dot at its start"
        )
    return store / "studies" / f"{study_id}{SUFFIX}"


def write_study(
    store: StorePath, study_id: str, attributes: Mapping[str, Any], volumes: Mapping[str, StoredVolume]
) -> StorePath:
    """Write a study's file, published in one step; the same input gives the same bytes.

    Args:
        store: Folder of the store; made if missing.
        study_id: Its identifier in the store, fit for a file name.
        attributes: Study attributes (`study_file.ROOT_KEYS`); `study_id` is filled in.
        volumes: `v0`, `v1`, ... to what is kept of each.

    Returns:
        The file.

    Raises:
        OSError: The file system refuses; nothing is left behind.
    """
    path = study_path(store, study_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_study_file(path, {**attributes, "study_id": study_id}, volumes)
    return path


class Store:
    """A store open for reading; it holds no open file, so that it can be handed to other processes.

    Args:
        path: Folder or URL of the store, see `store_place.store_place`.

    Raises:
        InputError: There is no store, or its place cannot be reached.
    """

    def __init__(self, path: StorePath | str) -> None:
        self.path = store_place(path)
        try:
            found = (self.path / "studies").is_dir()
        except OSError as error:
            raise InputError(f"store={path} cannot be read: {error.strerror or error}") from error
        if not found:
            raise InputError(f"store={path}: no store there (it has no folder `studies`)")

    def study_ids(self) -> list[str]:
        """Identifiers of all studies with a file, sorted."""
        paths = (self.path / "studies").glob(f"*{SUFFIX}")
        return sorted(path.name.removesuffix(SUFFIX) for path in paths if path.name[0] != ".")

    def open_study(self, study_id: str) -> StudyFile:
        """One study, open for reading.

        Raises:
            StoreError: The store has no file of this study; at a URL, this is noticed when the file is first read.
        """
        path = study_path(self.path, study_id)
        if not isinstance(path, StoreUrl) and not path.is_file():
            raise StoreError(f"study {study_id}: the store {self.path} has no file {path.name}")
        return StudyFile(path, study_id)

    def manifest(self) -> "pd.DataFrame":
        """One row a study, volume and anatomy (`manifest.build_manifest`)."""
        return self._parquet(self.path / "manifest.parquet")

    def series(self) -> "pd.DataFrame":
        """One row a series seen: chosen or not, and why."""
        return self._parquet(self.path / "series.parquet")

    def failures(self) -> list[dict[str, Any]]:
        """Studies that failed, with stage, reason and message."""
        path = self.path / "failures.jsonl"
        try:
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read: {error}") from error

    def table(self, name: TextTable) -> "pd.DataFrame":
        """A table of the reports' text (`text/<name>.parquet`)."""
        return self._parquet(self.path / "text" / f"{name}.parquet")

    def _parquet(self, path: StorePath) -> "pd.DataFrame":
        import pandas as pd

        try:
            return pd.read_parquet(io.BytesIO(path.read_bytes()) if isinstance(path, StoreUrl) else path)
        except FileNotFoundError as error:
            raise StoreError(f"{path} is missing: the store is not complete, run `ctvlp preprocess` again") from error
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
