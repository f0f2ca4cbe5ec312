"""Structure numbers and names of TotalSegmentator v1 and v2."""

import pytest

from preprocess.structures import (
    current_name,
    guess_version,
    is_structure,
    structure_names,
    structure_numbers,
    structures_named,
)
from preprocess.vocabulary_files import load_anatomies


def test_tables_equal_those_of_the_installed_totalsegmentator():
    class_map = pytest.importorskip("totalsegmentator.map_to_binary").class_map
    assert structure_names("v2") == class_map["total"]
    assert structure_names("v1") == {k: current_name(v) for k, v in class_map["total_v1"].items()}


def test_v1_heart_parts_become_heart():
    numbers = structures_named(structure_names("v1"), ["heart"])
    assert numbers == [44, 45, 46, 47, 48]
    assert structures_named(structure_names("v2"), ["heart"]) == [51]


def test_v1_name_asks_for_its_v2_structure():
    assert structures_named(structure_names("v2"), ["heart_atrium_left"]) == [51]


def test_numbers_invert_names():
    assert all(structure_names("v2")[number] == name for name, number in structure_numbers().items())


@pytest.mark.parametrize(
    ("name", "known"), [("liver", True), ("heart_myocardium", True), ("face", True), ("ct", False), ("tumour", False)]
)
def test_is_structure(name, known):
    assert is_structure(name) is known


def test_every_structure_of_the_shipped_anatomies_exists():
    for anatomy in load_anatomies().values():
        assert all(is_structure(name) for name in [*anatomy.structures, *anatomy.region.companions]), anatomy.name


@pytest.mark.parametrize(
    ("volumes_ml", "version"),
    [
        pytest.param({}, "v2", id="nothing at all"),
        pytest.param({1: 200, 5: 1500, 105: 8}, "v2", id="a number above v1's last"),
        pytest.param({1: 200, 5: 1500}, "v2", id="nothing to tell them apart"),
        pytest.param({5: 1500, 55: 500, 57: 900, 104: 250}, "v1", id="v1 abdomen"),
        pytest.param({5: 1500, 18: 500, 20: 900, 21: 250}, "v2", id="v2 abdomen"),
        pytest.param({13: 900, 14: 900, 15: 900, 16: 350, 17: 1000, 44: 120}, "v1", id="v1 chest"),
        pytest.param({10: 900, 11: 900, 12: 900, 13: 350, 14: 1000, 51: 600}, "v2", id="v2 chest"),
    ],
)
def test_version_of_a_map_without_names(volumes_ml, version):
    assert guess_version(volumes_ml, dict.fromkeys(volumes_ml, 0.0)) == version


@pytest.mark.parametrize(
    ("left_mm", "version"),
    [
        pytest.param({5: -60, 77: -120, 78: -110, 65: 100}, "v1", id="v1: right ribs, which v2 calls left hip and on"),
        pytest.param({5: -60, 77: 90, 78: -90, 69: 150, 70: -150}, "v2", id="v2: hips and arms on their sides"),
        pytest.param({5: -60, 77: -15, 65: 15}, "v2", id="near the mid-line nothing is told"),
    ],
)
def test_version_by_side(left_mm, version):
    assert guess_version(dict.fromkeys(left_mm, 5.0), left_mm) == version
