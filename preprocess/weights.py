"""Where a segmenter's networks lie, whether their files are whole, and the digest that the store records of them."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from preprocess.errors import InputError

WEIGHTS_VARIABLE = "TOTALSEG_WEIGHTS_PATH"
HOME_VARIABLE = "TOTALSEG_HOME_DIR"
CHECKPOINT = "checkpoint_final.pth"
SUMS = "weights.sha256"
"""Name of the file with the digests that the weights must have, one `<sha256>  <path below its folder>` a line."""


@dataclass(frozen=True)
class Network:
    """One trained nnU-Net on disk.

    Attributes:
        folder: `.../Dataset<number>_<name>/<trainer>__<plans>__<configuration>`.
        folds: Whose weights are averaged, as nnU-Net names them: a number, or `all`.
    """

    folder: Path
    folds: tuple[int | str, ...] = (0,)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that determine what it does, sorted."""
        checkpoints = (self.folder / f"fold_{fold}" / CHECKPOINT for fold in self.folds)
        return tuple(sorted((self.folder / "dataset.json", self.folder / "plans.json", *checkpoints)))


@dataclass(frozen=True)
class TotalMode:
    """One of the two ways in which TotalSegmentator's task `total` runs.

    Attributes:
        spacing_mm: Voxel size at which its networks work.
        numbers: nnU-Net's numbers of their datasets; of two networks that name a voxel, the later one wins.
        folders: Where each lies below the folder of the weights, `Dataset.../<trainer>__<plans>__<configuration>`.
    """

    spacing_mm: float
    numbers: tuple[int, ...]
    folders: tuple[str, ...]


def total_mode(*, fast: bool) -> TotalMode:
    """The 3 mm network, or without `fast` the five 1.5 mm networks, as the installed TotalSegmentator has them."""
    from totalsegmentator.map_tasks_config import DEFAULT_CONFIG, TASK_CONFIGS, TASK_ID_WEIGHTS_CONFIGS

    task: dict[str, Any] = DEFAULT_CONFIG | TASK_CONFIGS["total"]["sub_modes"]["fast" if fast else "default"]
    numbers = task["task_id"] if isinstance(task["task_id"], list) else [task["task_id"]]
    trained = f"{task['trainer']}__{task['plans'] or 'nnUNetPlans'}__{task['model']}"
    folders = tuple(f"{TASK_ID_WEIGHTS_CONFIGS[number]['foldername']}/{trained}" for number in numbers)
    return TotalMode(float(task["resample"]), tuple(numbers), folders)


def weights_folder(weights: Path | str | None = None) -> Path:
    """The folder named, else the one in which TotalSegmentator itself looks for weights."""
    if weights is not None:
        return Path(weights)
    named = os.environ.get(WEIGHTS_VARIABLE)
    if named:
        return Path(named)
    return Path(os.environ.get(HOME_VARIABLE) or Path.home() / ".totalsegmentator") / "nnunet" / "results"


def total_networks(*, fast: bool, weights: Path | str | None = None) -> list[Network]:
    """The networks of task `total` where they would lie, whether or not they are there."""
    return [Network(weights_folder(weights) / folder) for folder in total_mode(fast=fast).folders]


def find_networks(*, fast: bool = True, weights: Path | str | None = None) -> list[Network]:
    """The networks that TotalSegmentator's task `total` runs.

    Args:
        fast: Take the 3 mm network, else the five 1.5 mm networks.
        weights: Folder that holds the `Dataset...` folders; by default what the environment variable
            TOTALSEG_WEIGHTS_PATH names, else TotalSegmentator's own folder below the user's home.

    Raises:
        InputError: One is missing; the message says what to put where.
    """
    folder = weights_folder(weights)
    networks = total_networks(fast=fast, weights=weights)
    for network in networks:
        for name in missing_files([network], folder):
            raise InputError(
                f"TotalSegmentator's weights are missing: no {name} in {folder}; put the folder "
                f"{network.folder.parent.name} there, or name the folder that holds it with weights= or "
                f"{WEIGHTS_VARIABLE} (`ctvlp doctor` lists all that is missing)"
            )
    return networks


def missing_files(networks: Iterable[Network], folder: Path) -> list[str]:
    """Paths below `folder` of the networks' files that are not there."""
    return [_below(path, folder) for network in networks for path in network.files if not path.is_file()]


def changed_files(networks: Iterable[Network], folder: Path) -> list[str] | None:
    """Paths below `folder` of files whose SHA-256 is not the one in its `weights.sha256`, or that it does not list.

    Args:
        networks: All of whose files are there.
        folder: Where `weights.sha256` would lie.

    Returns:
        The paths, or None where there is no `weights.sha256` to compare with.

    Raises:
        InputError: `weights.sha256` cannot be read.
    """
    sums = read_sums(folder)
    if sums is None:
        return None
    paths = [path for network in networks for path in network.files]
    return [_below(path, folder) for path in paths if sums.get(_below(path, folder)) != file_digest(path)]


def read_sums(folder: Path) -> dict[str, str] | None:
    """Path to SHA-256 of the lines of a folder's `weights.sha256`, as `sha256sum` writes them; None without the file.

    Raises:
        InputError: A line is no digest and path.
    """
    path = folder / SUMS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    sums = {}
    for number, line in enumerate(lines, start=1):
        digest, _, name = line.partition(" ")
        if len(digest) != 64 or not name.strip():
            raise InputError(f"{path}, line {number}: {line!r} is no `<sha256>  <path>`, as sha256sum writes it")
        sums[name.strip().removeprefix("*").removeprefix("./")] = digest.lower()
    return sums


def check_sums(networks: Iterable[Network], folder: Path) -> None:
    """Compares the networks' files with `weights.sha256` where it lies in the folder.

    Raises:
        InputError: A file is not the one that the list names.
    """
    for name in changed_files(networks, folder) or ():
        raise InputError(f"weights {folder / name}: not the file that {SUMS} beside it lists; copy the weights again")


def weights_digest(networks: Iterable[Network], *, also: str = "") -> str:
    """16 hex digits that change with any byte of the networks' files, and with `also`."""
    together = "".join(file_digest(path) for network in networks for path in network.files)
    return hashlib.sha256(f"{together}{also}".encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file; read once a process unless its size or time of modification changes."""
    status = path.stat()
    return _digest_of(path, status.st_size, status.st_mtime_ns)


@cache
def _digest_of(path: Path, size: int, changed: int) -> str:
    """SHA-256 of a file; `size` and `changed` make a replaced file another one."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
