"""A store cropped anew for a changed vocabulary is the store that preprocessing anew would make, and loads no network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from phantoms import body, canonical_affine, organ_labels, write_nifti

from ctvlp.cli import main
from preprocess.check import check_store
from preprocess.errors import InputError
from preprocess.forecast import plan_archive
from preprocess.pieces import read_pieces
from preprocess.pipeline import preprocess_archive
from preprocess.recrop_store import RecropSummary, recrop_store
from preprocess.segmenters import stored_segmenters
from preprocess.store import Store, study_path
from preprocess.structures import structure_names

NAMES = ("a", "b", "c")
VERTEBRA = structure_names("v2")[31]
ANATOMIES = f"""
schema: 1
name: with_spine
extends: ct15
anatomies:
  spine:
    parts: {{spine: [{VERTEBRA}]}}
    spacing_mm: [4.0, 4.0, 4.0]
    words: [spine, vertebra]
  liver: {{margin_mm: 9.0}}
"""
FINDINGS = """
schema: 1
name: mine
extends: ct54
anatomies: anatomies.yaml
findings:
  spine.fracture: {name: vertebral fracture, needs: part, synonyms: [fracture]}
"""


@pytest.fixture
def options(tmp_path):
    """An archive of three studies and a broken one, and a vocabulary with one more anatomy and another margin."""
    for seed, name in enumerate(NAMES):
        write_nifti(tmp_path / "archive" / f"{name}.nii.gz", body(seed=seed), canonical_affine())
        write_nifti(tmp_path / "masks" / f"{name}.nii.gz", organ_labels(), canonical_affine())
    (tmp_path / "archive" / "broken.nii").write_bytes(b"broken")
    (tmp_path / "key").write_text("a key of some length")
    (tmp_path / "anatomies.yaml").write_text(ANATOMIES)
    (tmp_path / "mine.yaml").write_text(FINDINGS)
    return {
        "archive": tmp_path / "archive", "masks": tmp_path / "masks", "out": tmp_path / "store", "study_id": "keep",
        "key_file": tmp_path / "key", "workers": 0,
    }  # fmt: skip


@pytest.fixture
def store(options):
    preprocess_archive(**options)
    return options["out"]


@pytest.fixture
def mine(tmp_path):
    return tmp_path / "mine.yaml"


def content(store):
    """What a store tells of its studies, save how long they took and the records of those that failed."""
    files = {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path.suffix != ".json"
    }
    pieces = [vars(piece) | {"seconds": None} for piece in read_pieces(store / "studies") if piece.status == "done"]
    return files, pieces


def study_files(store):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (store / "studies").iterdir()}


def words_of(options, *names):
    return [f"{name}={value}" for name, value in options.items() if name != "workers"] + list(names)


def test_the_command_gives_the_store_of_preprocessing_anew_and_a_second_one_does_nothing(
    options, tmp_path, mine, capsys
):
    (tmp_path / "reports.csv").write_text(
        "study_id,report_text\na,There is a vertebral fracture. The liver is normal.\n"
    )
    options["reports"] = tmp_path / "reports.csv"
    assert main(["preprocess", *words_of(options, "workers=0")]) == 1
    del options["workers"]
    capsys.readouterr()
    assert main(["recrop", *words_of(options, f"vocabulary={mine}", "workers=1")]) == 0
    assert capsys.readouterr().out == (
        "3 studies in the store, 1 of the archive are not\n"
        "3 done, 0 had these crops, 0 failed and keep those they have\n"
        "0 networks loaded\n"
    )
    counts = json.loads((options["out"] / "run.json").read_text())["counts"]
    assert (counts["networks_loaded"], counts["children"], counts["not_recropped"]) == (
        0, {"started": 1, "restarted": 0}, [],
    )  # fmt: skip
    assert check_store(options["out"]) == []
    anew = {**options, "out": tmp_path / "anew", "vocabulary": mine, "workers": 0}
    preprocess_archive(**anew)
    assert content(options["out"]) == content(tmp_path / "anew")
    with Store(options["out"]).open_study("b") as study:
        assert study.crop("v0", "spine").extent == "truncated"
    before = study_files(options["out"])
    assert main(["recrop", *words_of(options, f"vocabulary={mine}", "workers=1")]) == 0
    assert "0 done, 3 had these crops" in capsys.readouterr().out
    assert study_files(options["out"]) == before
    summary = preprocess_archive(**{**anew, "out": options["out"]})
    assert (summary.done, summary.skipped, summary.failed) == (0, 3, 1)


def change(options):
    image = options["archive"] / "b.nii.gz"
    times = image.stat()
    write_nifti(image, body(seed=9), canonical_affine())
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    return {}


def touch(options):
    os.utime(options["masks"] / "b.nii.gz", ns=(5, 5))
    return {}


def remove(options):
    (options["archive"] / "b.nii.gz").unlink()
    return {}


def damage(options):
    path = study_path(options["out"], "b")
    path.write_bytes(path.read_bytes()[:300])
    return {}


def decide(options):
    table = options["out"].with_name("decisions.csv")
    table.write_text("study,series,action,reason\nb,,accept,seen\n")
    return {"decisions": table}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change, "its files have changed, preprocess it anew"),
        (touch, "were added to or touched"),
        (remove, "study b is not in the archive"),
        (damage, "cannot be opened"),
        (decide, "or it was stored with other series=, gaps= or decisions="),
    ],
)
def test_a_study_that_cannot_be_recropped_keeps_what_it_has_and_is_named(options, store, mine, spoil, message, caplog):
    more = spoil(options)
    before = study_files(store)
    summary = recrop_store(**{**options, **more}, vocabulary=mine)
    assert summary == RecropSummary(3, 2, 0, 1, {"UNREADABLE": 1}, 1, 0)
    after = study_files(store)
    unchanged = {name for name in before if before[name] == after[name]}
    assert unchanged == {"b.json", "b.zarr.zip", "broken.json"}
    (row,) = json.loads((store / "run.json").read_text())["counts"]["not_recropped"]
    assert (row["study"], row["reason"]) == ("b", "UNREADABLE")
    assert message in row["message"]
    assert "study b keeps its crops: UNREADABLE" in caplog.text
    assert recrop_store(**{**options, **more}, vocabulary=mine) == RecropSummary(
        3, 0, 2, 1, {"UNREADABLE": 1}, 1, 0
    )  # fmt: skip


def test_options_that_choose_other_volumes_leave_everything_as_it_is(options, store, mine):
    before = study_files(store)
    assert recrop_store(**options, vocabulary=mine, series="all").reasons == {"UNREADABLE": 3}
    assert study_files(store) == before
    assert check_store(store) == []


def test_a_study_that_needs_too_much_memory_keeps_what_it_has(options, store, mine):
    for name in ("b", "c"):
        study_path(store, name).unlink()
    before = study_files(store)
    summary = recrop_store(**{**options, "workers": 1}, vocabulary=mine, memory_limit=0.05)
    assert (summary.stored, summary.done, summary.reasons) == (1, 0, {"OUT_OF_MEMORY": 1})
    assert study_files(store) == before


def test_other_names_are_written_too(options, store, tmp_path):
    (tmp_path / "split.csv").write_text("study_id,split\na,val\nb,test\nc,train\n")
    split = {"split": tmp_path / "split.csv", "keep": ["volume"]}
    assert recrop_store(**options, **split).done == 3
    preprocess_archive(**{**options, "out": tmp_path / "anew"}, **split)
    assert content(store) == content(tmp_path / "anew")


def test_shards_recrop_their_own_studies(options, store, mine, tmp_path):
    parts = [recrop_store(**options, vocabulary=mine, shard=shard) for shard in ("1/2", "2/2")]
    assert sorted(part.done for part in parts) == [1, 2]
    assert all(part.stored == part.done for part in parts)
    assert set(Store(store).manifest()["anatomy"]).isdisjoint({"spine"})
    last = recrop_store(**options, vocabulary=mine)
    assert (last.done, last.skipped) == (0, 3)
    preprocess_archive(**{**options, "out": tmp_path / "anew"}, vocabulary=mine)
    assert content(store) == content(tmp_path / "anew")


def test_a_store_at_a_url_is_recropped_where_it_lies(options, mine):
    options["out"] = "memory://recrop/store"
    preprocess_archive(**options)
    assert recrop_store(**options, vocabulary=mine).done == 3
    assert "spine" in set(Store(options["out"]).manifest()["anatomy"])
    assert preprocess_archive(**options, vocabulary=mine).skipped == 3


def no_key(options):
    return {"key_file": options["out"].with_name("lost")}


def other_key(options):
    options["key_file"].write_text("another key of some length")
    return {"study_id": "pseudonym"}


def other_archive(options):
    write_nifti(options["out"].with_name("other") / "z.nii.gz", body(), canonical_affine())
    return {"archive": options["out"].with_name("other"), "masks": options["masks"] / "a.nii.gz"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_key, "lost is not there: give the store's own by key_file="),
        (other_key, "has none of the 3 studies of store"),
        (other_archive, "has none of the 3 studies of store"),
        (lambda options: {"masks": None}, "masks are needed: those of store .* came from files"),
        (lambda options: {"out": options["archive"]}, "no store there"),
        (lambda options: {"vocabulary": "none"}, "none"),
        (lambda options: {"workers": -1}, "workers=-1"),
    ],
    ids=["no key", "another key", "another archive", "no masks", "no store", "no vocabulary", "workers"],
)
def test_what_cannot_be_used_is_refused_and_nothing_changed(options, store, change, message):
    changed = {**options, **change(options)}
    before = content(store)
    with pytest.raises(InputError, match=message):
        recrop_store(**changed)
    assert content(store) == before


def test_masks_of_networks_and_of_files_are_cropped_without_the_networks(options, mine, tmp_path):
    from nnunet_folder import build_random_networks

    for path in options["archive"].iterdir():
        path.unlink()
    for seed, name in enumerate(NAMES):
        write_nifti(options["archive"] / f"{name}.nii.gz", body((16, 40, 44), seed), canonical_affine())
        write_nifti(options["masks"] / f"{name}.nii.gz", organ_labels((16, 40, 44)), canonical_affine())
    weights = build_random_networks(tmp_path / "weights", fast=True)
    network = {**options, "masks": None, "segmenter": "totalsegmentator", "weights": weights}
    plan_archive(**network, trials=0)
    preprocess_archive(**network, shard="1/2")
    plan_archive(**options, mix_segmenters=True, trials=0)
    preprocess_archive(**options, mix_segmenters=True, shard="2/2")
    segmenters = [segmenter["name"] for segmenter in stored_segmenters(options["out"])]
    assert set(segmenters) == {"files", "totalsegmentator total fast"}
    labels = {name: read_labels(options["out"], name) for name in NAMES}
    away = shutil.move(weights, tmp_path / "away")
    summary = recrop_store(**{**options, "workers": 1}, vocabulary=mine)
    assert (summary.done, summary.failed, summary.networks_loaded) == (3, 0, 0)
    assert all((read_labels(options["out"], name) == labels[name]).all() for name in NAMES)
    shutil.move(away, weights)
    again = {**network, "vocabulary": mine, "mix_segmenters": True}
    plan_archive(**again, trials=0)
    summary = preprocess_archive(**again, shard="1/2")
    assert (summary.done, summary.skipped) == (0, len(segmenters) - segmenters.count("files"))


def read_labels(store, name):
    with Store(store).open_study(name) as study:
        return study.labels("v0").labels


@pytest.mark.slow
def test_runs_killed_one_after_the_other_at_every_instant_of_writing_change_nothing(options, store, mine, tmp_path):
    killing = Path(__file__).with_name("killing.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, killing, "recrops", tmp_path], env=environment, check=False, stdout=subprocess.PIPE
    )
    assert (ended.returncode, int(ended.stdout) > 5) == (0, True)
    preprocess_archive(**{**options, "out": tmp_path / "anew"}, vocabulary=mine)
    assert content(store) == content(tmp_path / "anew")
