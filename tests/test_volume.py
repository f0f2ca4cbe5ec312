import numpy as np
import pytest
from phantoms import body, canonical_affine, organ_labels

from preprocess.volume import LabelMap, Volume


def test_a_volume_knows_its_shape_spacing_and_coverage():
    volume = Volume(body(), canonical_affine((4.0, 1.5, 2.0)))
    assert volume.shape == (12, 40, 36)
    assert volume.spacing_mm == (4.0, 1.5, 2.0)
    assert volume.coverage_mm == (48.0, 60.0, 72.0)


@pytest.mark.parametrize(
    ("hu", "affine", "message"),
    [
        (body().astype(np.float32), canonical_affine(), "int16 HU, not float32"),
        (body()[0], canonical_affine(), "three axes"),
        (body()[:0], canonical_affine(), "no empty one"),
        (body(), np.eye(3), "must be 4x4"),
    ],
    ids=["type", "plane", "empty", "affine"],
)
def test_a_volume_refuses_what_it_cannot_be(hu, affine, message):
    with pytest.raises(ValueError, match=message):
        Volume(hu, affine)


def test_a_label_map_finds_numbers_by_name():
    label_map = LabelMap(organ_labels(), canonical_affine(), {5: "liver", 1: "spleen"})
    assert (label_map.number("liver"), label_map.number("heart")) == (5, None)
    with pytest.raises(ValueError, match="uint8 or uint16, not int32"):
        LabelMap(organ_labels().astype(np.int32), canonical_affine(), {})
