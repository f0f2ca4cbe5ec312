"""Where the private files of a store lie, never in it: the key, the map of identifiers and the archive's index."""

from dataclasses import dataclass
from pathlib import Path

from preprocess.errors import InputError
from preprocess.store_place import StorePath, local_place


@dataclass(frozen=True)
class PrivatePlaces:
    """The private files of a store.

    Attributes:
        key: Secret key of the pseudonyms.
        ids: Map from pseudonyms to identifiers.
        index: Index of the archive.
        answers: What a language model answered about reports.
    """

    key: Path
    ids: Path
    index: Path
    answers: Path


def private_places(out: StorePath, key_file: Path | str | None = None) -> PrivatePlaces:
    """Beside the store, or beside a key file that lies elsewhere.

    Args:
        out: Place of the store.
        key_file: The key's file; by default `<out>.key`.

    Raises:
        InputError: The store lies at a URL and no `key_file` is given: the private files stay on this machine.
    """
    if key_file is not None:
        key = local_place(key_file, "key_file")
    elif isinstance(out, Path):
        key = out.with_name(f"{out.resolve().name}.key")
    else:
        raise InputError(
            f"a store at {out} needs key_file=PATH: the key, the map of identifiers and the archive's index lie there, "
            "on this machine's disk"
        )
    name = out.resolve().name if isinstance(out, Path) else out.name
    beside = (key.with_name(f"{name}.{ending}") for ending in ("ids.csv", "index.sqlite", "answers.sqlite"))
    return PrivatePlaces(key, *beside)
