"""The one door to segmentation networks: a volume goes in, a label map comes out, and nothing leaves the machine."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from preprocess.errors import InputError
from preprocess.model_folder import ModelFolder, describe_model_folder, read_model_folder, segment_with
from preprocess.network_service import run_network_at
from preprocess.networks import Inference, networks_loaded
from preprocess.structures import current_name, structure_names
from preprocess.total import TILE_STEP, label, lower, raise_back, total_tables
from preprocess.volume import LabelMap, Labels, Volume
from preprocess.weights import check_sums, find_networks, total_mode, weights_digest, weights_folder

__all__ = ["describe_segmenter", "find_networks", "networks_loaded", "segment"]

_TASK = "total"


def describe_segmenter(
    *,
    fast: bool = True,
    weights: Path | None = None,
    model: Path | None = None,
    labels: Path | None = None,
) -> dict[str, Any]:
    """What the store records of the segmenter: name, version and a digest of the weights.

    Args:
        fast: See `segment`.
        weights: See `segment`.
        model: See `segment`.
        labels: See `segment`.

    Raises:
        InputError: Weights are missing, or are not those that `weights.sha256` beside them lists.
    """
    if model is not None:
        return describe_model_folder(read_model_folder(model, labels))
    networks = find_networks(fast=fast, weights=weights)
    check_sums(networks, weights_folder(weights))
    return {
        "name": f"totalsegmentator {_TASK}{' fast' if fast else ''}",
        "version": version("totalsegmentator"),
        "weights_digest": weights_digest(networks),
    }


def segment(
    volume: Volume,
    *,
    fast: bool = True,
    weights: Path | None = None,
    device: str = "cpu",
    model: Path | None = None,
    labels: Path | None = None,
    structures: Iterable[str] | None = None,
    light: bool = False,
    service: Path | None = None,
) -> LabelMap:
    """Structures of a volume by TotalSegmentator's task `total`, or by another nnU-Net.

    The networks are read by the first call of a process and kept (`networks_loaded`). The labels are those of
    TotalSegmentator's own Python API, voxel for voxel on a CPU. Neither usage statistics nor a download are attempted:
    no code of TotalSegmentator that could do so is called, and the user's configuration is not looked at.

    Args:
        volume: HU on canonical axes.
        fast: Take the 3 mm network, else the five 1.5 mm networks.
        weights: See `find_networks`.
        device: `cpu`, `cuda` or `cuda:<number>`.
        model: An nnU-Net v2 model folder to run instead (`model_folder.read_model_folder`).
        labels: What that folder's labels mean.
        structures: Bring only these onto the volume's grid; each keeps exactly the voxels that it has otherwise
            (`total.raise_back` tells why). By default all, since the store keeps the whole label map.
        light: Spare the GPU's memory, for the same labels: for a second try of a study that ran out of it.
        service: Address of the process that holds the networks (`network_service.network_service`); by default this
            process does.

    Returns:
        The label map on the volume's grid, with v2 names.

    Raises:
        InputError: The weights are missing or cannot be loaded, or a structure is unknown.
        StudyError: `SEGMENTER` or `OUT_OF_MEMORY`.
    """
    if model is not None:
        found = segment_with(_model_folder(model, labels), volume, device=device, light=light, service=service)
        return found if structures is None else _only(found, structures)
    networks = find_networks(fast=fast, weights=weights)
    mode = total_mode(fast=fast)
    names = structure_names("v2")
    keep = None if structures is None else _numbers(names, structures)
    how = Inference(device, TILE_STEP, mirroring=False, light=light)

    def run(place: int, image: npt.NDArray[Any], spacing_mm: tuple[float, float, float]) -> Labels:
        return run_network_at(service, networks[place], image, spacing_mm, how)

    low = label(lower(volume, mode.spacing_mm), total_tables(mode.numbers), run)
    return LabelMap(raise_back(low, volume, keep), volume.affine, names)


def _numbers(names: Mapping[int, str], structures: Iterable[str]) -> list[int]:
    """Numbers of the named structures.

    Raises:
        InputError: The segmenter does not know one.
    """
    wanted = {current_name(name) for name in structures}
    unknown = sorted(wanted - set(names.values()))
    if unknown:
        raise InputError(f"the segmenter knows no structure {unknown[0]!r}")
    return [number for number, name in names.items() if name in wanted]


def _only(label_map: LabelMap, structures: Iterable[str]) -> LabelMap:
    """The label map without all other structures."""
    numbers = _numbers(label_map.names, structures)
    table = np.zeros(np.iinfo(label_map.labels.dtype).max + 1, dtype=label_map.labels.dtype)
    table[numbers] = numbers
    return LabelMap(table[label_map.labels], label_map.affine, label_map.names)


@cache
def _model_folder(model: Path, labels: Path | None) -> ModelFolder:
    """A model folder, checked once a process."""
    return read_model_folder(model, labels)
