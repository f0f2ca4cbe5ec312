"""The check of a store finds what is wrong with it, and nothing where all is well."""

import json
import re

import pytest
from test_store import CHUNK, STUDY, flip_byte, rewrite, stored

from preprocess.check import check_store
from preprocess.errors import InputError
from preprocess.manifest import write_manifest
from preprocess.pieces import Piece, file_sha256, write_piece
from preprocess.store import study_path, write_study


@pytest.fixture
def store(tmp_path):
    for study_id in ("a1", "b2"):
        path = write_study(tmp_path, study_id, STUDY, {"v0": stored()})
        write_piece(path.parent, Piece(study_id, "p1", "done", "digest", file_sha256=file_sha256(path)))
    write_manifest(tmp_path)
    return tmp_path


def accept(store, study_id):
    """Make the record agree with the changed file, so that only the content is at fault."""
    path = study_path(store, study_id)
    write_piece(path.parent, Piece(study_id, "p1", "done", "digest", file_sha256=file_sha256(path)))


def test_a_good_store_has_no_problems(store):
    assert check_store(store) == []


def test_a_flipped_byte_is_found_twice(store):
    flip_byte(study_path(store, "a1"), CHUNK)
    problems = check_store(store)
    assert any("a1.zarr.zip is not the file that was written" in line for line in problems)
    assert any("study a1, v0/liver/image: damaged or missing" in line for line in problems)
    assert not any("b2" in line for line in problems)


def with_attribute(place, key, value):
    def change(name, data):
        if name != f"{place}/zarr.json".lstrip("/"):
            return data
        node = json.loads(data)
        if value is None:
            del node["attributes"][key]
        else:
            node["attributes"][key] = value
        return json.dumps(node).encode()

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (with_attribute("", "split", None), "study a1: root attribute split is missing or unknown"),
        (with_attribute("", "study_id", "zz"), "study a1: its file says study_id 'zz'"),
        (with_attribute("v0", "kernel", None), "study a1, v0: attribute kernel is missing or unknown"),
        (with_attribute("v0/liver", "extent", "truncated"), "v0/liver: cut_fraction 0.0 does not fit extent truncated"),
        (with_attribute("v0/liver", "spacing_mm", [1, 1, 1]), "v0/liver: spacing_mm .* is not the affine's"),
        (with_attribute("v0/liver", "parts", []), r"v0/liver: mask holds \[1\], but there are 0 parts"),
        (with_attribute("v0/liver", "volume_ml", None), "v0/liver: .*volume_ml"),
        (
            with_attribute("v0/liver", "source_grid", {"shape": [2, 2, 2], "affine": [[0, 0, 2, 0], [0, 1.5, 0, 0], [4, 0, 0, 0], [0, 0, 0, 1]]}),
            "v0/liver: the crop reaches beyond its source",
        ),
    ],
)  # fmt: skip
def test_attributes_that_do_not_fit(store, change, problem):
    rewrite(study_path(store, "a1"), change)
    accept(store, "a1")
    assert any(re.search(problem, line) for line in check_store(store)), check_store(store)


def test_records_and_files_that_miss_each_other(store):
    study_path(store, "a1").unlink()
    (store / "studies" / "b2.json").unlink()
    problems = check_store(store)
    assert "study a1: its record says done, but it has no file" in problems
    assert "study b2: it has a file, but no record of being done" in problems


def test_a_stale_manifest(store):
    path = write_study(store, "c3", STUDY, {"v0": stored()})
    write_piece(path.parent, Piece("c3", "p1", "done", "digest", file_sha256=file_sha256(path)))
    assert check_store(store) == [
        "manifest.parquet is not what the studies' files give: rebuild it by running `ctvlp preprocess` again"
    ]


def test_a_missing_manifest(store):
    (store / "manifest.parquet").unlink()
    assert any("manifest.parquet is missing" in line for line in check_store(store))


def test_no_store(tmp_path):
    with pytest.raises(InputError, match="no store there"):
        check_store(tmp_path / "none")
