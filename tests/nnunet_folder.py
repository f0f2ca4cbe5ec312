"""Builds nnU-Net v2 model folders in TotalSegmentator's layout, with weights set by hand or drawn at random."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from totalsegmentator.map_to_binary import class_map, class_map_5_parts, map_taskid_to_partname_ct

from preprocess.weights import total_mode

DATASET = "Dataset297_TotalSegmentator_total_3mm_1559subj"
TRAINER = "nnUNetTrainer_4000epochs_NoMirroring"
BRIGHT_LABEL = 5


@dataclass(frozen=True)
class Size:
    """How large a network is.

    Attributes:
        tile: Voxels along (z, y, x) that it sees at a time.
        features: Channels of each stage.
        strides: Of each stage, along (z, y, x).
        convolutions: In each stage, on the way down and up.
    """

    tile: tuple[int, int, int]
    features: tuple[int, ...]
    strides: tuple[tuple[int, int, int], ...]
    convolutions: int


_ONE, _TWO = (1, 1, 1), (2, 2, 2)
SMALL = Size((32, 32, 32), (4, 4), (_ONE, _TWO), 1)
FLAT_TILE = Size((32, 96, 96), (2, 2), (_ONE, _TWO), 1)
"""Quick on scans of few slices: few tiles, few channels."""
_FEATURES = (32, 64, 128, 256, 320, 320)
REAL_FAST = Size((112, 112, 128), _FEATURES, (_ONE, _TWO, _TWO, _TWO, _TWO, (1, 1, 2)), 2)
REAL_FULL = Size((128, 128, 128), _FEATURES, (_ONE, _TWO, _TWO, _TWO, _TWO, _TWO), 2)
"""nnU-Net's own 3D network of some 31 million parameters, as TotalSegmentator's 3 mm and 1.5 mm networks are."""


def build_nnunet_folder(root: Path) -> Path:
    """Write a network that labels voxels much brighter than their surroundings as `BRIGHT_LABEL`, and return `root`."""
    labels = {"background": 0, **{name: number for number, name in class_map["total"].items()}}
    plans = _plans(DATASET, 3.0)
    _write(root / DATASET / f"{TRAINER}__nnUNetPlans__3d_fullres", plans, labels, _weights(plans, len(labels)))
    return root


def build_random_networks(root: Path, *, fast: bool, seed: int = 0, size: Size = SMALL) -> Path:
    """Write the network or networks of task `total` with random weights, and return `root`."""
    mode = total_mode(fast=fast)
    for number, folder in zip(mode.numbers, mode.folders, strict=True):
        names = class_map["total"] if fast else class_map_5_parts[map_taskid_to_partname_ct[number]]
        labels = {"background": 0, **{name: own for own, name in names.items()}}
        build_random_network(root / folder, labels, spacing_mm=mode.spacing_mm, seed=seed + number, size=size)
    return root


def build_random_network(
    folder: Path,
    labels: dict[str, int],
    *,
    spacing_mm: float = 3.0,
    seed: int = 0,
    folds: tuple[int | str, ...] = (0,),
    reader: str = "SimpleITKIO",
    mirroring: tuple[int, ...] | None = None,
    size: Size = SMALL,
) -> Path:
    """Write one model folder with random weights whose background wins about 70 % of a noise image."""
    plans = _plans(folder.parent.name, spacing_mm, size) | {"image_reader_writer": reader}
    for place, fold in enumerate(folds):
        weights = _random_weights(plans, len(labels), seed + 1000 * place)
        _write(folder, plans, labels, weights, fold=fold, mirroring=mirroring)
    return folder


def _write(
    folder: Path,
    plans: dict,
    labels: dict[str, int],
    weights: dict[str, torch.Tensor],
    *,
    fold: int | str = 0,
    mirroring: tuple[int, ...] | None = None,
) -> None:
    (folder / f"fold_{fold}").mkdir(parents=True)
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    own = {value.data_ptr(): value for value in weights.values()}.values()  # a decoder names its encoder's again
    checkpoint = {
        "network_weights": weights,
        "optimizer_state": [torch.zeros_like(value) for value in own],
        "init_args": {"configuration": "3d_fullres", "fold": fold},
        "trainer_name": folder.name.split("__")[0],
        "inference_allowed_mirroring_axes": mirroring,
    }
    torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")


def _random_weights(plans: dict, labels: int, seed: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = _network(plans, labels)
        head = network.decoder.seg_layers[-1]
        with torch.no_grad():
            head.weight.normal_()
            head.bias.normal_()
            tile = plans["configurations"]["3d_fullres"]["patch_size"]
            scores = network(torch.randn(1, 1, *(min(length, 64) for length in tile)))[0]
            head.bias[0] += torch.quantile(scores[1:].amax(0) - scores[0], 0.7)
    return network.state_dict()


def _network(plans: dict, labels: int) -> torch.nn.Module:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    architecture = PlansManager(plans).get_configuration("3d_fullres")
    return get_network_from_plans(
        architecture.network_arch_class_name,
        architecture.network_arch_init_kwargs,
        architecture.network_arch_init_kwargs_req_import,
        1,
        labels,
        allow_init=False,
        deep_supervision=False,
    )


def _weights(plans: dict, labels: int) -> dict[str, torch.Tensor]:
    network = _network(plans, labels)
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.zero_()
            if name.endswith("norm.weight"):
                value.fill_(1.0)
            elif name.endswith("conv.weight"):
                # the decoder's convolution sees the upsampled features first, then the skipped ones: pass on the latter
                source = value.shape[1] // 2 if name.startswith("decoder.stages") else 0
                value[0, source, 1, 1, 1] = 1.0
        head = network.decoder.seg_layers[-1]
        head.weight[BRIGHT_LABEL, 0] = 1.0
        head.bias[BRIGHT_LABEL] = -1.0
    return network.state_dict()


def _plans(dataset: str, spacing_mm: float, size: Size = SMALL) -> dict:
    stages = len(size.features)
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(size.tile),
        "median_image_size_in_voxels": [48.0, 48.0, 48.0],
        "spacing": [spacing_mm] * 3,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": list(size.features),
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[3, 3, 3]] * stages,
                "strides": [list(stride) for stride in size.strides],
                "n_conv_per_stage": [size.convolutions] * stages,
                "n_conv_per_stage_decoder": [size.convolutions] * (stages - 1),
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": True,
    }
    intensities = {
        "max": 3000.0, "mean": 0.0, "median": 0.0, "min": -1024.0, "percentile_00_5": -1000.0,
        "percentile_99_5": 1000.0, "std": 200.0,
    }  # fmt: skip
    return {
        "dataset_name": dataset,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [spacing_mm] * 3,
        "original_median_shape_after_transp": [48, 48, 48],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": intensities},
    }
