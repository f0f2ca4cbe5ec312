import numpy as np
import pytest
from phantoms import body, canonical_affine, organ_labels

from preprocess.errors import Reason, StudyError
from preprocess.quality import check_hu, implausible_hu, orientation_flags, without_padding
from preprocess.readers_nifti import read_nifti
from preprocess.volume import LabelMap, Volume

BODY = body().astype(np.int32)


def clip16(values):
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)


def noisy_organ(mean=60.0, spread=10.0):
    return np.random.default_rng(1).normal(mean, spread, (8, 20, 20))


def padded(value, hu=BODY):
    filled = hu.copy()
    filled[:, :10, :10] = value
    filled[:, -10:, -10:] = value
    return filled


def with_metal(hu=BODY):
    metal = hu.copy()
    y, x = hu.shape[1] // 2, hu.shape[2] // 2
    metal[:, y : y + 3, x : x + 3] = 30000
    metal[:, y, x + 4 : x + 12] = -900
    return metal


def lungs():
    """A large field of view: three quarters of air and lung."""
    hu = np.full((8, 40, 40), -1000) + np.random.default_rng(0).normal(0, 40, (8, 40, 40))
    hu[:, 10:30, 8:32] = -850
    hu[:, 28:30, 8:32] = 30
    return hu


def calcified():
    """A small field inside an organ with a large calcification and a drain: no air, no fat."""
    rng = np.random.default_rng(3)
    values = rng.normal(55, 12, (8, 20, 20))
    dense = rng.random(values.shape) < 0.2
    values[dense] = rng.uniform(300, 3071, int(dense.sum()))
    return values


def bone():
    """A small field of view inside a hip: marrow, muscle, a fifth of hard bone, no air."""
    rng = np.random.default_rng(2)
    parts = rng.choice([-60, 50, 300, 1000], p=[0.2, 0.4, 0.2, 0.2], size=(8, 20, 20))
    return parts + rng.normal(0, 20, parts.shape)


@pytest.mark.parametrize(
    "hu",
    [
        BODY,
        noisy_organ(),
        noisy_organ(100, 60),
        padded(-2000),
        padded(-3024),
        padded(-1024),
        padded(-2048, lungs()),
        with_metal(),
        np.clip(BODY, -1024, 3071),
        np.clip(BODY * 4, -1024, 3071),
        lungs(),
        bone(),
        calcified(),
        with_metal(calcified()),
    ],
    ids=[
        "body", "inside an organ", "noisy", "padding -2000", "padding -3024", "padding -1024", "padded lungs", "metal",
        "12 bit", "strong contrast, 12 bit", "lungs", "bone",
        "calcified", "calcified, metal",
    ],
)  # fmt: skip
def test_hounsfield_units_pass(hu):
    assert implausible_hu(clip16(hu)) is None


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        (np.zeros(BODY.shape), "every voxel is 0"),
        (np.full(BODY.shape, -1024), "every voxel is -1024"),
        ((BODY + 1024) / 4095, "lie between 0 and 1"),
        ((BODY + 1024) / 1024 * 2, "normalised"),
        ((BODY - BODY.mean()) / BODY.std(), "normalised"),
        (np.clip((BODY + 160) / 400, 0, 1) * 255, "8-bit picture"),
        (organ_labels(), "normalised|label map"),
        (organ_labels() * 3, "label map"),
        (BODY + 1024, "intercept -1024 was not applied"),
        (padded(-2000, BODY + 1024), "intercept -1024 was not applied"),
        (lungs() + 1024, "intercept -1024 was not applied"),
        (BODY + 8192, "intercept -8192 was not applied"),
        (BODY - 1024, "applied twice"),
        (padded(-4000, BODY - 1024), "applied twice"),
        (BODY - 8192, "applied twice"),
        ((BODY + 1024) * 10, "another unit|not applied"),
    ],
    ids=[
        "zeros", "constant air", "0 to 1", "0 to 3", "unit variance", "0 to 255", "labels", "larger labels", "never rescaled",
        "never rescaled, padded", "lungs never rescaled", "8192 never subtracted", "twice", "twice, padded",
        "twice 8192", "stretched",
    ],
)  # fmt: skip
def test_other_numbers_are_refused_with_the_likely_cause(values, cause):
    with pytest.raises(StudyError, match=cause) as caught:
        check_hu(Volume(clip16(values), canonical_affine()))
    assert caught.value.reason is Reason.HU_IMPLAUSIBLE


def test_a_large_volume_is_judged_by_a_sample():
    large = clip16(np.tile(BODY, (25, 6, 6)))
    assert large.size > 8_000_000
    assert implausible_hu(large) is None
    assert "not applied" in str(implausible_hu(clip16(large.astype(np.int32) + 1024)))


def test_padding_becomes_air_and_is_flagged():
    volume = Volume(clip16(padded(-3024)), canonical_affine(), flags=("known",))
    cleaned = without_padding(volume)
    assert cleaned.hu.min() == -1024
    assert cleaned.flags == ("known", "padding set to -1024")
    np.testing.assert_array_equal(cleaned.hu[volume.hu > -1500], volume.hu[volume.hu > -1500])
    assert without_padding(Volume(body(), canonical_affine())).flags == ()


def test_a_real_volume_passes(shared_data):
    volume = read_nifti(shared_data / "real_ct" / "ct.nii.gz")
    check_hu(volume)
    assert without_padding(volume) is volume


NAMES = {1: "liver", 2: "spleen", 3: "stomach", 4: "heart", 5: "vertebrae_L1", 6: "vertebrae_L2", 7: "urinary_bladder"}
PLACES = {
    1: (9, 6, 3),
    2: (9, 6, 12),
    3: (9, 4, 9),
    4: (15, 5, 9),
    5: (8, 12, 8),
    6: (6, 12, 8),
    7: (1, 5, 8),
}  # z, y, x


def trunk(numbers=tuple(PLACES)):
    labels = np.zeros((18, 16, 16), np.uint8)
    for number in numbers:
        z, y, x = PLACES[number]
        labels[z : z + 3, y : y + 3, x : x + 3] = number
    return labels


@pytest.mark.parametrize(
    ("flip", "expected"),
    [(None, None), (2, "left and right"), (0, "head and feet"), (1, "front and back")],
    ids=["straight", "mirrored", "upside down", "back to front"],
)
def test_masks_tell_a_turned_image(flip, expected):
    labels = trunk() if flip is None else np.flip(trunk(), flip)
    flags = orientation_flags(LabelMap(labels, canonical_affine(), NAMES))
    assert [flag.split(" look")[0] for flag in flags] == ([] if expected is None else [expected])


def test_one_pair_alone_does_not_condemn():
    labels = np.flip(trunk((1, 2)), 2)
    assert orientation_flags(LabelMap(labels, canonical_affine(), NAMES)) == ()
