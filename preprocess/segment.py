"""The one door to TotalSegmentator: a volume goes in, a label map comes out, and nothing leaves the machine."""

import contextlib
import hashlib
import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from preprocess.environment import environment
from preprocess.errors import InputError, Reason, StudyError
from preprocess.geometry import affine_from_nifti, canonical, nifti_from_affine
from preprocess.structures import structure_names
from preprocess.volume import LabelMap, Volume

logger = logging.getLogger(__name__)

WEIGHTS_VARIABLE = "TOTALSEG_WEIGHTS_PATH"
_TASK = "total"
_CHECKPOINT = "checkpoint_final.pth"
_VARIABLES = (WEIGHTS_VARIABLE, "TOTALSEG_HOME_DIR", "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@dataclass(frozen=True)
class Network:
    """One trained network of TotalSegmentator's task `total`.

    Attributes:
        dataset: Its folder, `Dataset<number>_...`.
        checkpoint: Its weights.
        files: All files that determine what it does, sorted.
    """

    dataset: Path
    checkpoint: Path
    files: tuple[Path, ...]


def find_networks(*, fast: bool = True, weights: Path | None = None) -> list[Network]:
    """The networks that `segment` will run: the 3 mm network, or without `fast` the five 1.5 mm networks.

    Args:
        fast: Take the 3 mm network.
        weights: Folder that holds the `Dataset...` folders; by default what the environment variable
            TOTALSEG_WEIGHTS_PATH names, else TotalSegmentator's own folder below the user's home.

    Raises:
        InputError: One is missing; the message says what to put where.
    """
    from totalsegmentator.map_tasks_config import TASK_CONFIGS, TASK_ID_WEIGHTS_CONFIGS

    folder = _weights_folder(weights)
    mode: dict[str, Any] = TASK_CONFIGS[_TASK]["sub_modes"]["fast" if fast else "default"]
    numbers = mode["task_id"] if isinstance(mode["task_id"], list) else [mode["task_id"]]
    networks = []
    for number in numbers:
        dataset = folder / TASK_ID_WEIGHTS_CONFIGS[number]["foldername"]
        trained = dataset / f"{mode['trainer']}__nnUNetPlans__3d_fullres"
        files = (trained / "dataset.json", trained / "fold_0" / _CHECKPOINT, trained / "plans.json")
        missing = next((path for path in files if not path.is_file()), None)
        if missing is not None:
            raise InputError(
                f"TotalSegmentator's weights are missing: no {missing.relative_to(folder)} in {folder}; put the folder "
                f"{dataset.name} there, or name the folder that holds it with weights= or {WEIGHTS_VARIABLE}"
            )
        networks.append(Network(dataset, files[1], files))
    return networks


def describe_segmenter(*, fast: bool = True, weights: Path | None = None) -> dict[str, Any]:
    """What the store records of the segmenter: name, version and a digest of the weights.

    Raises:
        InputError: The weights are missing.
    """
    networks = find_networks(fast=fast, weights=weights)
    digest = hashlib.sha256("".join(_file_digest(path) for network in networks for path in network.files).encode())
    return {
        "name": f"totalsegmentator {_TASK}{' fast' if fast else ''}",
        "version": version("totalsegmentator"),
        "weights_digest": digest.hexdigest()[:16],
    }


def segment(volume: Volume, *, fast: bool = True, weights: Path | None = None, device: str = "cpu") -> LabelMap:
    """Structures of a volume by TotalSegmentator's task `total`.

    Usage statistics are switched off, no download is attempted, and neither the user's configuration nor the weights'
    folder is touched: the networks are linked into a private folder of this process.

    Args:
        volume: HU on canonical axes.
        fast: Take the 3 mm network, else the five 1.5 mm networks.
        weights: See `find_networks`.
        device: `cpu`, `cuda` or `cuda:<number>`.

    Returns:
        The label map on the volume's grid, with v2 names.

    Raises:
        InputError: The weights are missing.
        StudyError: `SEGMENTER` or `OUT_OF_MEMORY`.
    """
    networks = find_networks(fast=fast, weights=weights)
    image = nibabel.Nifti1Image(volume.hu.transpose(2, 1, 0), nifti_from_affine(volume.affine))
    with _private_environment(networks), contextlib.redirect_stdout(io.StringIO()):
        from totalsegmentator.python_api import totalsegmentator

        try:
            result = totalsegmentator(
                image, task=_TASK, fast=fast, ml=True, quiet=True, device=device.replace("cuda", "gpu"), nr_thr_saving=1
            )
        except MemoryError as error:
            raise StudyError(Reason.OUT_OF_MEMORY, f"TotalSegmentator: {error or 'out of memory'}") from error
        except (RuntimeError, ValueError, KeyError, OSError, SystemExit) as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            reason = Reason.OUT_OF_MEMORY if "out of memory" in what.lower() else Reason.SEGMENTER
            raise StudyError(reason, f"TotalSegmentator failed: {what}") from error
    labels = np.asarray(result.dataobj).astype(np.uint8).transpose(2, 1, 0)
    moved, affine = canonical(labels, affine_from_nifti(result.affine))
    if moved.shape != volume.shape or not np.allclose(affine, volume.affine, atol=1e-3):
        raise StudyError(Reason.SEGMENTER, f"TotalSegmentator answered on another grid, {moved.shape}")
    return LabelMap(moved, volume.affine, structure_names("v2"))


def _weights_folder(weights: Path | None) -> Path:
    if weights is not None:
        return Path(weights)
    named = os.environ.get(WEIGHTS_VARIABLE)
    return Path(named) if named else Path.home() / ".totalsegmentator" / "nnunet" / "results"


@cache
def _private_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for the life of this process: nnU-Net reads its paths once, when it is imported."""
    return tempfile.TemporaryDirectory(prefix="ctvlp-segment-")


@contextlib.contextmanager
def _private_environment(networks: list[Network]) -> Iterator[None]:
    """TotalSegmentator's home and weights in a private folder, with usage statistics off."""
    home = Path(_private_folder().name)
    results = home / "results"
    results.mkdir(exist_ok=True)
    config = {
        "totalseg_id": "",
        "send_usage_stats": False,
        "statistics_disclaimer_shown": True,
        "prediction_counter": 0,
    }
    (home / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for link in results.iterdir():
        link.unlink()
    for network in networks:
        (results / network.dataset.name).symlink_to(network.dataset.resolve(), target_is_directory=True)
    with environment(dict.fromkeys(_VARIABLES, str(results)) | {"TOTALSEG_HOME_DIR": str(home)}):
        yield


def _file_digest(path: Path) -> str:
    status = path.stat()
    return _digest_of(path, status.st_size, status.st_mtime_ns)


@cache
def _digest_of(path: Path, size: int, changed: int) -> str:
    """SHA-256 of a file; `size` and `changed` make a replaced file another one."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
