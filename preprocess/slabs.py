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


def labels_by_slab(predictor: Any, data: Any, properties: dict[str, Any]) -> Labels | None:
    """Label of each voxel, as `predict_logits_from_preprocessed_data` and the export after it give it.

    Args:
        predictor: nnU-Net's predictor, loaded.
        data: float32 tensor (1, z, y, x) of nnU-Net's preprocessing.
        properties: What that preprocessing noted.

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
        found = _padded_labels(predictor, padded, patch)[tuple(inside[1:])]
    wide = len(predictor.label_manager.foreground_labels) >= 255
    labels = np.zeros(properties["shape_before_cropping"], dtype=np.uint16 if wide else np.uint8)
    labels = insert_crop_into_image(labels, found, properties["bbox_used_for_cropping"])
    turned: Labels = labels.transpose(predictor.plans_manager.transpose_backward)
    return turned


def _padded_labels(predictor: Any, data: Any, patch: tuple[int, ...]) -> npt.NDArray[np.uint16]:
    """Labels (z, y, x) of a tensor that is at least as large as a tile."""
    import torch
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian

    device = predictor.device
    predictor.network.load_state_dict(predictor.list_of_parameters[0])
    predictor.network.to(device).eval()
    weight = compute_gaussian(patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=torch.device("cpu"))
    depth, *plane = data.shape[1:]
    labels = np.zeros((depth, *plane), dtype=np.uint16)
    scores = torch.zeros((predictor.label_manager.num_segmentation_heads, patch[0], *plane), dtype=torch.half)
    weights = torch.zeros((patch[0], *plane), dtype=torch.half)
    start = 0
    rows = groupby(predictor._internal_get_sliding_window_slicers(data.shape[1:]), key=lambda tile: tile[1].start)
    with torch.autocast(device.type, enabled=device.type == "cuda"):
        for row, tiles in rows:
            labels[start:row] = _best(scores[:, : row - start], weights[: row - start])
            _move_on(scores, row - start, axis=1)
            _move_on(weights, row - start, axis=0)
            start = row
            for _, _, y, x in tiles:
                tile = data[:, start : start + patch[0], y, x][None].contiguous().to(device)
                answer = predictor._internal_maybe_mirror_and_predict(tile)[0].to("cpu")
                answer *= weight
                scores[:, :, y, x] += answer
                weights[:, y, x] += weight
    labels[start:] = _best(scores, weights)
    return labels


def _best(scores: Any, weights: Any) -> npt.NDArray[np.int64]:
    """The best label of each voxel of complete planes, (z, y, x)."""
    import torch

    if scores.shape[1] == 0:
        return np.zeros(tuple(weights.shape), dtype=np.int64)
    mean = torch.div(scores, weights)
    if torch.isinf(mean).any():
        raise RuntimeError("a score is infinite")
    best: npt.NDArray[np.int64] = mean.numpy().argmax(0)
    return best


def _move_on(sums: Any, planes: int, *, axis: int) -> None:
    """Drops the first planes along an axis and makes room for as many empty ones at its end."""
    if planes == 0:
        return
    kept = sums.shape[axis] - planes
    rest = sums.narrow(axis, planes, kept).clone()
    sums.zero_()
    sums.narrow(axis, 0, kept).copy_(rest)
