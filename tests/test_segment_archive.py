"""From an archive to a store with a segmentation network in between."""

import numpy as np
import pytest
from nnunet_folder import build_random_networks
from phantoms import canonical_affine, write_nifti
from test_total import noise

from preprocess.errors import InputError
from preprocess.pipeline import preprocess_archive
from preprocess.quality import without_padding
from preprocess.readers_nifti import read_nifti
from preprocess.segment import describe_segmenter, networks_loaded, segment
from preprocess.store import Store


@pytest.fixture
def archive(tmp_path):
    for seed, name in enumerate(("a", "b", "c")):
        volume = noise((16, 40, 44), canonical_affine((4.0, 2.5, 2.2)), seed)
        write_nifti(tmp_path / "archive" / f"{name}.nii.gz", volume.hu, volume.affine)
    return tmp_path / "archive"


def test_a_model_of_the_users_own_is_the_segmenter(archive, tmp_path):
    weights = build_random_networks(tmp_path / "weights", fast=True)
    model = next(weights.glob("Dataset*/*3d_fullres"))
    (tmp_path / "labels.yaml").write_text("structures: {5: liver, 1: spleen}\n")
    options = {"segmenter": str(model), "segmenter_labels": tmp_path / "labels.yaml", "study_id": "keep", "workers": 0}
    summary = preprocess_archive(archive, tmp_path / "store", **options)
    assert (summary.done, summary.failed) == (3, 0)
    with Store(tmp_path / "store").open_study("a") as study:
        assert study.volume_attributes("v0")["segmenter"]["weights_digest"]
        assert set(study.labels("v0").names.values()) == {"liver", "spleen"}
    with pytest.raises(InputError, match="mix_segmenters=true"):
        preprocess_archive(archive, tmp_path / "store", segmenter="totalsegmentator", weights=weights, workers=0)
    mixed = {"segmenter": "totalsegmentator", "weights": weights, "study_id": "keep", "workers": 0}
    assert preprocess_archive(archive, tmp_path / "store", **mixed, mix_segmenters=True).done == 3


def test_studies_are_segmented_by_one_network_and_say_by_which(archive, tmp_path):
    weights = build_random_networks(tmp_path / "weights", fast=True)
    options = {
        "archive": archive,
        "out": tmp_path / "store",
        "segmenter": "totalsegmentator",
        "weights": weights,
        "study_id": "keep",
        "workers": 0,
    }
    before = networks_loaded()
    summary = preprocess_archive(**options)
    assert (summary.done, summary.failed) == (3, 0)
    assert networks_loaded() == before + 1
    store = Store(tmp_path / "store")
    for study_id in store.study_ids():
        study = store.open_study(study_id)
        assert study.volume_attributes("v0")["segmenter"] == describe_segmenter(fast=True, weights=weights)
        volume = without_padding(read_nifti(archive / f"{study_id}.nii.gz"))
        expected = segment(volume, fast=True, weights=weights)
        assert np.array_equal(study.labels("v0").labels, expected.labels)
        assert study.labels("v0").names == expected.names
    assert preprocess_archive(**options).skipped == 3
