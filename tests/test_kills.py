"""Whatever is killed in between, the next run gives the store of a run that nobody disturbed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from phantoms import body, canonical_affine, organ_labels, write_nifti

from preprocess.check import check_store
from preprocess.pieces import read_pieces
from preprocess.pipeline import preprocess_archive
from preprocess.store import Store, study_path

KILLING = Path(__file__).with_name("killing.py")
NAMES = ("a", "b", "c", "d")


def make_archive(root):
    for number, name in enumerate(NAMES):
        write_nifti(root / "archive" / f"{name}.nii.gz", body(seed=number), canonical_affine())
        write_nifti(root / "masks" / f"{name}.nii.gz", organ_labels(), canonical_affine())
    (root / "archive" / "x.nii").write_bytes(b"broken")


def run(root, out="store", **options):
    options = {"masks": root / "masks", "study_id": "keep", "key_file": root / "store.key", "workers": 0} | options
    return preprocess_archive(root / "archive", root / out, **options)


def run_and_kill(root, what):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(KILLING), what, str(root)]
    return subprocess.run(command, env=environment, check=False, stdout=subprocess.PIPE)


def everything(store):
    """All that a run leaves, save what tells how long it took."""
    files = {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path.suffix != ".json"
    }
    pieces = [{**vars(piece), "seconds": sorted(piece.seconds)} for piece in read_pieces(store / "studies")]
    return files, pieces


@pytest.fixture
def archive(tmp_path):
    make_archive(tmp_path)
    (tmp_path / "store.key").write_text("k" * 32)
    return tmp_path


def test_children_killed_at_every_instant_of_writing_change_nothing(archive):
    for flush, name in enumerate(NAMES[:3], start=1):
        (archive / f"{name}.kill").write_text(f"child {flush}")
    assert run_and_kill(archive, "children").returncode == 0
    assert list(archive.glob("*.kill")) == []
    run(archive, "undisturbed")
    assert everything(archive / "store") == everything(archive / "undisturbed")


def test_a_run_killed_while_its_child_works_is_finished_by_the_next(archive):
    (archive / "b.kill").write_text("run 2")
    assert run_and_kill(archive, "children").returncode == -signal.SIGKILL
    assert not (archive / "store" / "manifest.parquet").exists()
    run(archive)
    run(archive, "undisturbed")
    assert everything(archive / "store") == everything(archive / "undisturbed")


def test_runs_killed_one_after_the_other_at_every_instant_of_writing_change_nothing(archive):
    ended = run_and_kill(archive, "runs")
    assert (ended.returncode, int(ended.stdout) > 10) == (0, True)
    run(archive, "undisturbed")
    assert everything(archive / "store") == everything(archive / "undisturbed")


def test_a_crop_that_rots_on_disk_is_found_and_made_again(archive):
    run(archive)
    before, path = everything(archive / "store"), study_path(archive / "store", "b")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (problem, *_) = check_store(archive / "store")
    assert problem.startswith("study b: b.zarr.zip is not the file that was written")
    summary = run(archive)
    assert (summary.done, summary.skipped) == (1, len(NAMES) - 1)
    assert everything(archive / "store") == before
    assert check_store(archive / "store") == []
    assert [row["reason"] for row in Store(archive / "store").failures()] == ["UNREADABLE"]
