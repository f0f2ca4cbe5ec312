"""Task `total` in memory against TotalSegmentator's own API and its own resampling, voxel for voxel."""

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunet_folder import build_random_networks
from phantoms import canonical_affine, oblique_affine
from scipy.ndimage import gaussian_filter
from totalsegmentator.alignment import as_closest_canonical, undo_canonical
from totalsegmentator.map_to_binary import class_map, class_map_5_parts
from totalsegmentator.resampling import change_spacing
from totalsegmentator_api import api_labels

from preprocess import total
from preprocess.errors import StudyError
from preprocess.geometry import nifti_from_affine
from preprocess.segment import networks_loaded, segment
from preprocess.total import label, lower, raise_back, total_tables
from preprocess.volume import Volume
from preprocess.weights import total_mode


def noise(shape, affine, seed=0) -> Volume:
    """Smooth random HU."""
    values = gaussian_filter(np.random.default_rng(seed).normal(0, 1, shape), 1.5)
    return Volume(np.clip(values / values.std() * 400 - 100, -1024, 3000).astype(np.int16), affine)


@pytest.fixture(scope="module")
def fast_weights(tmp_path_factory):
    return build_random_networks(tmp_path_factory.mktemp("fast"), fast=True)


@pytest.fixture(scope="module")
def full_weights(tmp_path_factory):
    return build_random_networks(tmp_path_factory.mktemp("full"), fast=False)


FAST = {
    "oblique, several tiles": noise((40, 50, 61), oblique_affine((5.0, 2.5, 1.7))),
    "straight, thin slices": noise((64, 30, 33), canonical_affine((1.25, 3.1, 2.9)), 1),
    "at the network's spacing": noise((36, 40, 33), canonical_affine((3.0, 3.0, 3.0)), 2),
    "one coarse plane": noise((1, 40, 50), canonical_affine((5.0, 1.0, 1.2)), 3),
    "turned by half a right angle": noise((20, 34, 30), oblique_affine((4.0, 2.0, 2.5), degrees=47.0), 4),
}


@pytest.mark.parametrize("volume", FAST.values(), ids=FAST.keys())
def test_fast_labels_equal_those_of_the_api(volume, fast_weights, tmp_path):
    labels = segment(volume, fast=True, weights=fast_weights).labels
    assert np.array_equal(labels, api_labels(volume, fast_weights, tmp_path / "home", fast=True))
    assert len(np.unique(labels)) > 5


@pytest.mark.slow
def test_fast_labels_equal_those_of_the_api_with_its_child_processes(fast_weights, tmp_path):
    volume = FAST["oblique, several tiles"]
    expected = api_labels(volume, fast_weights, tmp_path / "home", fast=True, in_processes=True)
    assert np.array_equal(segment(volume, fast=True, weights=fast_weights).labels, expected)


@pytest.mark.slow
def test_full_labels_equal_those_of_the_api(full_weights, tmp_path):
    volume = noise((30, 41, 37), oblique_affine((2.5, 1.3, 1.9)))
    labels = segment(volume, fast=False, weights=full_weights).labels
    assert np.array_equal(labels, api_labels(volume, full_weights, tmp_path / "home", fast=False))
    found = {class_map["total"][number] for number in np.unique(labels) if number}
    assert all(found & set(part.values()) for part in list(class_map_5_parts.values())[:5])


