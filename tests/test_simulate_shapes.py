"""Shapes keep their volume on any grid, and random fields are the same in patient space whatever the grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.simulate.blobs import blob, patches
from preprocess.simulate.shapes import (
    Grid,
    Shape,
    ball,
    bent,
    coverage,
    draw_waves,
    ellipsoid,
    facets,
    lobed,
    rind,
    tube,
    union,
    wave_field,
    without,
)


def grid_of(spacing_mm: tuple[float, float, float], degrees: float = 0.0, reach_mm: float = 40.0) -> Grid:
    """Return a grid of +-reach round the origin, turned about S."""
    turn = np.deg2rad(degrees)
    axes = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])[:, ::-1]
    z, y, x = (2 * int(reach_mm / step) for step in spacing_mm)
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array(spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array([z, y, x]) - 1) / 2 + 0.21)
    return Grid(affine, (z, y, x))


def volume(grid: Grid, shape: Shape) -> float:
    return float(coverage(grid, shape).sum(dtype=float)) * grid.step_mm**3


GRIDS = {"fine": grid_of((1.5, 1.2, 1.2)), "thick": grid_of((5.0, 2.6, 3.1)), "oblique": grid_of((4.0, 3.0, 2.8), 17.0)}
BALL = 4 / 3 * np.pi


@settings(max_examples=40, deadline=None)
@given(
    radius=st.floats(1.6, 15.0),
    centre=st.tuples(*[st.floats(-8.0, 8.0)] * 3),
    name=st.sampled_from(sorted(GRIDS)),
)
def test_ball_keeps_its_volume_on_every_grid(radius: float, centre: tuple[float, float, float], name: str) -> None:
    expected = BALL * radius**3
    assert volume(GRIDS[name], ball(centre, radius)) == pytest.approx(expected, rel=0.12, abs=6.0)


SOLIDS = {
    "ellipsoid": (ellipsoid((2, -1, 3), (18, 12, 9)), BALL * 18 * 12 * 9, 0.06),
    "tube": (tube([[-20, 0, 0], [20, 0, 0]], 4.0), np.pi * 16 * 40 + BALL * 64, 0.04),
    "thin tube": (tube([[-20, 3, 1], [18, -3, 8]], 1.2), np.pi * 1.44 * np.sqrt(38**2 + 36 + 49) + BALL * 1.2**3, 0.1),
    "bent tube": (tube([[-20, 0, 0], [0, 0, 0], [0, 20, 0]], 3.0), np.pi * 9 * 40 + BALL * 27, 0.08),
    "rind": (rind(ball((0, 0, 0), 18), 4.0), BALL * (18**3 - 14**3), 0.06),
    "without": (without(ball((0, 0, 0), 18), ball((0, 0, 0), 10)), BALL * (18**3 - 10**3), 0.06),
    "apart": (union([ball((-15, 0, 0), 6), ball((15, 0, 0), 6)]), 2 * BALL * 216, 0.06),
    "within": (union([ball((0, 0, 0), 12), ball((2, 0, 0), 5)]), BALL * 12**3, 0.04),
}


@pytest.mark.parametrize("grid", sorted(GRIDS))
@pytest.mark.parametrize("solid", sorted(SOLIDS))
def test_solids_keep_their_volume(solid: str, grid: str) -> None:
    shape, expected, slack = SOLIDS[solid]
    assert volume(GRIDS[grid], shape) == pytest.approx(expected, rel=slack)


@pytest.mark.parametrize("grid", sorted(GRIDS))
def test_random_solids_have_the_same_volume_on_every_grid(grid: str) -> None:
    shapes = [
        lobed(ball((0, 0, 0), 16), draw_waves(np.random.default_rng(1), 20.0), 2.0),
        facets((1, 2, 3), 12.0, np.random.default_rng(2)),
        blob(np.random.default_rng(3), (0, 0, 0), 15.0),
    ]
    for shape in shapes:
        assert volume(GRIDS[grid], shape) == pytest.approx(volume(GRIDS["fine"], shape), rel=0.06)


@pytest.mark.parametrize("grid", sorted(GRIDS))
def test_coverage_lies_inside_the_shapes_box(grid: str) -> None:
    shape = blob(np.random.default_rng(5), (3, 2, 1), 9.0, 0.4)
    share = coverage(GRIDS[grid], shape)
    points = GRIDS[grid].points[:, share > 0.01].T
    slack = max(GRIDS[grid].spacing_mm)
    assert (points >= shape.low - slack).all()
    assert (points <= shape.high + slack).all()
    assert share.min() >= 0
    assert share.max() <= 1


@pytest.mark.parametrize("grid", sorted(GRIDS))
def test_wave_field_equals_the_sum_of_its_waves(grid: str) -> None:
    waves = draw_waves(np.random.default_rng(4), 25.0)
    points = GRIDS[grid].points.reshape(3, -1).T.astype(float)
    direct = np.cos(points @ waves.vectors.T + waves.phases).sum(axis=1) * np.sqrt(2 / len(waves.phases))
    assert np.allclose(wave_field(GRIDS[grid], waves).ravel(), direct, atol=2e-4)


def test_part_of_a_grid_lies_where_the_whole_says() -> None:
    grid = GRIDS["oblique"]
    where = (slice(3, 9), slice(4, 7), slice(1, 8))
    assert np.allclose(grid.part(where).points, grid.points[(slice(None), *where)], atol=1e-4)


def test_box_outside_the_grid_is_none() -> None:
    assert GRIDS["fine"].box([100, 100, 100], [120, 110, 105]) is None


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_patches_fill_the_share_of_space_asked_for(share: float) -> None:
    grid = grid_of((2.0, 2.0, 2.0), reach_mm=90.0)
    found = np.mean([patches(grid, draw_waves(np.random.default_rng(k), 12.0, 20), share).mean() for k in range(4)])
    assert found == pytest.approx(share, abs=0.05)


def test_bent_curve_passes_through_its_control_points() -> None:
    knots = np.array([[0.0, 0, 0], [10, 5, 0], [20, -5, 8], [30, 0, 0]])
    curve = bent(knots, 31)
    assert curve.shape == (31, 3)
    assert np.allclose(curve[::10], knots, atol=1e-9)
