"""Any nnU-Net v2 model folder as segmenter: what it needs, what its labels mean, and how it is run on a volume."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import yaml
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from preprocess.errors import InputError
from preprocess.geometry import nifti_from_affine
from preprocess.network_service import run_network_at
from preprocess.networks import Inference
from preprocess.structures import current_name, is_structure
from preprocess.volume import LabelMap, Volume
from preprocess.weights import CHECKPOINT, Network, check_sums, missing_files, weights_digest

_KEYS = ("structures", "orientation", "mirroring")
_REORIENTING = ("NibabelIOWithReorient", "SimpleITKIOWithReorient")
_READERS = (*_REORIENTING, "NibabelIO", "SimpleITKIO")


@dataclass(frozen=True)
class ModelFolder:
    """A trained nnU-Net and what its labels mean.

    Attributes:
        network: Its files.
        names: Its label to structure; labels that mean nothing here are left out.
        orientation: Towards which side x, y and z of its training images grow, as NIfTI's axis codes.
        mirroring: Average over mirrored images, as nnU-Net does by default.
        labels_file: Where the names come from, or None.
    """

    network: Network
    names: Mapping[int, str] = field(default_factory=dict)
    orientation: str = "RAS"
    mirroring: bool = True
    labels_file: Path | None = None


def read_model_folder(folder: Path | str, labels: Path | str | None = None) -> ModelFolder:
    """A model folder as nnU-Net's training leaves it, checked.

    Args:
        folder: `.../Dataset<number>_<name>/<trainer>__<plans>__<configuration>` with `dataset.json`, `plans.json` and
            `fold_<k>/checkpoint_final.pth`. All folds that are there are averaged.
        labels: YAML file. `structures` maps a label of the network, by its number or its name in `dataset.json`, to a
            structure; labels that it leaves out are dropped. `orientation` (three letters, RAS by default) tells how
            the training images lay in their files, `mirroring: false` switches off the average over mirrored images.
            Without the file the names in `dataset.json` are the structures.

    Raises:
        InputError: Something is missing, contradicts itself, or is more than one CT image in and one label map out.
    """
    path = Path(folder)
    network = Network(path, _folds(path))
    for name in missing_files([network], path):
        raise InputError(f"segmenter {path}: {name} is missing; a model folder of nnU-Net v2 is needed")
    dataset, plans = _json(path / "dataset.json"), _json(path / "plans.json")
    known = _known_labels(dataset, path)
    _check_input(dataset, plans, path)
    options = {} if labels is None else _options(Path(labels))
    names = _named(options.get("structures", {name: name for name in known}), known, path, labels)
    reader = str(plans.get("image_reader_writer"))
    orientation = str(options.get("orientation", "RAS")).upper()
    if sorted(orientation.translate(str.maketrans("LPI", "RAS"))) != ["A", "R", "S"]:
        raise InputError(f"{labels}: orientation {orientation!r} is not three of R or L, A or P, S or I")
    if reader in _REORIENTING and orientation != "RAS":
        raise InputError(f"{labels}: orientation {orientation}, but the network's own reader, {reader}, turns to RAS")
    check_sums([network], path)
    source = None if labels is None else Path(labels)
    return ModelFolder(network, names, orientation, bool(options.get("mirroring", True)), source)


def describe_model_folder(model: ModelFolder) -> dict[str, Any]:
    """What the store records of it: name, the version of nnU-Net, and a digest of weights and label names."""
    from importlib.metadata import version

    dataset = model.network.folder.parent.name
    settings = [sorted(model.names.items()), model.orientation, model.mirroring]
    return {
        "name": f"nnunet {dataset} {model.network.folder.name}",
        "version": version("nnunetv2"),
        "weights_digest": weights_digest([model.network], also=json.dumps(settings)),
    }


def segment_with(
    model: ModelFolder, volume: Volume, *, device: str = "cpu", light: bool = False, service: Path | None = None
) -> LabelMap:
    """Structures of a volume, as `nnUNetv2_predict` gives them for its NIfTI in the model's orientation.

    Args:
        model: What to run.
        volume: HU on canonical axes.
        device: `cpu`, `cuda` or `cuda:<number>`.
        light: Spare the GPU's memory, for the same labels.
        service: Address of the process that holds the network; by default this process does.

    Raises:
        InputError: The network cannot be loaded.
        StudyError: `SEGMENTER` or `OUT_OF_MEMORY`.
    """
    image = nibabel.Nifti1Image(volume.hu.transpose(2, 1, 0), nifti_from_affine(volume.affine))
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(model.orientation))
    turned = image.as_reoriented(turn)
    x, y, z = (float(size) for size in turned.header.get_zooms())
    how = Inference(device, mirroring=model.mirroring, light=light)
    found = run_network_at(service, model.network, np.asanyarray(turned.dataobj).transpose(2, 1, 0), (z, y, x), how)
    kept = np.zeros(int(found.max()) + 1, dtype=found.dtype)
    numbers = [number for number in model.names if number < len(kept)]
    kept[numbers] = numbers
    back = ornt_transform(axcodes2ornt(model.orientation), io_orientation(image.affine))
    labels = apply_orientation(kept[found].transpose(2, 1, 0), back).transpose(2, 1, 0)
    return LabelMap(np.ascontiguousarray(labels), volume.affine, dict(model.names))


def _folds(folder: Path) -> tuple[int | str, ...]:
    """Folds with a final checkpoint; `all` alone where it is the only one."""
    found = sorted(path.parent.name.removeprefix("fold_") for path in folder.glob(f"fold_*/{CHECKPOINT}"))
    numbers = tuple(int(fold) for fold in found if fold.isdigit())
    if not numbers and "all" not in found:
        raise InputError(f"segmenter {folder}: no fold_<k>/{CHECKPOINT} there; a model folder of nnU-Net v2 is needed")
    return tuple(sorted(numbers)) or ("all",)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"segmenter: {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"segmenter: {path} is no JSON object")
    return content


def _known_labels(dataset: Mapping[str, Any], folder: Path) -> dict[str, int]:
    """Name to number of the network's labels, without the background."""
    labels = dataset.get("labels")
    if not isinstance(labels, dict):
        raise InputError(f"segmenter {folder}: dataset.json names no labels")
    several = [name for name, number in labels.items() if isinstance(number, list)]
    if several:
        raise InputError(
            f"segmenter {folder}: label {several[0]!r} is a region of several; such networks cannot be used"
        )
    return {name: int(number) for name, number in labels.items() if int(number) > 0 and name != "ignore"}


