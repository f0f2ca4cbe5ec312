import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from phantoms import body, canonical_affine, dicom_series, save_series, write_nifti
from pydicom.fileset import FileSet

from preprocess.archive import find_studies, index_archive
from preprocess.errors import InputError
from preprocess.index import ArchiveIndex
from preprocess.index_files import FileFacts, read_many
from preprocess.index_refresh import BATCH
from preprocess.index_trees import DiskTree, Entry, build_tree

OLD = 1_700_000_000 * 10**9
ON_DISC = {"StudyDate": "20240102", "StudyTime": "120000", "StudyID": "1", "SeriesNumber": 1, "AccessionNumber": ""}


def save(folder, number=1, **tags):
    names = {"StudyInstanceUID": f"2.25.{number}", "SeriesInstanceUID": f"2.25.{number}.1", "PatientID": f"P{number}"}
    return save_series(folder, dicom_series(body((4, 12, 12)), canonical_affine(), **{**names, **tags}))


def settle(root):
    """Gives every file and folder an old time, so that folders count as settled."""
    for folder, _, files in os.walk(root, topdown=False):
        for name in files:
            os.utime(Path(folder) / name, ns=(OLD, OLD))
        os.utime(folder, ns=(OLD, OLD))


def small_archive(root):
    """Two DICOM studies in three folders, a NIfTI, clutter."""
    save(root / "a" / "one")
    save(root / "a" / "two", SeriesInstanceUID="2.25.1.2")
    save(root / "b", 2, StudyInstanceUID="", AccessionNumber="A2")
    write_nifti(root / "c" / "d.nii", body((4, 12, 12)), canonical_affine())
    (root / "notes.txt").write_text("clutter")
    settle(root)
    return root


class CountingTree(DiskTree):
    """Remembers which folders were listed."""

    listed: list[str]

    def entries(self, folder):
        self.listed.append(folder)
        return super().entries(folder)


def refresh(index, root, **options):
    """Brings an index up to date; which folders were listed, and which files read."""
    tree, read = CountingTree(root), []
    tree.listed = []

    def reader(paths):
        read.extend(paths)
        return read_many(root, paths)

    index.refresh(tree, read=reader, **options)
    return sorted(tree.listed), sorted(read)


def studies(index):
    return [index.study(key) for key in list(index.study_keys())]


def fresh(root):
    with ArchiveIndex() as index:
        index.refresh(DiskTree(root))
        return studies(index), list(index.summaries()), index.counts()


def content(index):
    return studies(index), list(index.summaries()), index.counts()


def test_what_the_index_tells_of_studies(tmp_path):
    small_archive(tmp_path)
    with ArchiveIndex() as index:
        index.refresh(DiskTree(tmp_path))
        assert list(index.study_keys()) == ["2.25.1", "A2", "c/d"]
        first, second, third = index.summaries()
        assert (first.patient, first.series, first.files, first.keys) == ("P1", 2, 8, ("2.25.1", "a/one"))
        assert first.first == tmp_path / "a" / "one" / "I0000.dcm"
        assert first.bytes == sum(path.stat().st_size for path in (tmp_path / "a").rglob("*.dcm"))
        assert (second.keys, second.patient) == (("A2", "b"), "P2")
        assert (third.key, third.patient, third.files) == ("c/d", None, 1)
        assert [study.digest for study in studies(index)] == [first.digest, second.digest, third.digest]
        assert (index.counts().studies, index.counts().files, index.counts().other_files) == (3, 13, 1)
        with pytest.raises(KeyError):
            index.study("nobody")


def test_an_index_on_disk_gives_what_one_in_memory_gives_and_is_private(tmp_path):
    root = small_archive(tmp_path / "archive")
    place = tmp_path / "x.index.sqlite"
    before = os.umask(0)
    try:
        with ArchiveIndex(place) as index:
            refresh(index, root)
            assert content(index) == fresh(root)
            assert (tmp_path / "x.index.sqlite").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    with ArchiveIndex(place, read_only=True) as index:
        assert content(index) == fresh(root)
        assert index.complete
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("x")] == ["x.index.sqlite"]


