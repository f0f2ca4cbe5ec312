"""A store at a URL of fsspec: the same bytes and tables as in a folder, whatever happens in between."""

import multiprocessing
import os
import pickle
import signal
import uuid

import numpy as np
import pandas as pd
import pytest
import zarr
from object_store import BUCKET, forget_file_systems, s3_server, unreachable, upload_half_and_die
from phantoms import body, canonical_affine, organ_labels, write_nifti

from ctvlp.cli import main
from preprocess import store_place as store_place_module
from preprocess.check import check_store
from preprocess.crops import build_crops, resample_volume
from preprocess.errors import InputError, StoreError
from preprocess.generations import collect_garbage
from preprocess.pieces import read_pieces
from preprocess.pipeline import preprocess_archive
from preprocess.range_file import merged
from preprocess.store import Store, StoredVolume, study_path, write_study
from preprocess.store_place import StoreUrl, store_place
from preprocess.vocabulary_files import load_anatomies
from preprocess.volume import LabelMap, Volume

NAMES = ("a", "b", "c")
ANATOMIES = ("spleen", "heart", "liver")


@pytest.fixture(scope="module", autouse=True)
def server():
    with s3_server():
        yield


@pytest.fixture(params=["memory", "s3"])
def url(request):
    """A place of its own for each test."""
    folder = uuid.uuid4().hex
    return f"memory://{folder}/store" if request.param == "memory" else f"s3://{BUCKET}/{folder}/store"


@pytest.fixture
def s3_url():
    return f"s3://{BUCKET}/{uuid.uuid4().hex}/store"


@pytest.fixture
def archive(tmp_path):
    """Three studies, one more that cannot be read, masks, reports and a key."""
    for number, name in enumerate(NAMES):
        write_nifti(tmp_path / "archive" / f"{name}.nii.gz", body(seed=number), canonical_affine())
        write_nifti(tmp_path / "masks" / f"{name}.nii.gz", organ_labels(), canonical_affine())
    (tmp_path / "archive" / "x.nii").write_bytes(b"broken")
    (tmp_path / "r.csv").write_text("study_id,patient_id,report_text\na,p,The liver is normal.\nb,p,Hepatic cyst.\n")
    (tmp_path / "store.key").write_text("k" * 32)
    return tmp_path


def run(root, out, **options):
    given = {"masks": root / "masks", "reports": root / "r.csv", "key_file": root / "store.key", "study_id": "keep"}
    return preprocess_archive(root / "archive", out, **given | {"workers": 0} | options)


def everything(out):
    """All that a run leaves, save what tells how long it took."""
    place = store_place(out)
    folders = (place, place / "studies", place / "text")
    files = {
        f"{folder.name}/{path.name}": path.read_bytes()
        for folder in folders
        for path in folder.glob("*")
        if path.is_file() and not path.name.endswith(".json")
    }
    pieces = [{**vars(piece), "seconds": sorted(piece.seconds)} for piece in read_pieces(place / "studies")]
    return files, pieces


def change_source(root, name="b"):
    write_nifti(root / "archive" / f"{name}.nii.gz", body(seed=17), canonical_affine())


def test_a_url_holds_what_a_folder_holds(archive, url):
    first = run(archive, archive / "store")
    assert run(archive, url) == first
    files, pieces = everything(archive / "store")
    assert everything(url) == (files, pieces)
    assert {"store/manifest.parquet", "store/series.parquet", "studies/a.zarr.zip", "text/labels.parquet"} <= set(files)
    assert [row["study"] for row in Store(url).failures()] == ["x"]
    pd.testing.assert_frame_equal(Store(url).manifest(), Store(archive / "store").manifest())
    assert check_store(url) == []


def test_a_second_run_does_what_is_missing(archive, url):
    run(archive, url)
    before = everything(url)
    study_path(store_place(url), "a").unlink()
    damaged = study_path(store_place(url), "c")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert [problem.split(":")[0] for problem in check_store(url)][:2] == ["study c", "study a"]
    summary = run(archive, url, retry_failed=False)
    assert (summary.done, summary.skipped, summary.failed) == (2, 1, 1)
    assert everything(url) == before
    assert check_store(url) == []


def test_earlier_generations_stay_until_gc(archive, url):
    run(archive, url)
    first = study_path(store_place(url), "b").read_bytes()
    change_source(archive)
    run(archive, url)
    current, old = study_path(store_place(url), "b"), study_path(store_place(url), "b").with_name("b.zarr.zip.old")
    second = current.read_bytes()
    assert old.read_bytes() == first != second
    write_nifti(archive / "archive" / "b.nii.gz", body(seed=23), canonical_affine())
    run(archive, url)
    assert (old.read_bytes(), old.with_name("b.zarr.zip.older").read_bytes()) == (second, first)
    assert Store(url).study_ids() == ["a", "b", "c"]
    garbage = collect_garbage(store_place(url))
    assert (garbage.files, garbage.size_bytes) == (2, len(first) + len(second))
    assert not old.exists()


