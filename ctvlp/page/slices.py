"""Pictures of crops and overviews: slices chosen by rule, windowed, in true proportions, with outlines and heat."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctvlp.crop_kernels import REGION_VALUE
from ctvlp.figures import SOFT_HU, apply_window, display_window, fit_size, heat_uri, image_uri, outline_path
from ctvlp.page.content_studies import Picture

if TYPE_CHECKING:
    from preprocess.store import Crop

Floats = NDArray[np.float32]

SLICE_PX, HEAT_PX, OVERVIEW_PX = 230, 64, 340
_HEIGHTS = (0.2, 0.5, 0.8)
"""Shares of the organ's voxels below the three axial slices, unless the model looked elsewhere."""


def crop_pictures(crop: "Crop", heat: Floats | None = None) -> tuple[Picture, ...]:
    """Three axial slices and a coronal one through an anatomy.

    The axial slices lie where 20, 50 and 80 % of the organ are below; with heat the nearest of them moves to the slice
    that holds most of it. The coronal slice goes through the heat's, or else the organ's, middle.

    Args:
        crop: Crop of a complete or truncated anatomy.
        heat: (z, y, x) in [0, 1], or None.

    Returns:
        Four pictures (fewer in a crop with fewer slices); none for an absent anatomy.
    """
    if crop.image is None or crop.mask is None:
        return ()
    organ = (crop.mask > 0) & (crop.mask < REGION_VALUE)
    shown = organ if organ.any() else crop.mask > 0
    window = display_window(crop.image[shown])
    gray = apply_window(crop.image, window)
    hot = heat if heat is not None and heat.max() > 0 else None
    z_mm, y_mm, x_mm = crop.spacing_mm
    pictures = []
    for z in axial_slices(shown, hot):
        name = f"axial, slice {z + 1} of {len(gray)}"
        pictures.append(_picture(name, gray[z], organ[z], crop.mask[z] > 0, _plane(hot, 0, z), (y_mm, x_mm)))
    y = _middle(hot if hot is not None else shown, axis=1)
    gray, organ, region = np.flip(gray, 0)[:, y], np.flip(organ, 0)[:, y], np.flip(crop.mask > 0, 0)[:, y]
    heat_plane = None if hot is None else np.flip(hot, 0)[:, y]
    pictures.append(_picture("coronal", gray, organ, region, heat_plane, (z_mm, x_mm)))
    return tuple(pictures)


def axial_slices(shown: NDArray[np.bool_], heat: Floats | None) -> list[int]:
    """Choose the axial slices of an anatomy, lowest first, see `crop_pictures`."""
    below = np.cumsum(shown.sum(axis=(1, 2)))
    chosen = [int(np.searchsorted(below, share * below[-1])) for share in _HEIGHTS]
    if heat is not None:
        hottest = int(np.argmax(heat.sum(axis=(1, 2))))
        nearest = int(np.argmin([abs(z - hottest) for z in chosen]))
        chosen[nearest] = hottest
    return sorted(set(chosen))


def overview_pictures(hu: NDArray[np.int16], spacing_mm: tuple[float, float, float]) -> tuple[Picture, Picture]:
    """Coronal and sagittal pictures of a whole volume: means over the middle third of the body.

    Args:
        hu: (z, y, x) int16.
        spacing_mm: Voxel size (z, y, x).
    """
    z_mm, y_mm, x_mm = spacing_mm
    body = hu > -400
    pictures = []
    for name, axis, width_mm in (("coronal", 1, x_mm), ("sagittal", 2, y_mm)):
        middle = _middle(body, axis=axis)
        half = max(1, hu.shape[axis] // 10)
        slab = np.take(hu, range(max(0, middle - half), min(hu.shape[axis], middle + half + 1)), axis=axis)
        mean = np.flipud(np.clip(slab, -1000, 1000).astype(np.float32).mean(axis=axis))
        gray = apply_window(mean, (SOFT_HU[0] - 140, SOFT_HU[1] + 60))
        height, width = gray.shape[0] * z_mm, gray.shape[1] * width_mm
        uri = image_uri(gray, fit_size(height, width, OVERVIEW_PX))
        pictures.append(Picture(name, round(width, 1), round(height, 1), uri))
    return pictures[0], pictures[1]


def coronal_box(
    crop: "Crop", overview_affine: NDArray[np.float64], overview_shape: tuple[int, ...]
) -> tuple[float, float, float, float] | None:
    """Place of a crop on the coronal overview, (left, top, width, height) in mm; None for an absent anatomy."""
    if crop.image is None or crop.affine is None:
        return None
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in crop.image.shape], indexing="ij")).reshape(3, -1).T
    lps = corners @ crop.affine[:3, :3].T + crop.affine[:3, 3]
    index = (lps - overview_affine[:3, 3]) @ np.linalg.inv(overview_affine[:3, :3]).T + 0.5  # cells from the edge
    limits = np.asarray(overview_shape)
    low, high = np.clip(index.min(axis=0), 0, limits), np.clip(index.max(axis=0), 0, limits)
    z_mm, _, x_mm = np.linalg.norm(overview_affine[:3, :3], axis=0)
    left, top = low[2] * x_mm, (limits[0] - high[0]) * z_mm
    box = (left, top, (high[2] - low[2]) * x_mm, (high[0] - low[0]) * z_mm)
    return tuple(round(float(value), 1) for value in box)  # type: ignore[return-value]


def _picture(
    name: str,
    gray: NDArray[np.uint8],
    organ: NDArray[np.bool_],
    region: NDArray[np.bool_],
    heat: Floats | None,
    spacing_mm: tuple[float, float],
) -> Picture:
    height, width = gray.shape[0] * spacing_mm[0], gray.shape[1] * spacing_mm[1]
    return Picture(
        name=name,
        width=round(width, 1),
        height=round(height, 1),
        image=image_uri(gray, fit_size(height, width, SLICE_PX)),
        organ=outline_path(organ, spacing_mm),
        region=outline_path(region, spacing_mm),
        heat=None if heat is None or heat.max() <= 0 else heat_uri(heat, fit_size(height, width, HEAT_PX)),
    )


def _plane(heat: Floats | None, axis: int, position: int) -> Floats | None:
    return None if heat is None else np.take(heat, position, axis=axis)


def _middle(weight: NDArray[np.generic], *, axis: int) -> int:
    """Index along an axis with half of the weight on either side."""
    others = tuple(other for other in range(weight.ndim) if other != axis)
    below = np.cumsum(weight.sum(axis=others, dtype=np.float64))
    return int(np.searchsorted(below, below[-1] / 2)) if below[-1] > 0 else weight.shape[axis] // 2