@pytest.mark.slow
def test_labels_of_a_split_image_equal_those_of_the_api(full_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(total, "SPLIT_VOXELS", 1)
    monkeypatch.setattr(total, "SPLIT_SLICES", 1)
    volume = noise((70, 20, 22), canonical_affine((2.0, 1.5, 1.4)))
    labels = segment(volume, fast=False, weights=full_weights).labels
    assert np.array_equal(labels, api_labels(volume, full_weights, tmp_path / "home", fast=False, force_split=True))


def test_a_network_is_loaded_once_for_several_studies(fast_weights, full_weights):
    volumes = [noise((12, 20, 22), canonical_affine((4.0, 3.0, 3.0)), seed) for seed in range(3)]
    segment(volumes[0], fast=True, weights=fast_weights)
    segment(volumes[0], fast=False, weights=full_weights)
    before = networks_loaded()
    for volume in volumes:
        segment(volume, fast=True, weights=fast_weights)
        segment(volume, fast=False, weights=full_weights, light=True)
    assert networks_loaded() == before


def test_the_light_way_gives_the_same_labels(fast_weights):
    volume = noise((40, 50, 61), oblique_affine((5.0, 2.5, 1.7)))
    usual = segment(volume, fast=True, weights=fast_weights)
    light = segment(volume, fast=True, weights=fast_weights, light=True)
    assert np.array_equal(usual.labels, light.labels)


def test_named_structures_keep_their_voxels(fast_weights):
    volume = FAST["oblique, several tiles"]
    whole = segment(volume, fast=True, weights=fast_weights)
    present = [whole.names[number] for number in np.unique(whole.labels) if number][:3]
    some = segment(volume, fast=True, weights=fast_weights, structures=present)
    wanted = [number for number, name in whole.names.items() if name in present]
    assert np.array_equal(some.labels, np.where(np.isin(whole.labels, wanted), whole.labels, 0))
    assert some.labels.any()


axis = st.integers(1, 24)
steps = st.sampled_from([0.7, 0.9765625, 1.0, 1.5, 2.0, 3.0, 3.1, 5.0])


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(axis, axis, axis),
    spacing=st.tuples(steps, steps, steps),
    degrees=st.sampled_from([0.0, 12.0, 47.0, 80.0]),
    target=st.sampled_from([1.5, 3.0]),
    seed=st.integers(0, 9),
)
def test_resampling_equals_totalsegmentators(shape, spacing, degrees, target, seed):
    rng = np.random.default_rng(seed)
    affine = oblique_affine(spacing, degrees)
    volume = Volume(rng.integers(-1024, 3071, shape).astype(np.int16), affine)
    image = nibabel.Nifti1Image(volume.hu.transpose(2, 1, 0).astype(float), nifti_from_affine(affine))
    if min(n * step / target for n, step in zip(shape, spacing, strict=True)) < 0.51:
        with pytest.raises(StudyError, match="too thin"):
            lower(volume, target)
        return
    expected = change_spacing(as_closest_canonical(image), [target] * 3, order=1, dtype=np.int32)
    low = lower(volume, target)
    assert np.array_equal(low.hu.transpose(2, 1, 0), expected.get_fdata())
    assert np.allclose(low.spacing_mm, expected.header.get_zooms()[::-1], rtol=1e-6)
    labels = rng.integers(0, 5, low.hu.shape).astype(np.uint8)
    up = change_spacing(
        nibabel.Nifti1Image(labels.transpose(2, 1, 0), expected.affine),
        [target] * 3,
        as_closest_canonical(image).shape,
        order=0,
        dtype=np.uint8,
        force_affine=as_closest_canonical(image).affine,
    )
    back = np.asarray(undo_canonical(up, image).dataobj).transpose(2, 1, 0)
    assert np.array_equal(raise_back(labels, volume), back)
    assert np.array_equal(raise_back(labels, volume, [2, 4]), np.where(np.isin(back, [2, 4]), back, 0))


def test_later_networks_win_and_numbers_become_those_of_the_task():
    numbers = total_mode(fast=False).numbers
    image = lower(noise((4, 5, 6), canonical_affine((1.5, 1.5, 1.5))), 1.5)

    def run(place, hu, spacing_mm):
        found = np.zeros(hu.shape, dtype=np.uint8)
        found[place:] = 1
        return found

    merged = label(image, total_tables(numbers), run)
    firsts = [part[1] for part in list(class_map_5_parts.values())[:5]]
    assert [class_map["total"][number] for number in merged[:, 0, 0]] == firsts[:4]