def test_runs_killed_at_every_upload_change_nothing(archive, s3_url):
    for name in ("b.nii.gz", "c.nii.gz", "x.nii"):
        (archive / "archive" / name).unlink()
    run(archive, archive / "store", reports=None)
    kills, status = -1, None
    while status != 0:
        kills += 1
        child = os.fork()
        if not child:
            _kill_at(kills)
            run(archive, s3_url, reports=None)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL)
        seen = [study_path(store_place(s3_url), name) for name in NAMES]
        whole = [path.read_bytes() for path in seen if path.exists()]
        assert set(whole) <= {path.read_bytes() for path in (archive / "store" / "studies").glob("*.zip")}
    assert kills > 3
    assert everything(s3_url) == everything(archive / "store")


def _kill_at(upload):
    """The n-th upload of this process goes half way only, and takes the process with it."""
    write, seen = StoreUrl.write_bytes, []

    def counted(place, data):
        seen.append(place)
        if len(seen) == upload + 1:
            upload_half_and_die(place, data)
        write(place, data)

    StoreUrl.write_bytes = counted


def lose_connection(patch, *, of, times):
    """Some uploads fail as they do where the network is gone, with an error that is no `OSError`."""
    write, lost = store_place_module._write, []

    def flaky(files, path, data):
        if of in path and len(lost) < times:
            lost.append(path)
            raise unreachable()
        write(files, path, data)

    patch.setattr(store_place_module, "_write", flaky)


def test_a_lost_connection_fails_one_study_and_the_run_goes_on(archive, s3_url, monkeypatch):
    lose_connection(monkeypatch, of="b.zarr.zip", times=1)
    summary = run(archive, s3_url)
    assert (summary.done, summary.reasons) == (2, {"DISK": 1, "UNREADABLE": 1})
    (failure,) = (row for row in Store(s3_url).failures() if row["study"] == "b")
    assert failure["stage"] == "write"
    assert failure["message"] == 'Could not connect to the endpoint URL: "http://host/"'
    assert run(archive, s3_url).done == 1
    assert check_store(s3_url) == []