def test_unchanged_folders_are_not_listed_and_nothing_is_read(tmp_path):
    root = small_archive(tmp_path / "archive")
    with ArchiveIndex(tmp_path / "i") as index:
        listed, read = refresh(index, root)
        assert listed == ["", "a", "a/one", "a/two", "b", "c"]
        assert len(read) == 14
        before = content(index)
    with ArchiveIndex(tmp_path / "i") as index:
        assert refresh(index, root) == ([], [])
        assert content(index) == before
        assert refresh(index, root, mode="files") == (["", "a", "a/one", "a/two", "b", "c"], [])


def add(root):
    save(root / "b" / "later", 3)


def add_slice(root):
    (root / "b" / "I0009.dcm").write_bytes((root / "b" / "I0001.dcm").read_bytes())


def remove_file(root):
    (root / "a" / "one" / "I0002.dcm").unlink()


def remove_folder(root):
    for path in (root / "a" / "two").iterdir():
        path.unlink()
    (root / "a" / "two").rmdir()


def remove_tree(root):
    remove_folder(root)
    for path in (root / "a" / "one").iterdir():
        path.unlink()
    (root / "a" / "one").rmdir()
    (root / "a").rmdir()


def rename_folder(root):
    (root / "a").rename(root / "z")


def replace_file(root):
    new = root / "new"
    new.write_bytes((root / "a" / "one" / "I0002.dcm").read_bytes())
    new.rename(root / "a" / "one" / "I0002.dcm")


def file_becomes_folder(root):
    (root / "notes.txt").unlink()
    save(root / "notes.txt", 4)


