"""An earlier file is kept where the source changed, and only there, until it is collected."""

import os

import numpy as np
import pytest
from phantoms import body, canonical_affine, organ_labels, write_nifti

from preprocess import generations
from preprocess.check import check_store
from preprocess.generations import Garbage, collect_garbage, keep_generation
from preprocess.pipeline import preprocess_archive
from preprocess.publish import publish
from preprocess.store import study_path


class Archive:
    """One study, and its store."""

    def __init__(self, root):
        self.root, self.store = root, root / "store"
        self.image = root / "archive" / "a.nii.gz"
        write_nifti(root / "masks" / "a.nii.gz", organ_labels(), canonical_affine())

    def scan(self, seed):
        """Writes another image, and makes the store; the study's bytes."""
        write_nifti(self.image, body(seed=seed), canonical_affine())
        os.utime(self.image, ns=(seed, seed))
        return self.run()

    def run(self, **options):
        preprocess_archive(
            self.root / "archive", self.store, masks=self.root / "masks", study_id="keep", workers=0, **options
        )
        return self.files().get("a.zarr.zip")

    def files(self):
        return {path.name: path.read_bytes() for path in (self.store / "studies").iterdir() if path.suffix != ".json"}


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path)


def test_a_changed_source_keeps_the_earlier_files_up_to_four_a_study(archive):
    scans = [archive.scan(seed) for seed in range(4)]
    assert len(set(scans)) == 4
    assert archive.files() == {
        "a.zarr.zip": scans[3], "a.zarr.zip.old": scans[2], "a.zarr.zip.older": scans[1]
    }  # fmt: skip
    assert check_store(archive.store) == []
    assert collect_garbage(archive.store) == Garbage(2, len(scans[1]) + len(scans[2]))
    assert archive.files() == {"a.zarr.zip": scans[3]}


def test_a_file_system_without_links_gets_a_copy(archive, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(generations.os, "link", refuse)
    first, second = archive.scan(1), archive.scan(2)
    assert archive.files() == {"a.zarr.zip": second, "a.zarr.zip.old": first}


def test_the_same_source_keeps_nothing(archive):
    before = archive.scan(1)
    os.utime(archive.image, ns=(9, 9))
    assert archive.run() == before
    archive.run(keep=["volume"])
    assert set(archive.files()) == {"a.zarr.zip"}


def test_a_damaged_file_is_not_worth_keeping(archive):
    archive.scan(1)
    path = study_path(archive.store, "a")
    path.write_bytes(path.read_bytes()[:-1])
    second = archive.scan(2)
    assert archive.files() == {"a.zarr.zip": second}


def test_a_source_that_goes_bad_keeps_the_earlier_file_until_it_is_good_again(archive):
    before = archive.scan(1)
    write_nifti(archive.image, np.zeros((12, 40, 36), np.int16), canonical_affine())
    assert archive.run() is None
    assert archive.files() == {"a.zarr.zip.old": before}
    assert archive.scan(1) == before
    assert archive.files() == {"a.zarr.zip": before}


def test_what_was_kept_before_a_kill_is_not_kept_twice(archive):
    zero, one = archive.scan(0), archive.scan(1)
    for _ in range(2):  # the file is kept; the run is killed before the new one is written, and goes on
        keep_generation(archive.store, "a", "another source")
    assert archive.files() == {"a.zarr.zip": one, "a.zarr.zip.old": one, "a.zarr.zip.older": zero}
    two = archive.scan(2)
    assert archive.files() == {"a.zarr.zip": two, "a.zarr.zip.old": one, "a.zarr.zip.older": zero}


def test_collecting_removes_what_killed_writers_left(archive):
    archive.scan(1)
    host = os.uname().nodename
    half = archive.store / "studies" / f".a.zarr.zip.{host}-999999-x.tmp"
    publish(archive.store / "studies" / "b.json", b"{}")
    half.write_bytes(b"half")
    assert collect_garbage(archive.store).files == 1
    assert not half.exists()
