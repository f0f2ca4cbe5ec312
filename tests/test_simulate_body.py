"""Simulated bodies: proportions, primitives on grids, materials, coverage."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.simulate.body import sample_plan
from preprocess.simulate.coverage import share_inside
from preprocess.simulate.fields import fill_depth, upsample
from preprocess.simulate.frame import rotation, smooth, spine_p
from preprocess.simulate.raster import Grid, colour, draw, rasterise, structure_numbers
from preprocess.simulate.scene import BodyPlan, Ellipsoid, Organ, Scene, Tube
from preprocess.simulate.site import SITES, load_site
from preprocess.simulate.tissue import vary_attenuation
from preprocess.vocabulary_files import load_anatomies

SPACING = (6.0, 4.0, 4.4)
# Structure to the smallest and largest volume in ml that this test accepts of an adult.
VOLUMES_ML = {
    "liver": (600, 2800),
    "spleen": (60, 450),
    "kidney_left": (60, 300),
    "kidney_right": (60, 300),
    "pancreas": (25, 160),
    "gallbladder": (5, 90),
    "stomach": (100, 1000),
    "urinary_bladder": (30, 500),
    "heart": (250, 1000),
    "aorta": (70, 350),
    "lung_upper_lobe_right": (350, 1700),
    "lung_middle_lobe_right": (150, 1000),
    "lung_lower_lobe_right": (350, 1700),
    "lung_upper_lobe_left": (350, 1700),
    "lung_lower_lobe_left": (350, 1700),
    "colon": (250, 1800),
    "small_bowel": (250, 2200),
    "sacrum": (50, 260),
    "portal_vein_and_splenic_vein": (4, 60),
    "esophagus": (20, 150),
}


def body_grid(spacing: tuple[float, float, float] = SPACING, *, turn=(0.0, 0.0, 0.0), flips=(1, 1, 1)) -> Grid:
    extent = np.array([700.0, 330.0, 460.0])
    shape = np.ceil(extent / spacing).astype(int)
    axes = rotation(turn) @ np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]]).T * np.array(flips)
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array(spacing)
    affine[:3, 3] = np.array([0.0, 0.0, 0.0]) - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid(tuple(int(n) for n in shape), affine)


def centres(scene: Scene) -> dict[str, np.ndarray]:
    found = {}
    for number in np.unique(scene.labels[scene.labels > 0]):
        index = np.argwhere(scene.labels == number)
        found[scene.names[int(number)]] = scene.lps(index).mean(axis=0)
    return found


@pytest.fixture(scope="module", params=[("A", 1), ("A", 2), ("B", 3)], ids=["A1", "A2", "B3"])
def scene(request: pytest.FixtureRequest) -> Scene:
    site, seed = request.param
    return rasterise(sample_plan(np.random.default_rng(seed), site), body_grid(), "portal", np.random.default_rng(7))


def test_every_structure_of_the_15_anatomies_is_drawn(scene: Scene) -> None:
    wanted = {name for anatomy in load_anatomies("ct15").values() for name in anatomy.structures}
    drawn = {scene.names[int(number)] for number in np.unique(scene.labels) if number}
    assert wanted - drawn == {"kidney_cyst_left", "kidney_cyst_right"}


@pytest.mark.parametrize("structure", VOLUMES_ML)
def test_volumes_are_those_of_adults(scene: Scene, structure: str) -> None:
    low, high = VOLUMES_ML[structure]
    volume = scene.mask(structure).sum() * np.prod(scene.spacing_mm) / 1000
    assert low < volume < high


def test_organs_lie_where_they_belong(scene: Scene) -> None:
    at = centres(scene)
    left, back, head = 0, 1, 2
    assert at["liver"][left] < -20 < 40 < at["spleen"][left]
    assert at["gallbladder"][left] < 0
    assert at["gallbladder"][head] < at["liver"][head]
    assert at["stomach"][left] > 0 > at["inferior_vena_cava"][left]
    assert at["aorta"][left] > at["inferior_vena_cava"][left]
    assert at["lung_upper_lobe_right"][head] > at["lung_lower_lobe_right"][head] > at["liver"][head]
    assert at["lung_upper_lobe_left"][back] < at["lung_lower_lobe_left"][back]
    assert at["heart"][head] > at["liver"][head] > at["urinary_bladder"][head]
    assert at["vertebrae_L1"][back] > at["pancreas"][back]
    assert at["vertebrae_T8"][back] > at["heart"][back]
    for name, place in at.items():
        if "left" in name.split("_"):
            assert place[left] > 0, name
        if "right" in name.split("_"):
            assert place[left] < 0, name


def test_lungs_lie_inside_the_rib_cage(scene: Scene) -> None:
    ribs = [name for name in structure_numbers() if name.startswith("rib_")]
    lungs = [name for name in structure_numbers() if name.startswith("lung_")]
    rib, lung = np.argwhere(scene.mask(ribs)), np.argwhere(scene.mask(lungs))
    for z in range(lung[:, 0].min() + 8, lung[:, 0].max() - 8, 6):
        inner = lung[lung[:, 0] == z]
        outer = rib[np.abs(rib[:, 0] - z) <= 4]
        assert outer[:, 2].min() <= inner[:, 2].min() + 1
        assert outer[:, 2].max() >= inner[:, 2].max() - 1


@pytest.mark.parametrize(
    ("structure", "low", "high"),
    [("liver", 75, 150), ("aorta", 90, 230), ("urinary_bladder", -10, 40), ("lung_upper_lobe_left", -900, -740)],
)
def test_portal_phase_attenuation(scene: Scene, structure: str, low: float, high: float) -> None:
    assert low < float(np.median(scene.hu[scene.mask(structure)])) < high


def test_hollow_organs_have_a_lumen_inside_their_label(scene: Scene) -> None:
    for structure in ("stomach", "colon", "small_bowel", "urinary_bladder", "gallbladder", "esophagus", "duodenum"):
        lumen = scene.hollow[structure]
        assert lumen.any(), structure
        assert (scene.labels[lumen] == structure_numbers()[structure]).all(), structure
        assert lumen.sum() < scene.mask(structure).sum(), structure


def test_same_seed_same_body_and_other_seed_another() -> None:
    one, same, other = (sample_plan(np.random.default_rng(seed)) for seed in (4, 4, 5))
    grid = body_grid((9.0, 7.0, 7.0))
    pictures = [rasterise(plan, grid, "native", np.random.default_rng(0)).hu for plan in (one, same, other)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


@pytest.mark.parametrize(
    ("turn", "flips"),
    [((0, 0, 0), (1, -1, 1)), ((0, 0, 0), (-1, 1, -1)), ((4, -3, 6), (1, 1, 1))],
    ids=["flip_y", "flip_z_x", "oblique"],
)
def test_organs_lie_at_the_same_place_on_any_grid(turn, flips) -> None:
    plan = sample_plan(np.random.default_rng(8))
    plain = centres(rasterise(plan, body_grid(), "portal", np.random.default_rng(0)))
    moved = centres(rasterise(plan, body_grid(turn=turn, flips=flips), "portal", np.random.default_rng(0)))
    for name in ("liver", "spleen", "kidney_left", "heart", "urinary_bladder", "lung_lower_lobe_right", "sacrum"):
        assert np.abs(plain[name] - moved[name]).max() < 2.5, name


def test_a_constant_warp_moves_everything() -> None:
    plan = sample_plan(np.random.default_rng(8))
    still = replace(plan, warp_mm=np.zeros_like(plan.warp_mm))
    push = np.zeros_like(plan.warp_mm)
    push[0] = 12.0  # a voxel shows what the plan holds 12 mm to the left, so organs move to the right
    moved = replace(plan, warp_mm=push)
    grid = body_grid()
    before = centres(rasterise(still, grid, "portal", np.random.default_rng(0)))
    after = centres(rasterise(moved, grid, "portal", np.random.default_rng(0)))
    shift = np.array([after[name] - before[name] for name in ("liver", "spleen", "heart", "sacrum")])
    assert np.abs(shift - [-12, 0, 0]).max() < 1.5


def test_phases_share_labels_and_texture_but_not_attenuation() -> None:
    drawing = draw(sample_plan(np.random.default_rng(2)), body_grid((9.0, 7.0, 7.0)), np.random.default_rng(0))
    native, portal = colour(drawing, "native"), colour(drawing, "portal")
    assert np.array_equal(native.labels, portal.labels)
    kidney = native.mask("kidney_left")
    assert portal.hu[kidney].mean() - native.hu[kidney].mean() > 60
    fat = drawing.material == 2
    assert np.allclose(native.hu[fat], portal.hu[fat], atol=3)
    native.labels[:] = 0
    assert portal.labels.any()


def test_attenuation_of_a_study_keeps_the_body() -> None:
    plan = sample_plan(np.random.default_rng(2))
    other = vary_attenuation(plan, np.random.default_rng(1), timing_sd=0.2, tissue_sd_hu=4.0)
    assert other.organs["liver"].hu["portal"] != plan.organs["liver"].hu["portal"]
    assert other.organs["liver"].shapes is plan.organs["liver"].shapes
    assert other.organs["pleural_cavity"].hu["native"] == plan.organs["pleural_cavity"].hu["native"]


@pytest.mark.parametrize("site", SITES)
def test_patients_vary_and_sites_differ(site: str) -> None:
    plans = [sample_plan(np.random.default_rng(seed), site) for seed in range(24)]
    assert {plan.sex for plan in plans} == {"F", "M"}
    assert all(18 <= plan.age_years <= 95 for plan in plans)
    assert np.std([plan.organs["liver"].shapes[0].radii[0] for plan in plans]) > 1
    assert load_site("A").fat_mm != load_site("B").fat_mm


def one_organ_depth(organ: Organ, grid: Grid) -> np.ndarray:
    """Depth of an organ over a whole grid, by the kernel that draws it."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    index = np.stack([z, y, x], axis=-1)
    positions = np.moveaxis(index @ grid.affine[:3, :3].T + grid.affine[:3, 3], -1, 0).astype(np.float32)
    rows = [np.concatenate([s.centre, s.radii, s.rotation.ravel()]) for s in organ.shapes if isinstance(s, Ellipsoid)]
    tubes = [
        np.concatenate([s.points[n], s.points[n + 1], s.radii[n : n + 2]])
        for s in organ.shapes
        if isinstance(s, Tube)
        for n in range(len(s.points) - 1)
    ]
    depth = np.full(grid.shape, 1e3, dtype=np.float32)
    whole = np.array([[0, 0, 0, *grid.shape]])
    fill_depth(
        depth, np.zeros_like(depth), np.zeros(3, dtype=np.int64), positions,
        np.array(rows, dtype=np.float32).reshape(-1, 15), np.repeat(whole, len(rows), axis=0),
        np.array(tubes, dtype=np.float32).reshape(-1, 8), np.repeat(whole, len(tubes), axis=0), np.float32(1e-3),
    )  # fmt: skip
    return depth


