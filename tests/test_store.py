"""The store's files: their bytes, their schema, and what a reader does when they are damaged."""

import json
import multiprocessing
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from phantoms import body, canonical_affine, organ_labels

from preprocess.crops import build_crops, resample_volume
from preprocess.errors import InputError, StoreError
from preprocess.manifest import Preference, build_manifest, stored_preferences, write_manifest
from preprocess.store import Store, StoredVolume, study_path, write_study
from preprocess.study_file import ROOT_KEYS, VOLUME_KEYS
from preprocess.vocabulary_files import load_anatomies
from preprocess.volume import LabelMap, Volume

NAMES = {1: "spleen", 5: "liver", 31: "vertebrae_L1"}
STUDY = {"patient_id": "p1", "study_day": 0, "age_years": 61.5, "sex": "F", "split": "train", "source_digest": "d"}


def stored(affine=None, **attributes):
    """One volume of the phantom body, cropped to three anatomies of which the heart is absent."""
    volume = Volume(body(), canonical_affine() if affine is None else affine)
    label_map = LabelMap(organ_labels(), volume.affine, NAMES)
    anatomies = {name: load_anatomies()[name] for name in ("spleen", "heart", "liver")}
    crops = build_crops(volume, label_map, anatomies)
    return StoredVolume(
        {"series": "s", "phase": "portal", "kernel": "B30f", **attributes},
        label_map,
        resample_volume(volume, (6.0, 6.0, 6.0)),
        crops,
    )


@pytest.fixture
def store(tmp_path):
    write_study(tmp_path, "a1", STUDY, {"v0": stored()})
    write_manifest(tmp_path)
    return Store(tmp_path)


def test_what_is_written_is_read(store):
    source = stored()
    assert store.study_ids() == ["a1"]
    with store.open_study("a1") as study:
        assert tuple(study.attributes) == ROOT_KEYS
        assert study.attributes["study_id"] == "a1"
        assert study.attributes["age_years"] == 61.5
        assert study.attributes["model"] is None
        assert study.volumes == ["v0"]
        assert tuple(study.volume_attributes("v0")) == VOLUME_KEYS
        assert study.anatomies("v0") == ["heart", "liver", "spleen"]
        for name, crop in source.crops.items():
            found = study.crop("v0", name)
            for key in ("spacing_mm", "extent", "cut_fraction", "volume_ml", "parts"):
                assert getattr(found, key) == getattr(crop, key)
            assert found.source_grid.shape == crop.source_grid.shape
            assert np.array_equal(found.source_grid.affine, crop.source_grid.affine)
            if crop.image is None:
                assert (found.image, found.mask, found.affine) == (None, None, None)
                continue
            assert (found.image.dtype, found.mask.dtype) == (np.int16, np.uint8)
            assert np.array_equal(found.image, crop.image)
            assert np.array_equal(found.mask, crop.mask)
            assert np.array_equal(found.affine, crop.affine)
            found.image[0, 0, 0] = 7  # a reader may change what it got
        labels = study.labels("v0")
        assert np.array_equal(labels.labels, source.labels.labels)
        assert labels.names == NAMES
        overview, affine = study.overview("v0")
        assert np.array_equal(overview, source.overview[0])
        assert np.array_equal(affine, source.overview[1])


def test_plain_zarr_reads_the_same(store):
    with zarr.storage.ZipStore(study_path(store.path, "a1"), mode="r") as entries:
        root = zarr.open_group(entries, mode="r", zarr_format=3)
        crop = store.open_study("a1").crop("v0", "liver")
        assert np.array_equal(root["v0/liver/image"][...], crop.image)
        assert np.array_equal(root["v0/liver/mask"][...], crop.mask)
        assert root["v0/liver/image"].chunks == crop.image.shape
        assert list(root["v0/heart"].array_keys()) == []
        assert np.array_equal(root["v0/liver"].attrs["affine"], crop.affine)
        assert all("affine" in root[f"v0/{name}"].attrs for name in ("labels", "overview", "liver/image", "liver/mask"))