@pytest.mark.parametrize(
    ("change", "listed", "read"),
    [
        (add, ["b", "b/later"], [f"b/later/I000{n}.dcm" for n in range(4)]),
        (add_slice, ["b"], ["b/I0009.dcm"]),
        (remove_file, ["a/one"], []),
        (remove_folder, ["a"], []),
        (remove_tree, [""], []),
        (rename_folder, ["", "z", "z/one", "z/two"],
         [f"z/{name}/I000{n}.dcm" for name in ("one", "two") for n in range(4)]),
        (replace_file, ["", "a/one"], ["a/one/I0002.dcm"]),
        (file_becomes_folder, ["", "notes.txt"], [f"notes.txt/I000{n}.dcm" for n in range(4)]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)  # fmt: skip
def test_a_change_is_found_and_nothing_else_is_looked_into(tmp_path, change, listed, read):
    root = small_archive(tmp_path / "archive")
    with ArchiveIndex(tmp_path / "i") as index:
        refresh(index, root)
        change(root)
        assert refresh(index, root) == (listed, read)
        assert content(index) == fresh(root)


def test_a_file_overwritten_in_place_is_found_by_looking_at_files(tmp_path):
    root = small_archive(tmp_path / "archive")
    path = root / "b" / "I0001.dcm"
    with ArchiveIndex(tmp_path / "i") as index:
        refresh(index, root)
        path.write_bytes((root / "a" / "one" / "I0001.dcm").read_bytes())
        assert refresh(index, root) == ([], [])
        assert refresh(index, root, mode="files")[1] == ["b/I0001.dcm"]
        assert content(index) == fresh(root)
        assert index.study("2.25.1").defect is None
        assert len(index.study("A2").files) == 3


def test_what_comes_back_is_as_it_was(tmp_path):
    root = small_archive(tmp_path / "archive")
    with ArchiveIndex() as index:
        refresh(index, root)
        (root / "a" / "one").rename(tmp_path / "away")
        refresh(index, root)
        assert content(index) == fresh(root)
        (tmp_path / "away").rename(root / "a" / "one")
        refresh(index, root)
        assert content(index) == fresh(root)


def test_folders_that_changed_just_now_are_listed_again(tmp_path):
    root = small_archive(tmp_path / "archive")
    os.utime(root / "b")
    (root / "c" / "d.nii").touch()
    with ArchiveIndex() as index:
        refresh(index, root)
        assert refresh(index, root)[0] == ["b", "c"]


def test_order_batches_and_processes_have_no_effect(tmp_path, monkeypatch):
    root = small_archive(tmp_path / "archive")
    expected = fresh(root)
    for number, batch in enumerate((1, 3, 5, BATCH)):
        with ArchiveIndex() as index:
            refresh(index, root, batch=batch)
            assert content(index) == expected, batch
        entries = DiskTree.entries
        shuffle = random.Random(number)

        def shuffled(self, folder, entries=entries, shuffle=shuffle):
            found = list(entries(self, folder))
            shuffle.shuffle(found)
            return iter(found)

        with monkeypatch.context() as patch, ArchiveIndex() as index:
            patch.setattr(DiskTree, "entries", shuffled)
            refresh(index, root, batch=batch)
            assert content(index) == expected, batch
    pools = []

    class Pool(ProcessPoolExecutor):
        def __init__(self, *arguments, **options):
            pools.append(arguments)
            super().__init__(*arguments, **options)

    monkeypatch.setattr("preprocess.index_readers.ProcessPoolExecutor", Pool)
    with ArchiveIndex() as index:
        index.refresh(DiskTree(root), workers=2, batch=13)
        assert content(index) == expected
    assert pools == [(2,)]


KILLED = """
import os, sys
from pathlib import Path
from preprocess.index import ArchiveIndex
from preprocess.index_files import read_many
from preprocess.index_trees import DiskTree
root, place, files = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
seen = 0
def read(paths):
    global seen
    seen += len(paths)
    if seen > files:
        os.kill(os.getpid(), 9)
    return read_many(root, paths)
ArchiveIndex(place).refresh(DiskTree(root), mode=sys.argv[4], read=read, batch=2)
"""


def killed_refresh(root, place, files, mode="folders"):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(root), str(place), str(files), mode]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL


def test_a_killed_refresh_goes_on_where_it_stopped(tmp_path):
    root, place = small_archive(tmp_path / "archive"), tmp_path / "i"
    killed_refresh(root, place, 9)
    with ArchiveIndex(place, read_only=True) as index:
        assert not index.complete
    with ArchiveIndex(place) as index:
        read = refresh(index, root)[1]
        assert len(read) <= 14 - 9 + 2 * 2  # the last batch, and the one that waited behind it
        assert content(index) == fresh(root)
        assert refresh(index, root) == ([], [])


def test_a_refresh_of_changes_that_is_killed_loses_none(tmp_path):
    root, place = small_archive(tmp_path / "archive"), tmp_path / "i"
    with ArchiveIndex(place) as index:
        refresh(index, root)
    for path in (*(root / "b").iterdir(), *(root / "a" / "one").iterdir()):
        os.utime(path, ns=(OLD + 1, OLD + 1))
    killed_refresh(root, place, 2, "files")
    with ArchiveIndex(place) as index:
        refresh(index, root)  # by folders alone: what the killed one began to look at has to be listed again
        assert index.study("A2") == next(study for study in fresh(root)[0] if study.key == "A2")
        refresh(index, root, mode="files")
        assert content(index) == fresh(root)


def test_what_cannot_be_read_is_counted_kept_and_tried_again(tmp_path):
    root = small_archive(tmp_path / "archive")
    with ArchiveIndex() as index:
        refresh(index, root)

        class Failing(DiskTree):
            def entries(self, folder):
                if folder == "b":
                    raise PermissionError(13, "Permission denied")
                return super().entries(folder)

        add_slice(root)
        index.refresh(Failing(root))
        assert index.counts().unreadable == 1
        assert len(index.study("A2").files) == 4
        assert refresh(index, root) == (["b"], ["b/I0009.dcm"])
        assert index.counts().unreadable == 0
        assert content(index) == fresh(root)


def test_a_file_that_cannot_be_opened_is_tried_again(tmp_path, monkeypatch):
    root = small_archive(tmp_path / "archive")

    def refuse(path):
        raise OSError(5, "Input/output error")

    with ArchiveIndex() as index:
        with monkeypatch.context() as patch:
            patch.setattr("preprocess.index_files.read_header", refuse)
            refresh(index, root)
            assert list(index.study_keys()) == ["c/d"]
            assert index.counts().unreadable == 13
        assert len(refresh(index, root)[1]) == 13
        assert content(index) == fresh(root)


def test_an_archive_that_is_empty_all_at_once_is_not_believed(tmp_path):
    root = small_archive(tmp_path / "archive")
    with ArchiveIndex() as index:
        refresh(index, root)
        before = content(index)
        root.rename(tmp_path / "elsewhere")
        root.mkdir()
        with pytest.raises(InputError, match="is empty, but its index knows files of it: is it mounted"):
            index.refresh(DiskTree(root))
        root.rmdir()
        with pytest.raises(InputError, match="cannot be read: No such file"):
            index.refresh(DiskTree(root))
        (tmp_path / "elsewhere").rename(root)
        assert content(index) == before
        assert refresh(index, root) == ([], [])


def test_an_archive_that_moved_is_listed_but_not_read_again(tmp_path):
    root = small_archive(tmp_path / "archive")
    with ArchiveIndex() as index:
        refresh(index, root)
        moved = root.rename(tmp_path / "moved")
        listed, read = refresh(index, moved)
        assert len(listed) == 6
        assert read == []
        assert content(index) == fresh(moved)


def test_what_is_left_out_can_change(tmp_path):
    root = small_archive(tmp_path / "archive")
    with ArchiveIndex() as index:
        index.refresh(DiskTree(root, [root / "a"]))
        assert list(index.study_keys()) == ["A2", "c/d"]
        index.refresh(DiskTree(root, [root / "b", root / "c" / "d.nii"]))
        assert list(index.study_keys()) == ["2.25.1"]


@pytest.mark.parametrize("damage", [b"no database" * 500, None], ids=["damaged", "another version"])
def test_an_index_that_does_not_fit_is_made_anew(tmp_path, damage):
    root, place = small_archive(tmp_path / "archive"), tmp_path / "i"
    with ArchiveIndex(place) as index:
        refresh(index, root)
    if damage is None:
        database = sqlite3.connect(place)
        database.execute("UPDATE meta SET value = '0-older' WHERE name = 'version'")
        database.commit()
        database.close()
    else:
        place.write_bytes(damage)
    with pytest.raises(InputError, match="damaged or of another version"):
        ArchiveIndex(place, read_only=True)
    with ArchiveIndex(place) as index:
        refresh(index, root)
        assert content(index) == fresh(root)


def test_an_index_that_is_in_use_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("preprocess.index_schema._BUSY_SECONDS", 0.1)
    root, place = small_archive(tmp_path / "archive"), tmp_path / "i"
    with ArchiveIndex(place) as index:
        refresh(index, root)
        other = sqlite3.connect(place)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match="cannot be written: database is locked"):
            index.refresh(DiskTree(root))
        other.close()