def small_grid() -> Grid:
    affine = np.array([[0, 0, 2.0, -40], [0, 2.5, 0, -40], [3.0, 0, 0, -45], [0, 0, 0, 1]])
    return Grid((30, 32, 40), affine)


def points_of(grid: Grid) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    return index @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def test_depth_of_an_ellipsoid_has_its_sign_and_is_exact_on_a_ball() -> None:
    grid, points = small_grid(), points_of(small_grid())
    turn = rotation((20, -35, 50))
    tilted = Organ("x", (Ellipsoid((4, -6, 3), (25, 12, 18), turn),), {})
    inside = (((points - (4, -6, 3)) @ turn / (25, 12, 18)) ** 2).sum(axis=-1) < 1
    assert np.array_equal(one_organ_depth(tilted, grid) < 0, inside)
    ball = Organ("x", (Ellipsoid((4, -6, 3), (17, 17, 17)),), {})
    exact = np.linalg.norm(points - (4, -6, 3), axis=-1) - 17
    off_centre = exact > -16.9
    assert np.abs(one_organ_depth(ball, grid) - exact)[off_centre].max() < 1e-2


def test_depth_of_a_tube_is_the_distance_to_its_axis() -> None:
    grid, points = small_grid(), points_of(small_grid())
    tube = Organ("x", (Tube(np.array([[-20.0, -10, -20], [15, 12, 20]]), np.array([9.0, 9.0])),), {})
    a, b = np.array([-20.0, -10, -20]), np.array([15.0, 12, 20])
    t = np.clip(((points - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
    exact = np.linalg.norm(points - a - t[..., None] * (b - a), axis=-1) - 9
    assert np.abs(one_organ_depth(tube, grid) - exact).max() < 1e-2


@settings(max_examples=25, deadline=None)
@given(
    low=st.floats(-60, 60), length=st.floats(1, 100), turn=st.tuples(*[st.floats(-90, 90)] * 3), seed=st.integers(0, 99)
)
def test_share_inside_a_range_agrees_with_drawn_points(low, length, turn, seed) -> None:
    shape = Ellipsoid((5, -3, 7), (30, 18, 44), rotation(turn))
    rng = np.random.default_rng(seed)
    ball = rng.normal(size=(20000, 3))
    ball *= rng.random((20000, 1)) ** (1 / 3) / np.linalg.norm(ball, axis=1, keepdims=True)
    heights = (ball * shape.radii @ shape.rotation.T)[:, 2] + 7
    counted = np.mean((heights > low) & (heights < low + length))
    assert share_inside([Organ("x", (shape,), {})], low, low + length) == pytest.approx(counted, abs=0.02)


def test_share_inside_of_nothing_is_zero() -> None:
    assert share_inside([], 0, 100) == 0


def test_upsample_keeps_ends_and_straight_lines() -> None:
    coarse = np.add.outer(np.add.outer(np.arange(3.0), 10 * np.arange(2.0)), 100 * np.arange(4.0)).astype(np.float32)
    fine = upsample(coarse, (9, 5, 13))
    assert fine.shape == (9, 5, 13)
    wanted = np.linspace(0, 2, 9)[:, None, None] + np.linspace(0, 10, 5)[:, None] + np.linspace(0, 300, 13)
    assert np.allclose(fine, wanted, atol=1e-4)


def test_smooth_passes_through_its_points() -> None:
    points = [(0.0, 0.0, 0.0), (10.0, 3.0, 4.0), (12.0, -5.0, 9.0)]
    curve = np.array(smooth(points, 21))
    assert np.allclose(curve[[0, 10, 20]], points)


def test_the_spine_is_curved_as_a_spine() -> None:
    assert spine_p(-73) < spine_p(170)
    assert spine_p(-73) < spine_p(-225)


def test_a_plan_without_an_organ_draws_none() -> None:
    plan = sample_plan(np.random.default_rng(2))
    without = BodyPlan(
        {name: organ for name, organ in plan.organs.items() if name != "gallbladder"},
        plan.trunk, plan.warp_mm, plan.warp_box, plan.sex, plan.age_years,
    )  # fmt: skip
    grid = body_grid((9.0, 7.0, 7.0))
    assert not rasterise(without, grid, "native", np.random.default_rng(0)).mask("gallbladder").any()
    assert rasterise(plan, grid, "native", np.random.default_rng(0)).mask("gallbladder").any()
