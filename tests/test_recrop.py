"""Crops made anew from a stored label map and the source equal those that preprocessing anew would make."""

import dataclasses

import numpy as np
import pytest
from phantoms import body, canonical_affine, oblique_affine, organ_labels, write_nifti

from preprocess.errors import StoreError, StudyError
from preprocess.networks import networks_loaded
from preprocess.pieces import read_piece
from preprocess.recrop import recrop_study
from preprocess.segmenters import stored_segmenters
from preprocess.series import SeriesSource
from preprocess.store import Store, study_path
from preprocess.study import Settings, StudyTask, process_study
from preprocess.study_source import StudySource
from preprocess.vocabulary_files import load_vocabulary


def anatomies(*names, dilate_mm=None):
    """Some of the 15 anatomies; with another region where `dilate_mm` is given."""
    found = {name: load_vocabulary("ct54").anatomies[name] for name in names}
    if dilate_mm is not None:
        for name, anatomy in found.items():
            region = anatomy.region.model_copy(update={"dilate_mm": dilate_mm})
            found[name] = anatomy.model_copy(update={"region": region})
    return found


@pytest.fixture
def study(tmp_path):
    """A study of two series, both kept, with its masks."""
    files = [
        write_nifti(tmp_path / f"{name}.nii.gz", body(seed=seed), affine)
        for seed, (name, affine) in enumerate([("straight", canonical_affine()), ("oblique", oblique_affine())])
    ]
    masks = write_nifti(tmp_path / "masks.nii.gz", organ_labels(), canonical_affine())
    series = tuple(SeriesSource(path.name, "nifti", (path,)) for path in files)
    source = StudySource(root=tmp_path, key="key", keys=("key",), patient="p", series=series)
    ids = {one.name: f"id{number}" for number, one in enumerate(series)}
    task = StudyTask(source, "s1", "p1", "train", 0, series_ids=ids, masks=masks, identifiers={}, digest="first")
    settings = Settings(tmp_path / "store", anatomies("liver", "spleen"), series="all")
    assert process_study(task, settings).status == "done"
    assert len(Store(settings.store).open_study("s1").volumes) == 2
    return task, settings


@pytest.mark.parametrize(
    ("names", "dilate_mm", "keep"),
    [
        (("liver", "spleen"), None, ()),
        (("liver", "spleen", "kidney"), None, ()),
        (("spleen",), 20.0, ()),
        (("liver",), None, ("volume",)),
    ],
    ids=["the same", "one more", "another region", "with the volume"],
)
def test_recropping_equals_preprocessing_anew(study, tmp_path, monkeypatch, names, dilate_mm, keep):
    task, settings = study
    changed = dataclasses.replace(settings, anatomies=anatomies(*names, dilate_mm=dilate_mm), keep=keep)
    loaded = networks_loaded()
    monkeypatch.setattr("preprocess.study.read_masks", None)
    piece = recrop_study(dataclasses.replace(task, digest="second"), changed)
    monkeypatch.undo()
    anew = dataclasses.replace(changed, store=tmp_path / "anew")
    expected = process_study(dataclasses.replace(task, digest="second"), anew)
    ours, theirs = (study_path(place.store, "s1").read_bytes() for place in (changed, anew))
    assert ours == theirs
    assert dataclasses.replace(piece, seconds={}) == dataclasses.replace(expected, seconds={})
    assert read_piece(settings.store / "studies", "s1") == piece
    assert networks_loaded() == loaded


def change_source(task, settings):
    write_nifti(task.source.series[0].files[0], body(seed=7), canonical_affine())
    return task


def lose_a_series(task, settings):
    source = dataclasses.replace(task.source, series=task.source.series[:1])
    return dataclasses.replace(task, source=source)


def never_done(task, settings):
    return dataclasses.replace(task, study_id="s2")


def damage(task, settings):
    path = study_path(settings.store, "s1")
    path.write_bytes(path.read_bytes()[:200])
    return task


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (change_source, StudyError, "its files have changed"),
        (lose_a_series, StudyError, r"the series of its v\d is not in the archive"),
        (never_done, StudyError, "study s2 is not in the store"),
        (damage, StoreError, "study s1: "),
    ],
)
def test_what_cannot_be_recropped_is_left_as_it_is(study, change, error, message):
    task, settings = study
    task = change(task, settings)
    path = study_path(settings.store, "s1")
    before, record = path.read_bytes(), read_piece(settings.store / "studies", "s1")
    with pytest.raises(error, match=message):
        recrop_study(task, settings)
    assert path.read_bytes() == before
    assert read_piece(settings.store / "studies", "s1") == record


def test_segmenters_are_read_from_the_store(study):
    task, settings = study
    assert stored_segmenters(settings.store) == [dict(settings.segmenter)] * 2
    other = dataclasses.replace(settings, segmenter={"name": "other", "version": "1", "weights_digest": "a"})
    process_study(dataclasses.replace(task, study_id="s2"), other)
    assert [found["name"] for found in stored_segmenters(settings.store)] == ["files", "files", "other", "other"]


def test_labels_stay_as_they_are(study):
    task, settings = study
    before = Store(settings.store).open_study("s1").labels("v1")
    recrop_study(task, dataclasses.replace(settings, anatomies=anatomies("spleen")))
    after = Store(settings.store).open_study("s1").labels("v1")
    assert np.array_equal(before.labels, after.labels)
    assert (before.names, before.affine.tolist()) == (after.names, after.affine.tolist())
