"""What the doctor says of segmentation weights."""

import pytest
from test_weights import build_files, write_sums

from ctvlp.doctor import examine
from preprocess.weights import total_networks


def answer(folder, mode):
    return next(check for check in examine(folder) if check.topic == f"totalsegmentator weights ({mode})")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_files(tmp_path_factory.mktemp("weights"), fast=True)


def test_all_files_are_there(folder):
    check = answer(folder, "fast")
    assert check.state == "ok"
    assert "no weights.sha256 there to compare with" in check.detail


def test_missing_files_and_how_to_bring_them(folder):
    check = answer(folder, "full")
    assert check.state == "absent"
    for network in total_networks(fast=False, weights=folder):
        for path in network.files:
            assert path.relative_to(folder).as_posix() in check.detail
    assert "totalseg_download_weights -t total" in check.detail
    assert "TOTALSEG_WEIGHTS_PATH" in check.detail


def test_files_that_match_their_list_and_one_that_does_not(tmp_path):
    networks = total_networks(fast=True, weights=build_files(tmp_path, fast=True))
    names = write_sums(tmp_path, networks)
    assert answer(tmp_path, "fast").detail.endswith("as weights.sha256 lists)")
    (tmp_path / names[0]).write_text("cut off")
    check = answer(tmp_path, "fast")
    assert check.state == "damaged"
    assert names[0] in check.detail
    assert names[1] not in check.detail
