"""Where the private files of a store lie, never in it: the key, the map of identifiers and the archive's index."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PrivatePlaces:
    """The private files of a store.

    Attributes:
        key: Secret key of the pseudonyms.
        ids: Map from pseudonyms to identifiers.
        index: Index of the archive.
    """

    key: Path
    ids: Path
    index: Path


def private_places(out: Path, key_file: Path | str | None = None) -> PrivatePlaces:
    """Beside the store, or beside a key file that lies elsewhere.

    Args:
        out: Folder of the store.
        key_file: The key's file; by default `<out>.key`.
    """
    name = out.resolve().name
    key = Path(key_file) if key_file is not None else out.with_name(f"{name}.key")
    return PrivatePlaces(key, key.with_name(f"{name}.ids.csv"), key.with_name(f"{name}.index.sqlite"))