def test_a_store_that_is_lost_ends_the_run(archive, monkeypatch):
    url = "memory://lost/store"
    with monkeypatch.context() as patch:
        lose_connection(patch, of="b.", times=10)
        with pytest.raises(InputError) as raised:
            run(archive, url)
    assert str(raised.value) == f'store {url} cannot be written: Could not connect to the endpoint URL: "http://host/"'
    assert (run(archive, url).done, check_store(url)) == (2, [])


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A store with one study of noise, which does not shrink, and the same at a URL."""
    labels = np.kron(organ_labels(), np.ones((2, 2, 2), np.uint8))
    noise = np.random.default_rng(1).integers(-1000, 1000, labels.shape, dtype=np.int16)
    volume = Volume(noise, canonical_affine())
    label_map = LabelMap(labels, volume.affine, {1: "spleen", 5: "liver", 31: "vertebrae_L1"})
    crops = build_crops(volume, label_map, {name: load_anatomies()[name] for name in ANATOMIES})
    overview, whole = (resample_volume(volume, (edge, edge, edge)) for edge in (6.0, 0.7))
    root, url = tmp_path_factory.mktemp("large"), f"s3://{BUCKET}/large"
    for place in (root, url):
        write_study(store_place(place), "a", {}, {"v0": StoredVolume({}, label_map, overview, crops, whole)})
    return Store(root), Store(url)


def test_a_crop_takes_few_requests_and_little_of_the_file(large, monkeypatch):
    local, remote = large
    asked = []
    real = StoreUrl.read_ranges
    monkeypatch.setattr(StoreUrl, "read_ranges", lambda place, ranges: asked.append(ranges) or real(place, ranges))
    monkeypatch.setattr(StoreUrl, "read_bytes", lambda place: pytest.fail("the whole file is read"))
    size = study_path(local.path, "a").stat().st_size
    with local.open_study("a") as here, remote.open_study("a") as there:
        for anatomy in ANATOMIES:
            mine, other = here.crop("v0", anatomy), there.crop("v0", anatomy)
            assert (mine.extent, mine.parts) == (other.extent, other.parts)
            assert np.array_equal(mine.image, other.image)  # None where it is absent
            assert np.array_equal(mine.mask, other.mask)
        assert there.attributes == here.attributes
        assert len(asked) <= 4
        assert sum(stop - start for ranges in asked for start, stop in ranges) < size / 2
        assert np.array_equal(there.labels("v0").labels, here.labels("v0").labels)
        assert np.array_equal(there.array("v0", "volume")[0], here.array("v0", "volume")[0])


def _read_crop(store, study, queue):
    queue.put((store.open_study("a").crop("v0", "liver").image.sum(), study.crop("v0", "spleen").image.sum()))


def test_a_process_opens_the_file_system_for_itself_after_a_fork(large):
    local, remote = large
    expected = [local.open_study("a").crop("v0", name).image.sum() for name in ("liver", "spleen")]
    study = remote.open_study("a")
    study.crop("v0", "liver")  # open in this process
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_read_crop, args=(remote, study, queue))
    child.start()
    assert list(queue.get(timeout=60)) == expected
    child.join()
    assert study.crop("v0", "spleen").image.sum() == expected[1]
    assert pickle.loads(pickle.dumps(remote)).study_ids() == ["a"]


def test_plain_zarr_opens_a_study_at_a_url(large):
    local, remote = large
    group = zarr.open_group(f"zip::{study_path(remote.path, 'a')}", mode="r")
    assert np.array_equal(group["v0/liver/image"][...], local.open_study("a").crop("v0", "liver").image)
    assert group["v0/liver"].attrs["extent"] == local.open_study("a").crop("v0", "liver").extent


def test_a_study_without_a_file_and_one_that_is_damaged_are_told_apart(large):
    _, remote = large
    with pytest.raises(StoreError, match="study q: the store has no file q"):
        remote.open_study("q").attributes  # noqa: B018 - reading raises
    (study_path(remote.path, "q")).write_bytes(b"no zip file")
    with pytest.raises(StoreError, match="cannot be opened: File is not a zip file"):
        remote.open_study("q").attributes  # noqa: B018
    study_path(remote.path, "q").unlink()


REFUSED = {
    "no key file": ({"key_file": None}, "needs key_file=PATH"),
    "key at a URL": (
        {"key_file": "s3://bucket/key"},
        "key_file=s3://bucket/key: this has to lie on this machine's disk",
    ),
    "memory and workers": ({"out": "memory://m/store", "workers": 1}, "which workers cannot reach: give workers=0"),
    "memory, workers by default": ({"out": "memory://m/store", "workers": None}, "give workers=0"),
    "no bucket": ({"out": "s3://no-bucket/store"}, "cannot be written: The specified bucket does not exist"),
    "unknown protocol": ({"out": "nowhere://x/store"}, "nowhere:// cannot be used"),
    "a chain": ({"out": "simplecache::s3://bucket/x"}, "file systems cannot be chained"),
    "a password": ({"out": "sftp://me:hidden@host/x"}, "passwords and options of the connection belong"),
    "no folder": ({"out": "s3://"}, "it names no folder"),
    "something else": ({"out": f"s3://{BUCKET}/foreign"}, "is not empty and is no store"),
    "a file": ({"out": f"s3://{BUCKET}/foreign/file"}, "is a file"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_a_place_that_cannot_be_used_is_refused_before_work_starts(archive, options, message):
    (store_place(f"s3://{BUCKET}/foreign") / "file").write_bytes(b"x")
    given = {"out": f"s3://{BUCKET}/refused/store"} | options
    with pytest.raises(InputError) as raised:
        run(archive, given.pop("out"), **given)
    assert message in str(raised.value)
    assert "hidden" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert sorted(path.name for path in archive.iterdir()) == ["archive", "masks", "r.csv", "store.key"]
    assert not store_place(f"s3://{BUCKET}/refused").exists()


def test_commands_end_with_one_line_where_credentials_are_missing(archive, monkeypatch, capsys):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    forget_file_systems()
    url = f"s3://{BUCKET}/store"
    archive_words = [
        f"archive={archive / 'archive'}",
        f"masks={archive / 'masks'}",
        f"key_file={archive / 'store.key'}",
    ]
    for words in (["preprocess", f"out={url}", *archive_words], ["check", f"store={url}"], ["status", f"store={url}"]):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.endswith("Unable to locate credentials")
    forget_file_systems()


def test_commands_take_a_url_and_children_write_to_it(archive, s3_url, capsys):
    run(archive, archive / "store")
    words = [f"{name}={archive / name}" for name in ("archive", "masks")] + [f"key_file={archive / 'store.key'}"]
    assert (
        main(["preprocess", f"out={s3_url}", *words, f"reports={archive / 'r.csv'}", "workers=1", "study_id=keep"]) == 1
    )
    assert f"see {s3_url}/failures.jsonl" in capsys.readouterr().out
    assert everything(s3_url) == everything(archive / "store")
    assert main(["status", f"store={s3_url}", f"key_file={archive / 'store.key'}"]) == 0
    assert "3 done" in capsys.readouterr().out
    assert main(["check", f"store={s3_url}"]) == 0
    assert main(["gc", f"store={s3_url}"]) == 0
    assert main(["inspect", f"store={s3_url}", f"out={archive / 'page.html'}"]) == 0
    assert (archive / "page.html").stat().st_size > 1000
    assert main(["inspect", f"store={s3_url}", f"out={s3_url}/page.html"]) == 2
    assert "only a store may lie at a URL" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ranges", "gap", "expected"),
    [
        ([], 5, []),
        ([(0, 2), (10, 12)], 5, [(0, 2), (10, 12)]),
        ([(10, 12), (0, 5)], 5, [(0, 12)]),
        ([(0, 9), (2, 4), (9, 10)], 0, [(0, 10)]),
    ],
    ids=["none", "far apart", "near", "within"],
)
def test_near_parts_become_one(ranges, gap, expected):
    assert list(merged(ranges, gap)) == expected
