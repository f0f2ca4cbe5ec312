"""Pieces of a page are exact: windows, ticks, outlines, curves, and images that decode."""

import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ctvlp import figures


def decode(uri: str) -> Image.Image:
    head, data = uri.split(",", 1)
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def points(path: str) -> np.ndarray:
    return np.array([[float(v) for v in pair.split()] for pair in re.findall(r"[-\d.]+ [-\d.]+", path)])


@pytest.mark.parametrize(
    ("hu", "expected"),
    [(-1000, 0), (-160, 0), (40, 128), (240, 255), (3000, 255)],
    ids=["below", "low end", "middle", "high end", "above"],
)
def test_window_maps_linearly_and_clips(hu: int, expected: int) -> None:
    assert figures.apply_window(np.array([hu], dtype=np.int16), (-160, 240))[0] == expected


@pytest.mark.parametrize(
    ("hu", "window"),
    [
        ((-950, -850, -600), figures.LUNG_HU),
        ((30, 55, 80), figures.SOFT_HU),
        ((150, 190, 240), figures.SOFT_HU),
        ((-800, -20, 60), figures.SOFT_HU),
        ((20, 160, 500), figures.BONE_HU),
    ],
    ids=["lung", "organ", "enhanced organ", "bowel with gas", "bone"],
)
def test_window_follows_what_the_organ_is_made_of(hu: tuple[int, ...], window: tuple[float, float]) -> None:
    assert figures.display_window(np.repeat(np.array(hu, dtype=np.int16), 9)) == window


def test_image_keeps_its_place_and_proportions() -> None:
    gray = np.zeros((20, 40), dtype=np.uint8)
    gray[:10, 20:] = 255
    image = np.asarray(decode(figures.image_uri(gray, (160, 80))).convert("L"))
    assert image.shape == (80, 160)
    assert image[:30, 90:].min() > 225
    assert image[50:].max() < 30


def test_heat_is_transparent_where_nothing_is_and_strongest_where_all_is() -> None:
    heat = np.zeros((16, 16), dtype=np.float32)
    heat[:8, :8] = 1
    rgba = np.asarray(decode(figures.heat_uri(heat, (64, 64))))
    assert rgba.shape == (64, 64, 4)
    assert rgba[40:, 40:, 3].max() == 0
    assert rgba[4:24, 4:24, 3].min() > 140


def test_outline_lies_on_the_border_of_the_mask() -> None:
    mask = np.zeros((40, 50), dtype=bool)
    rows, columns = np.indices(mask.shape)
    mask[(rows - 20) ** 2 + (columns - 28) ** 2 <= 12**2] = True
    x, y = points(figures.outline_path(mask, (2.0, 3.0))).T
    radius = np.hypot(y / 2.0 - 20.5, x / 3.0 - 28.5)  # voxel k spans k to k + 1
    assert abs(radius - 12).max() < 0.9


def test_outline_of_nothing_is_empty_and_a_mask_at_the_edge_is_closed() -> None:
    assert figures.outline_path(np.zeros((5, 5), dtype=bool), (1, 1)) == ""
    path = figures.outline_path(np.ones((5, 5), dtype=bool), (1, 1))
    assert path.count("M") == path.count("Z") == 1
    assert points(path).min() > -1


def test_curve_spans_the_box_and_breaks_where_nothing_is_known() -> None:
    assert figures.curve_path([0, 1, 2], [0.0, 0.5, 1.0], (0, 2), (0, 1)) == "M0 100L50 50L100 0"
    assert figures.curve_path([0, 1, 2], [0.0, float("nan"), 1.0], (0, 2), (0, 1)) == "M0 100M100 0"


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4), st.integers(2, 8))
def test_ticks_are_evenly_spaced_and_inside(low: float, span: float, count: int) -> None:
    ticks = figures.round_ticks(low, low + span, count)
    tolerance = 1e-6 * max(1.0, abs(low), span)
    assert all(low - tolerance <= tick <= low + span + tolerance for tick in ticks)
    assert len(ticks) <= count + 1
    if len(ticks) > 2:
        np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-3, atol=tolerance)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.4, 1.0, [0.4, 0.6, 0.8, 1.0]), (0, 40, [0, 10, 20, 30, 40]), (0.2, 1.0, [0.2, 0.4, 0.6, 0.8, 1.0])],
    ids=["tenths", "tens", "fifths"],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert figures.round_ticks(low, high) == pytest.approx(expected)