def test_names_that_are_no_utf8_are_kept(tmp_path):
    root = tmp_path / "archive"
    save(root / os.fsdecode(b"M\xfcller"), StudyInstanceUID="")
    with ArchiveIndex(tmp_path / "i") as index:
        refresh(index, root)
        assert list(index.study_keys()) == ["M\\xfcller"]
        assert all(path.is_file() for path in index.study("M\\xfcller").files)
        assert next(index.summaries()).first.is_file()
        assert refresh(index, root, mode="files")[1] == []


def test_dicom_and_image_under_one_key_are_a_defect(tmp_path):
    save(tmp_path / "p", StudyInstanceUID="")
    write_nifti(tmp_path / "p.nii.gz", body((4, 12, 12)), canonical_affine())
    (study,) = find_studies(tmp_path).studies
    assert study.key == "p"
    assert study.defect == "4 DICOM files and 1 image files carry the same key"


def test_an_image_with_its_values_in_another_file_follows_both(tmp_path):
    root = tmp_path / "archive"
    root.mkdir()
    header = (
        "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\nElementSpacing = 1 1 1\n"
        "Offset = 0 0 0\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nElementDataFile = x.raw\n"
    )
    (root / "x.mhd").write_text(header)
    (root / "x.raw").write_bytes(bytes(128))
    settle(root)
    with ArchiveIndex() as index:
        index.refresh(DiskTree(root))
        (before,) = studies(index)
        assert before.key == "x"
        assert [path.name for path in before.files] == ["x.mhd", "x.raw"]
        (root / "x.raw").write_bytes(bytes(range(128)))
        index.refresh(DiskTree(root), mode="files")
        assert index.study("x").digest != before.digest
        assert next(index.summaries()).digest == index.study("x").digest


