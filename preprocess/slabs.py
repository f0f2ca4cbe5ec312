"""A network's labels from front to back: only the sums of one row of tiles are held, and the labels are the same.

nnU-Net adds up the scores of all tiles for the whole image before it takes the best label of each voxel: 2 bytes a
voxel and label, several gigabytes for a long scan. Its tiles come in order of their first axis, so that all planes in
front of the next row of tiles are complete and can be turned into labels. Each voxel's scores are the same additions
in the same order, so that the labels are equal, not merely alike.
"""

from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from preprocess.volume import Labels


def labels_by_slab(predictor: Any, data: Any, properties: dict[str, Any], *, light: bool = False) -> Labels | None:
    """Label of each voxel, as `predict_logits_from_preprocessed_data` and the export after it give it.

    Args:
        predictor: nnU-Net's predictor, loaded.
        data: float32 tensor (1, z, y, x) of nnU-Net's preprocessing.
        properties: What that preprocessing noted.
        light: Add up the scores in main memory, not in that of the network's device.

    Returns:
        (z, y, x) on the grid before preprocessing; None where the network's answer is no label a voxel on its own grid
        (several folds, regions, another spacing, planes).

    Raises:
        RuntimeError: As in nnU-Net, where a score leaves the range of its type.
    """
    import torch
    from acvl_utils.cropping_and_padding.bounding_boxes import insert_crop_into_image
    from acvl_utils.cropping_and_padding.padding import pad_nd_image

    patch = tuple(predictor.configuration_manager.patch_size)
    cropped = tuple(properties["shape_after_cropping_and_before_resampling"])
    simple = len(predictor.list_of_parameters) == 1 and not predictor.label_manager.has_regions and len(patch) == 3
    if not simple or tuple(data.shape[1:]) != cropped:
        return None
    padded, inside = pad_nd_image(data, patch, "constant", {"value": 0}, True, None)
    with torch.inference_mode():
        found = _padded_labels(predictor, padded, patch, light=light)[tuple(inside[1:])]
    wide = len(predictor.label_manager.foreground_labels) >= 255
    labels = np.zeros(properties["shape_before_cropping"], dtype=np.uint16 if wide else np.uint8)
    labels = insert_crop_into_image(labels, found, properties["bbox_used_for_cropping"])
    turned: Labels = labels.transpose(predictor.plans_manager.transpose_backward)
    return turned


def _padded_labels(predictor: Any, data: Any, patch: tuple[int, ...], *, light: bool) -> npt.NDArray[np.uint16]:
    """Labels (z, y, x) of a tensor that is at least as large as a tile."""
    import torch
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian

    device = predictor.device
    place = torch.device("cpu") if light else device
    predictor.network.load_state_dict(predictor.list_of_parameters[0])
    predictor.network.to(device).eval()
    weight = compute_gaussian(patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=place)
    depth, *plane = data.shape[1:]
    labels = np.zeros((depth, *plane), dtype=np.uint16)
    heads = predictor.label_manager.num_segmentation_heads
    scores = torch.zeros((heads, patch[0], *plane), dtype=torch.half, device=place)
    weights = torch.zeros((patch[0], *plane), dtype=torch.half, device=place)
    start = 0
    rows = groupby(predictor._internal_get_sliding_window_slicers(data.shape[1:]), key=lambda tile: tile[1].start)
    with torch.autocast(device.type, enabled=device.type == "cuda"):
        for row, tiles in rows:
            _take_best(scores, weights, labels[start:row])
            _move_on(scores, row - start, axis=1)
            _move_on(weights, row - start, axis=0)
            start = row
            for _, _, y, x in tiles:
                _add_answer(predictor, data[:, start : start + patch[0], y, x], weight, scores[:, :, y, x])
                weights[:, y, x] += weight
    _take_best(scores, weights, labels[start:])
    return labels


def _add_answer(predictor: Any, tile: Any, weight: Any, scores: Any) -> None:
    """Adds the network's weighted scores of one tile (1, z, y, x) to `scores` (label, z, y, x), and keeps none."""
    answer = predictor._internal_maybe_mirror_and_predict(tile[None].contiguous().to(predictor.device))[0]
    for sums, found in zip(scores, answer.to(scores.device), strict=True):  # label by label: torch makes copies to add
        found *= weight
        sums += found


def _take_best(scores: Any, weights: Any, labels: npt.NDArray[np.uint16]) -> None:
    """Writes the best label of each voxel of the first, complete planes into `labels` (z, y, x)."""
    import torch

    for plane, into in enumerate(labels):
        mean = torch.div(scores[:, plane], weights[plane])
        if torch.isinf(mean).any():
            raise RuntimeError("a score is infinite")
        # the first of equal scores, as numpy takes it; numpy compares float32 faster than the half that it comes from
        into[:] = mean.float().numpy().argmax(0) if mean.device.type == "cpu" else mean.argmax(0).cpu().numpy()


def _move_on(sums: Any, planes: int, *, axis: int) -> None:
    """Drops the first planes along an axis and makes room for as many empty ones at its end."""
    if planes == 0:
        return
    kept = sums.shape[axis] - planes
    rest = sums.narrow(axis, planes, kept).clone()
    sums.zero_()
    sums.narrow(axis, 0, kept).copy_(rest)