def _check_input(dataset: Mapping[str, Any], plans: Mapping[str, Any], folder: Path) -> None:
    channels = dataset.get("channel_names", dataset.get("modality", {}))
    if len(channels) != 1:
        raise InputError(f"segmenter {folder}: the network takes {len(channels)} images at a time, not one CT")
    configuration = plans.get("configurations", {}).get(folder.resolve().name.rsplit("__", 1)[-1], {})
    if configuration.get("previous_stage"):
        raise InputError(f"segmenter {folder}: the second stage of a cascade; only single networks can be run")
    reader = plans.get("image_reader_writer")
    if reader not in _READERS:
        raise InputError(f"segmenter {folder}: its images were read by {reader!r}; known: {', '.join(_READERS)}")


def _options(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"label map {path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("structures"), dict):
        raise InputError(f"label map {path}: it needs the key `structures`, a mapping of labels to structures")
    unknown = sorted(set(content) - set(_KEYS))
    if unknown:
        raise InputError(f"label map {path}: {unknown[0]!r} is unknown; known: {', '.join(_KEYS)}")
    return content


def _named(
    wanted: Mapping[Any, Any], known: Mapping[str, int], folder: Path, labels: Path | str | None
) -> dict[int, str]:
    """Number to structure; at least one must be a structure that TotalSegmentator knows too."""
    where = f"label map {labels}" if labels is not None else f"segmenter {folder}"
    names: dict[int, str] = {}
    for key, structure in wanted.items():
        number = known.get(key, 0) if isinstance(key, str) else key
        if type(number) is not int or number not in known.values():
            raise InputError(f"{where}: the network has no label {key!r}; it has {_listed(known)}")
        if not isinstance(structure, str) or not structure:
            raise InputError(f"{where}: label {key!r} is mapped to {structure!r}, which is no structure's name")
        if number in names:
            raise InputError(f"{where}: label {number} is named twice")
        names[number] = current_name(structure)
    if not any(is_structure(name) for name in names.values()):
        raise InputError(
            f"{where}: none of its names is one of TotalSegmentator's structures ({', '.join(names.values())}); "
            "give a label map that says which label is which structure"
        )
    return dict(sorted(names.items()))


def _listed(known: Mapping[str, int]) -> str:
    return ", ".join(f"{number} ({name})" for name, number in known.items())