def test_a_dicomdir_stands_for_the_files_that_it_names(tmp_path):
    files = FileSet()
    for path in [*save(tmp_path / "in" / "1", **ON_DISC), *save(tmp_path / "in" / "2", 2, **ON_DISC)]:
        files.add(path)
    files.write(tmp_path / "disc")
    save(tmp_path / "disc" / "OTHER", 3)
    with ArchiveIndex() as index:
        index_archive(index, tmp_path / "disc" / "DICOMDIR")
        assert list(index.study_keys()) == ["2.25.1", "2.25.2"]
        assert index.counts().files == 8
        named = index.study("2.25.1").files[0]
        named.unlink()
        index_archive(index, tmp_path / "disc" / "DICOMDIR")
        assert len(index.study("2.25.1").files) == 3
        index_archive(index, tmp_path / "disc")
        assert list(index.study_keys()) == ["2.25.1", "2.25.2", "2.25.3"]
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "DICOMDIR").write_bytes(b"nothing of this kind")
    with pytest.raises(InputError, match="cannot be read as DICOMDIR"):
        find_studies(tmp_path / "bad" / "DICOMDIR")


def test_a_disc_mounted_in_lower_case_is_understood(tmp_path):
    files = FileSet()
    for path in save(tmp_path / "in", **ON_DISC):
        files.add(path)
    files.write(tmp_path / "disc")
    for folder, folders, names in os.walk(tmp_path / "disc", topdown=False):
        for name in [*names, *folders]:
            (Path(folder) / name).rename(Path(folder) / name.lower())
    assert len(find_studies(tmp_path / "disc" / "dicomdir").studies[0].files) == 4


class SimulatedTree:
    """Studies of files that are not there."""

    root = Path("/simulated")
    place = "simulated"

    def __init__(self, folders, files):
        self.folders, self.files = folders, files

    def mtime_ns(self, folder):
        return OLD

    def entries(self, folder):
        if not folder:
            return (Entry(f"{n:05d}", True) for n in range(self.folders))
        return (Entry(f"{n:05d}.dcm", False, 500, OLD) for n in range(self.files))


def test_few_texts_are_kept_for_many_files(tmp_path):
    def read(paths):
        return [FileFacts("dicom", path.split("/")[0], json.dumps("x" * 500), path, bytes(24)) for path in paths]

    place = tmp_path / "i"
    with ArchiveIndex(place) as index, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ArchiveIndex, "_sum_up", lambda *_: None)
        index.refresh(SimulatedTree(40, 500), read=read)
    assert place.stat().st_size < 20_000 * 200


def test_missing_archives_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        build_tree(tmp_path / "nowhere")
