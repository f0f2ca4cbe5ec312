"""Where a store lies: a folder of a file system, or a location of fsspec such as a bucket of S3."""

import errno
import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import fsspec
from fsspec.registry import known_implementations

from preprocess.errors import InputError

_LOCAL = ("file", "local")
_TIMES = ("LastModified", "mtime", "updated", "last_modified", "created")
"""What file systems call the time of the last change."""

_AT_A_TIME = 16

Item = TypeVar("Item")
Result = TypeVar("Result")


class FileFacts(NamedTuple):
    """What is known of a file, named as in `os.stat_result`.

    Attributes:
        st_size: Bytes.
        st_mtime: Seconds since the epoch; 0 where the file system does not tell.
    """

    st_size: int
    st_mtime: float


@dataclass(frozen=True, order=True)
class StoreUrl:
    """A place in a store that fsspec reaches; what it can do is named as in `pathlib.Path`.

    It holds its address alone: each process opens the file system for itself, so that a place can be pickled and
    outlives a fork. Whatever a library for the network raises comes out as an `OSError` of one line. Folders need not
    be made: they are there as soon as something lies in them.

    Attributes:
        url: `protocol://...`, without a slash at its end.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "StoreUrl":
        return StoreUrl(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> "StoreUrl":
        """The place in which this one lies."""
        return StoreUrl(self.url.rpartition("/")[0])

    def with_name(self, name: str) -> "StoreUrl":
        """The place of this name beside this one."""
        return self.parent / name

    @property
    def in_memory(self) -> bool:
        """Whether other processes cannot reach it."""
        return self.url.startswith("memory://")

    def exists(self) -> bool:
        """Whether a file or folder is there."""
        return self._type() is not None

    def is_file(self) -> bool:
        """Whether a file is there."""
        return self._type() == "file"

    def is_dir(self) -> bool:
        """Whether anything lies in this place."""
        return self._type() == "directory"

    def stat(self) -> FileFacts:
        """Size and time of a file."""
        return _facts(self._ask(lambda files, path: files.info(path)))

    def glob(self, pattern: str) -> Iterator["StoreUrl"]:
        """The files right in this place whose names match; none where it is not there."""
        return (self / name for name in self.list_files() if fnmatch.fnmatchcase(name, pattern))

    def list_files(self) -> dict[str, FileFacts]:
        """Names of the files right in this place, sorted, and what is known of each; none where it is not there."""
        try:
            entries: list[dict[str, Any]] = self._ask(lambda files, path: files.ls(path, detail=True))
        except FileNotFoundError:
            return {}
        found = {entry["name"].rpartition("/")[2]: _facts(entry) for entry in entries if entry["type"] == "file"}
        return dict(sorted(found.items()))

    def read_bytes(self) -> bytes:
        """The whole file."""
        return bytes(self._ask(lambda files, path: files.cat_file(path)))

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole file as text."""
        return self.read_bytes().decode(encoding)

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Parts of the file, [start, stop) in bytes, asked for all at once."""
        starts, stops = [start for start, _ in ranges], [stop for _, stop in ranges]
        return list(
            self._ask(lambda files, path: files.cat_ranges([path] * len(starts), starts, stops, on_error="raise"))
        )

    def write_bytes(self, data: bytes) -> None:
        """Write the whole file; on an object store it appears when its upload is complete, or not at all."""
        self._ask(lambda files, path: _write(files, path, data))

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file."""
        if self.exists():
            self._ask(lambda files, path: files.rm_file(path))
        elif not missing_ok:
            raise FileNotFoundError(errno.ENOENT, "no such file", self.url)

    def mkdir(self, *, parents: bool = True, exist_ok: bool = True) -> None:
        """Nothing to do: a folder is there as soon as something lies in it."""

    def _type(self) -> str | None:
        try:
            return str(self._ask(lambda files, path: files.info(path))["type"])
        except FileNotFoundError:
            return None

    def _ask(self, question: Callable[[Any, str], Result]) -> Result:
        """What a file system answers; fsspec knows no base for what the libraries under it raise."""
        try:
            return question(*_file_system(self.url))
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, _one_line(error), self.url) from error
        except Exception as error:
            number = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
            raise OSError(number, _one_line(error), self.url) from error


StorePath = Path | StoreUrl
"""The place of a store, or a place in it."""


def store_place(out: StorePath | str) -> StorePath:
    """The place that a user named.

    Args:
        out: A folder, or a URL of fsspec (`s3://bucket/folder`, `memory://folder`).

    Raises:
        InputError: The URL carries a password or options, chains file systems or names none that can be loaded.
    """
    if isinstance(out, StoreUrl | Path):
        return out
    protocol, is_url, rest = out.partition("://")
    if not is_url:
        return Path(out)
    if protocol in _LOCAL:
        return Path(rest)
    if "::" in out or "?" in out or "#" in out or ":" in urlsplit(out).netloc.rpartition("@")[0]:
        raise InputError(
            f"a store at {protocol}:// is named by host or bucket and folder alone: passwords and options of the "
            "connection belong in the environment or in the library's own files, and file systems cannot be chained"
        )
    try:
        _file_system_class(protocol)
    except (ImportError, ValueError) as error:
        known = known_implementations.get(protocol, {}).get("err", "fsspec knows no such protocol")
        hint = "install ctvlp[s3]" if protocol in ("s3", "s3a") else known
        raise InputError(f"store {out}: {protocol}:// cannot be used: {hint}") from error
    if not rest.strip("/"):
        raise InputError(f"store {out}: it names no folder")
    return StoreUrl(out.rstrip("/"))


def local_place(place: Path | str, name: str) -> Path:
    """A place on this machine's disk, where the user may not name a URL.

    Args:
        place: What the user named.
        name: Of the option.

    Raises:
        InputError: It is a URL.
    """
    if "://" in str(place):
        raise InputError(f"{name}={place}: this has to lie on this machine's disk; only a store may lie at a URL")
    return Path(place)


def _file_system_class(protocol: str) -> Any:
    return fsspec.get_filesystem_class(protocol)


def _file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, as this process has it, and the path in it.

    Listings are not kept: other processes write to the store as well.
    """
    protocol = url.partition("://")[0]
    fresh = {"use_listings_cache": False} if _file_system_class(protocol).async_impl else {}
    files, path = fsspec.core.url_to_fs(url, **fresh)
    return files, path


def _write(files: Any, path: str, data: bytes) -> None:
    try:
        files.pipe_file(path, data)
    except FileNotFoundError:
        if files.async_impl:  # an object store misses no folder but the bucket, which is not ours to make
            raise
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        files.pipe_file(path, data)


def _facts(entry: dict[str, Any]) -> FileFacts:
    changed = next((entry[name] for name in _TIMES if entry.get(name)), 0.0)
    return FileFacts(int(entry["size"] or 0), changed.timestamp() if isinstance(changed, datetime) else float(changed))


def _one_line(error: Exception) -> str:
    """What an error says, on one line, without a password that an address in it may carry."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"(?<=//)[^/@\s]+@", "", text)


def in_turn(place: StorePath, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """What a function gives for each item, in order; at a URL, where each waits for the network, several at a time.

    Args:
        place: Where the function reads.
        function: Called in threads where it reads from a URL.
        items: What it is called with.
    """
    if isinstance(place, Path):
        yield from map(function, items)
        return
    rest = iter(items)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        while some := list(islice(rest, 8 * _AT_A_TIME)):
            yield from pool.map(function, some)