def test_same_input_gives_the_same_bytes(tmp_path):
    paths = [write_study(tmp_path / name, "a1", STUDY, {"v0": stored()}) for name in ("one", "two")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
    assert [path.name for path in paths[0].parent.iterdir()] == ["a1.zarr.zip"]


def test_the_whole_volume_is_kept_on_wish(tmp_path):
    whole = resample_volume(Volume(body(), canonical_affine()), (3.0, 1.0, 1.0))
    volume = stored()
    write_study(
        tmp_path, "a1", STUDY, {"v0": StoredVolume(volume.attributes, volume.labels, volume.overview, {}, whole)}
    )
    array, affine = Store(tmp_path).open_study("a1").array("v0", "volume")
    assert np.array_equal(array, whole[0])
    assert np.array_equal(affine, whole[1])


def test_unknown_attributes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="patient_name is no attribute of the store's schema"):
        write_study(tmp_path, "a1", {"patient_name": "x"}, {})
    assert not list(tmp_path.rglob("*.zip"))


@pytest.mark.parametrize("study_id", ["", "../x", "a/b", ".hidden"])
def test_identifiers_that_are_no_file_names_are_refused(tmp_path, study_id):
    with pytest.raises(StoreError, match="an identifier in the store is a file name"):
        write_study(tmp_path, study_id, STUDY, {})


def rewrite(path, change):
    """The zip file with its entries changed by a function of name and bytes; None leaves an entry out."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: change(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            if data is not None:
                archive.writestr(name, data)


def flip_byte(path, entry):
    """Change one byte in the middle of an entry, in place."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(entry)
    data = bytearray(path.read_bytes())
    data[info.header_offset + 30 + len(entry) + info.file_size // 2] ^= 255
    path.write_bytes(data)


CHUNK = "v0/liver/image/c/0/0/0"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: flip_byte(path, CHUNK), id="flipped byte"),
        pytest.param(lambda path: rewrite(path, lambda n, d: None if n == CHUNK else d), id="missing chunk"),
        pytest.param(lambda path: rewrite(path, lambda n, d: d[:-9] if n == CHUNK else d), id="short chunk"),
        pytest.param(
            lambda path: rewrite(path, lambda n, d: None if n.startswith("v0/liver/image") else d), id="missing array"
        ),
        pytest.param(lambda path: rewrite(path, lambda n, d: None if n == "v0/liver/zarr.json" else d), id="no group"),
        pytest.param(
            lambda path: rewrite(path, lambda n, d: b"{}" if n == "v0/liver/zarr.json" else d), id="empty json"
        ),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-100]), id="cut file"),
    ],
)
def test_damage_is_an_error_that_names_study_and_anatomy(store, damage):
    path = study_path(store.path, "a1")
    damage(path)
    with pytest.raises(StoreError, match="study a1") as error:
        store.open_study("a1").crop("v0", "liver")
    assert "liver" in str(error.value) or "cannot be opened" in str(error.value)
    assert "\n" not in str(error.value)


def test_another_schema_is_refused(store):
    def newer(name, data):
        if name != "zarr.json":
            return data
        node = json.loads(data)
        node["attributes"]["schema_version"] = 99
        return json.dumps(node).encode()

    rewrite(study_path(store.path, "a1"), newer)
    with pytest.raises(StoreError, match="schema version 99; this program reads 1"):
        _ = store.open_study("a1").attributes


def test_missing_things_are_named(store, tmp_path):
    with pytest.raises(InputError, match="no store there"):
        Store(tmp_path / "nothing")
    with pytest.raises(StoreError, match=r"study b2: the store .* has no file b2.zarr.zip"):
        store.open_study("b2")
    with pytest.raises(StoreError, match=r"anatomies.parquet is missing: .* run `ctvlp preprocess` again"):
        store.table("anatomies")


