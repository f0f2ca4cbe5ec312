"""Which files of a segmenter are there, and whether they are the ones that a list of digests names."""

import hashlib

import pytest

from preprocess.errors import InputError
from preprocess.segment import describe_segmenter
from preprocess.weights import (
    SUMS,
    changed_files,
    check_sums,
    find_networks,
    missing_files,
    read_sums,
    total_mode,
    total_networks,
    weights_digest,
    weights_folder,
)


def build_files(folder, *, fast):
    """Files of the right names; what is in them matters to no function here."""
    for network in total_networks(fast=fast, weights=folder):
        for path in network.files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"content of {path.relative_to(folder)}")
    return folder


def write_sums(folder, networks, **changed):
    names = [path.relative_to(folder).as_posix() for network in networks for path in network.files]
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in names]
    (folder / SUMS).write_text("\n".join(lines) + "\n")
    return names


@pytest.mark.parametrize(("fast", "spacing_mm", "count"), [(True, 3.0, 1), (False, 1.5, 5)], ids=["fast", "full"])
def test_modes_are_those_of_totalsegmentator(fast, spacing_mm, count):
    mode = total_mode(fast=fast)
    assert (mode.spacing_mm, len(mode.numbers), len(mode.folders)) == (spacing_mm, count, count)
    assert mode.numbers == ((297,) if fast else (291, 292, 293, 294, 295))
    for number, folder in zip(mode.numbers, mode.folders, strict=True):
        assert folder.startswith(f"Dataset{number}_")
        assert folder.endswith("__nnUNetPlans__3d_fullres")


@pytest.mark.parametrize(
    ("variables", "below"),
    [
        ({"TOTALSEG_WEIGHTS_PATH": "{}/w"}, "w"),
        ({"TOTALSEG_HOME_DIR": "{}/h"}, "h/nnunet/results"),
        ({"TOTALSEG_WEIGHTS_PATH": "{}/w", "TOTALSEG_HOME_DIR": "{}/h"}, "w"),
        ({"HOME": "{}"}, ".totalsegmentator/nnunet/results"),
    ],
    ids=["weights", "home", "both", "neither"],
)
def test_weights_are_looked_for_where_totalsegmentator_looks(tmp_path, monkeypatch, variables, below):
    for name in ("TOTALSEG_WEIGHTS_PATH", "TOTALSEG_HOME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    assert weights_folder() == tmp_path / below
    assert weights_folder("given").name == "given"


def test_missing_files_are_listed(tmp_path):
    networks = total_networks(fast=False, weights=build_files(tmp_path, fast=False))
    assert missing_files(networks, tmp_path) == []
    gone = networks[2].files[1]
    gone.unlink()
    assert missing_files(networks, tmp_path) == [gone.relative_to(tmp_path).as_posix()]


def test_the_digest_changes_with_every_file(tmp_path):
    networks = find_networks(fast=False, weights=build_files(tmp_path, fast=False))
    digests = {weights_digest(networks)}
    for network in networks:
        for path in network.files:
            path.write_text(f"{path.read_text()} and more")
            digests.add(weights_digest(networks))
    assert len(digests) == 16


def test_changed_files_are_found(tmp_path):
    networks = find_networks(fast=True, weights=build_files(tmp_path, fast=True))
    assert changed_files(networks, tmp_path) is None
    names = write_sums(tmp_path, networks)
    assert changed_files(networks, tmp_path) == []
    check_sums(networks, tmp_path)
    (tmp_path / names[1]).write_text("cut off")
    assert changed_files(networks, tmp_path) == [names[1]]
    with pytest.raises(InputError, match=rf"{names[1]}: not the file that weights\.sha256 beside it lists"):
        describe_segmenter(fast=True, weights=tmp_path)


def test_a_file_that_the_list_lacks_is_not_verified(tmp_path):
    networks = find_networks(fast=True, weights=build_files(tmp_path, fast=True))
    names = write_sums(tmp_path, networks)
    lines = (tmp_path / SUMS).read_text().splitlines()
    (tmp_path / SUMS).write_text("\n".join(lines[:-1]))
    assert changed_files(networks, tmp_path) == names[-1:]


@pytest.mark.parametrize(
    "line", ["{}  a/b c.pth", "{} *a/b c.pth", "{}  ./a/b c.pth"], ids=["text", "binary", "dotted"]
)
def test_lists_of_sha256sum_are_understood(tmp_path, line):
    (tmp_path / SUMS).write_text(line.format("AB" * 32) + "\n")
    assert read_sums(tmp_path) == {"a/b c.pth": "ab" * 32}


@pytest.mark.parametrize("text", ["abc  file.pth", "\n", "<html>", "a" * 64], ids=["short", "empty", "page", "no name"])
def test_another_list_is_refused(tmp_path, text):
    (tmp_path / SUMS).write_text(text)
    with pytest.raises(InputError, match=r"weights\.sha256, line 1: "):
        read_sums(tmp_path)
