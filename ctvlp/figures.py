"""Pieces of a page without any other file: windowed slices, heat, outlines and curves, as data URIs and paths."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.measure import approximate_polygon, find_contours

Floats = NDArray[np.floating]
Bytes = NDArray[np.uint8]

LUNG_HU, SOFT_HU, BONE_HU = (-1150.0, 350.0), (-160.0, 240.0), (-450.0, 1050.0)
"""Windows of the page (low, high) in HU."""

_BONE_SPREAD_HU = 250.0  # between the 10th and 90th percentile: enhanced organs are bright too, but even
_HEAT = np.array([[255, 214, 92], [255, 140, 40], [222, 48, 84]], dtype=np.float64)  # RGB from weak to strong
_HEAT_ALPHA = 150.0


def display_window(organ_hu: NDArray[np.integer]) -> tuple[float, float]:
    """Choose the window (low, high) in HU by what the organ is made of: air, bone or soft tissue."""
    low, middle, high = np.percentile(organ_hu, [10, 50, 90]) if organ_hu.size else (0.0, 0.0, 0.0)
    if middle < -400:
        return LUNG_HU
    return BONE_HU if middle > 50 and high - low > _BONE_SPREAD_HU else SOFT_HU


def apply_window(hu: NDArray[np.generic], window_hu: tuple[float, float]) -> Bytes:
    """Map HU linearly to 0..255, what lies outside the window to its ends."""
    low, high = window_hu
    scaled = (hu.astype(np.float32) - low) * (255.0 / (high - low))
    return np.asarray(np.clip(np.rint(scaled), 0, 255), dtype=np.uint8)


def image_uri(gray: Bytes, size: tuple[int, int], *, quality: int = 82) -> str:
    """WebP data URI of a grey image (rows, columns), resampled smoothly to `size` (width, height) in pixels."""
    image = Image.fromarray(gray).resize(size, Image.Resampling.BICUBIC)
    return _uri(image, quality=quality, method=4)


def heat_uri(heat: Floats, size: tuple[int, int]) -> str:
    """WebP data URI of a transparent overlay of values 0..1 (rows, columns), at `size` (width, height) in pixels."""
    small = Image.fromarray(np.asarray(np.clip(heat, 0, 1) * 255, dtype=np.uint8))
    values = np.asarray(small.resize(size, Image.Resampling.BILINEAR), dtype=np.float64) / 255
    stops = np.linspace(0, 1, len(_HEAT))
    colour = np.stack([np.interp(values, stops, _HEAT[:, channel]) for channel in range(3)], axis=-1)
    alpha = _HEAT_ALPHA * np.clip(values * 1.5, 0, 1)
    rgba = np.concatenate([colour, alpha[..., None]], axis=-1)
    return _uri(Image.fromarray(np.asarray(np.rint(rgba), dtype=np.uint8), mode="RGBA"), quality=60, method=4)


def outline_path(mask: NDArray[np.bool_], scale: tuple[float, float]) -> str:
    """Outline of a mask as the `d` of an SVG path, slightly smoothed.

    Args:
        mask: (rows, columns).
        scale: Units of the drawing a voxel, (down, across).

    Returns:
        Closed curves in units of the drawing; empty where the mask is.
    """
    if not mask.any():
        return ""
    smooth = gaussian_filter(np.pad(mask.astype(np.float32), 2), 0.6)
    pieces = []
    for contour in find_contours(smooth, 0.5):
        corners = approximate_polygon(contour, 0.12) - 1.5  # voxel centres lie at half units
        points = [f"{_short(x * scale[1])} {_short(y * scale[0])}" for y, x in corners]
        pieces.append(f"M{'L'.join(points)}Z")
    return "".join(pieces)


def curve_path(
    x: Sequence[float], y: Sequence[float], x_range: tuple[float, float], y_range: tuple[float, float]
) -> str:
    """Polyline as the `d` of an SVG path in a box of 100 by 100 units, y upwards; what is not finite breaks it."""
    pieces, pen = [], "M"
    for a, b in zip(x, y, strict=True):
        if not np.isfinite(b):
            pen = "M"
            continue
        pieces.append(f"{pen}{_short(share(a, x_range))} {_short(100 - share(b, y_range))}")
        pen = "L"
    return "".join(pieces)


def share(value: float, extent: tuple[float, float]) -> float:
    """Place of a value between the ends of an axis in percent, kept inside."""
    low, high = extent
    if high <= low:
        return 50.0
    return float(np.clip(100 * (value - low) / (high - low), 0, 100))


def round_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers between two values, both ends included where they are round."""
    span = max(high - low, 1e-9)
    raw = span / max(count - 1, 1)
    magnitude = 10.0 ** np.floor(np.log10(raw))
    step = magnitude * next(m for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    first = np.ceil(low / step - 1e-9)
    ticks = (first + np.arange(int(np.floor(high / step + 1e-9) - first) + 1)) * step
    return [float(np.round(tick, 10)) for tick in ticks]


def fit_size(height_mm: float, width_mm: float, longest_px: int) -> tuple[int, int]:
    """Size (width, height) in pixels of a picture in true proportions whose longer side is `longest_px`."""
    factor = longest_px / max(height_mm, width_mm)
    return max(1, round(width_mm * factor)), max(1, round(height_mm * factor))


def _uri(image: Image.Image, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", **options)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _short(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