def read_sum(study, queue=None):
    value = int(study.crop("v0", "liver").image.astype(np.int64).sum())
    if queue is not None:
        queue.put(value)
    return value


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_read_in_the_parent_then_in_a_child(store, method):
    study = store.open_study("a1")
    wanted = read_sum(study)
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    children = [context.Process(target=read_sum, args=(study, queue)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0]
    assert [queue.get(), queue.get(), read_sum(study)] == [wanted] * 3


def test_reading_does_not_keep_files_open(store):
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("no /proc")
    before = len(list(descriptors.iterdir()))
    for _ in range(50):
        with store.open_study("a1") as study:
            study.crop("v0", "spleen")
    assert len(list(descriptors.iterdir())) == before


def test_manifest_has_a_row_for_every_anatomy(store):
    table = store.manifest()
    assert list(zip(table.study_id, table.volume, table.anatomy, strict=True)) == [
        ("a1", "v0", "heart"), ("a1", "v0", "liver"), ("a1", "v0", "spleen"),
    ]  # fmt: skip
    assert table.extent.tolist() == ["absent", "complete", "complete"]
    assert table.primary.tolist() == [False, True, True]
    assert table.patient_id.tolist() == ["p1"] * 3
    assert table.split.tolist() == ["train"] * 3
    assert table.source_spacing_z.tolist() == pytest.approx([4.0] * 3)
    assert table.volume_ml[1] == pytest.approx((organ_labels() == 5).sum() * 4 * 1.5 * 2 / 1000)


@pytest.mark.parametrize(
    ("changes", "primary"),
    [
        pytest.param([{}, {}], "v0", id="alike: the first"),
        pytest.param([{"phase": "native"}, {"phase": "portal"}], "v1", id="phase"),
        pytest.param([{"phase": None}, {"phase": "native"}], "v1", id="a known phase before an unknown one"),
        pytest.param([{"kernel": "B70f"}, {"kernel": "B30f"}], "v1", id="kernel"),
        pytest.param([{"thick": True}, {}], "v1", id="thinness"),
        pytest.param([{"cut": True, "phase": "portal"}, {"phase": "native"}], "v1", id="complete before phase"),
    ],
)
def test_primary_volume(tmp_path, changes, primary):
    volumes = {}
    for number, change in enumerate(changes):
        affine = canonical_affine((8.0, 1.5, 2.0)) if change.pop("thick", False) else None
        cut = change.pop("cut", False)
        volume = stored(affine, **change)
        if cut:
            shifted = LabelMap(np.roll(organ_labels(), -4, axis=0), volume.labels.affine, NAMES)
            crops = build_crops(Volume(body(), shifted.affine), shifted, {"liver": load_anatomies()["liver"]})
            volume = StoredVolume(volume.attributes, shifted, volume.overview, crops)
        volumes[f"v{number}"] = volume
    write_study(tmp_path, "a1", STUDY, volumes)
    table = build_manifest(tmp_path)
    assert table[(table.anatomy == "liver") & table.primary].volume.tolist() == [primary]


@pytest.mark.parametrize(
    ("preference", "primary"),
    [
        (Preference(("portal", "native"), "soft"), "v1"),
        (Preference(("native", "portal"), "soft"), "v0"),
        (Preference((), "sharp"), "v2"),
        (Preference(("native",), "sharp"), "v0"),
        (Preference((), "soft"), "v0"),
    ],
    ids=["portal", "native", "sharp", "phase before kernel", "no phase"],
)
def test_each_anatomy_has_its_own_primary_volume(tmp_path, preference, primary):
    volumes = [{"phase": "native", "kernel": "B30f"}, {"phase": "portal", "kernel": "B30f"}, {"phase": "portal", "kernel": "B70f"}]  # fmt: skip
    write_study(tmp_path, "a1", STUDY, {f"v{number}": stored(**one) for number, one in enumerate(volumes)})
    table = build_manifest(tmp_path, {"liver": preference})
    assert table[(table.anatomy == "liver") & table.primary].volume.tolist() == [primary]
    assert table[(table.anatomy == "spleen") & table.primary].volume.tolist() == ["v1"]
    run = {"settings": {"preferences": {"liver": preference}}}
    (tmp_path / "run.json").write_text(json.dumps(run))
    assert stored_preferences(tmp_path) == {"liver": preference}
    pd.testing.assert_frame_equal(build_manifest(tmp_path), table)


def test_the_shipped_anatomies_prefer_what_shows_them_best(tmp_path):
    found = stored_preferences(tmp_path)
    assert (found["lung"].kernel, found["liver"].kernel) == ("sharp", "soft")
    assert found["liver"].phases[0] == "portal"
    assert found["lung"].phases == ()


def test_manifest_does_not_depend_on_the_order_of_writing(tmp_path):
    for name, order in (("one", ("a1", "b2")), ("two", ("b2", "a1"))):
        for study_id in order:
            write_study(tmp_path / name, study_id, STUDY, {"v0": stored()})
    pd.testing.assert_frame_equal(write_manifest(tmp_path / "one"), write_manifest(tmp_path / "two"))


def test_manifest_of_an_empty_store(tmp_path):
    (tmp_path / "studies").mkdir()
    assert len(write_manifest(tmp_path)) == 0
    assert "primary" in Store(tmp_path).manifest().columns
