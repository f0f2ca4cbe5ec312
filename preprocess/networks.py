"""nnU-Net networks: loaded once a process and kept, and run on one array in memory."""

import contextlib
import io
import logging
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy.typing as npt

from preprocess.errors import InputError, Reason, StudyError
from preprocess.slabs import labels_by_slab
from preprocess.volume import Labels
from preprocess.weights import CHECKPOINT, Network

logger = logging.getLogger(__name__)

_GPU_IS_LOST = "the GPU is lost to this process"
_GPU_WORDS = ("cuda", "cudnn", "cublas")

Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Inference:
    """How a network is run.

    Attributes:
        device: `cpu`, `cuda` or `cuda:<number>`.
        tile_step: Distance between neighbouring tiles as a share of a tile.
        mirroring: Average over the mirrored images that the training allows; eight times the work.
        light: Spare the GPU's memory at the price of time: add up the scores in main memory. The labels are the same.
    """

    device: str = "cpu"
    tile_step: float = 0.5
    mirroring: bool = True
    light: bool = False


def networks_loaded() -> int:
    """How many networks this process has read from disk; each is kept for as long as the process lives."""
    return _load.cache_info().currsize


def run_network(
    network: Network, image: npt.NDArray[Any], spacing_mm: tuple[float, float, float], how: Inference
) -> Labels:
    """Label of each voxel by one network, as nnU-Net's own prediction from files gives it.

    Args:
        network: Its files; read on the first call.
        image: (z, y, x), in the orientation and unit that the network was trained on.
        spacing_mm: Along (z, y, x).
        how: Device, tiles and memory.

    Returns:
        (z, y, x), numbered as the network's `dataset.json` says.

    Raises:
        InputError: The network cannot be loaded, or not on this device.
        StudyError: `OUT_OF_MEMORY` or `SEGMENTER`.
    """
    predictor = load_network(network, how)
    with _named_errors(network), contextlib.redirect_stdout(io.StringIO()):
        labels: Labels = _predict(predictor, image, spacing_mm, light=how.light)
    return labels


def gpu_is_lost(message: str) -> bool:
    """Whether an error of `run_network` says that this process can no longer use its GPU.

    After an error such as a failed assertion on the device, everything that the process asks of the GPU fails: it has
    to end, and another process can go on.
    """
    return _GPU_IS_LOST in message


def load_network(network: Network, how: Inference) -> Any:
    """nnU-Net's predictor with the network's weights, read on the first call and kept.

    Raises:
        InputError: It cannot be loaded, or not on this device.
    """
    try:
        stamp = tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in network.files)
    except OSError as error:
        raise InputError(f"network {network.folder} cannot be read: {error.filename}: {error.strerror}") from error
    return _load(network, stamp, how.device, how.tile_step, how.mirroring)


@cache
def _load(network: Network, stamp: Stamp, device: str, tile_step: float, mirroring: bool) -> Any:
    """The predictor; `stamp` makes replaced files another network."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            predictor = nnUNetPredictor(
                tile_step_size=tile_step,
                use_gaussian=True,
                use_mirroring=mirroring,
                perform_everything_on_device=True,
                device=_device(device),
                verbose=False,
                allow_tqdm=False,
            )
            predictor.initialize_from_trained_model_folder(
                str(network.folder), use_folds=network.folds, checkpoint_name=CHECKPOINT
            )
    except (RuntimeError, ValueError, KeyError, TypeError, OSError, EOFError, AttributeError, ImportError) as error:
        raise InputError(f"network {network.folder} cannot be loaded: {_line(error)}") from error
    except pickle.UnpicklingError as error:
        raise InputError(f"network {network.folder}: a checkpoint is damaged: {_line(error)}") from error
    if len(network.folds) == 1:  # no second copy of the weights beside those that the network holds
        predictor.list_of_parameters = [predictor.network.state_dict()]
    logger.info("loaded %s on %s", network.folder, device)
    return predictor


def _device(name: str) -> Any:
    import torch

    if "," in name:
        raise InputError(f"device={name}: several devices need workers=1 or more on this machine, and no cluster=")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device={name!r} is unknown; it is cpu, cuda or cuda:<number>") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device={name}: this machine has {torch.cuda.device_count()} CUDA devices that torch can use")
    return device


def _predict(predictor: Any, image: npt.NDArray[Any], spacing_mm: tuple[float, float, float], *, light: bool) -> Labels:
    """nnU-Net's preprocessing, its tiles, and its way back to the given grid."""
    import torch
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    preprocessor = configuration.preprocessor_class(verbose=False)
    data, _, properties = preprocessor.run_case_npy(
        image[None], None, {"spacing": list(spacing_mm)}, plans, configuration, predictor.dataset_json
    )
    tensor = torch.from_numpy(data).to(dtype=torch.float32, memory_format=torch.contiguous_format)
    labels = labels_by_slab(predictor, tensor, properties, light=light)
    if labels is not None:
        return labels
    predictor.perform_everything_on_device = not light and predictor.device.type != "cpu"
    logits = predictor.predict_logits_from_preprocessed_data(tensor).numpy()
    found: Labels = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits, plans, configuration, predictor.label_manager, properties
    )
    return found


@contextlib.contextmanager
def _named_errors(network: Network) -> Iterator[None]:
    """A library's error inside becomes one of the study, with its reason."""
    name = network.folder.parent.name
    try:
        yield
    except MemoryError as error:
        raise StudyError(Reason.OUT_OF_MEMORY, f"network {name}: {error or 'out of memory'}") from error
    except (RuntimeError, ValueError, KeyError, IndexError, OSError, AssertionError) as error:
        what = _line(error)
        full = any(word in what.lower() for word in ("out of memory", "can't allocate memory", "alloc_failed"))
        reason = Reason.OUT_OF_MEMORY if full else Reason.SEGMENTER
        lost = not full and any(word in what.lower() for word in _GPU_WORDS)
        raise StudyError(reason, f"network {name} failed: {what}{f'; {_GPU_IS_LOST}' if lost else ''}") from error


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
