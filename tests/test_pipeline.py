import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from phantoms import body, canonical_affine, dicom_series, oblique_affine, organ_labels, save_series, write_nifti

import preprocess.study
from preprocess.errors import InputError
from preprocess.pipeline import RunSummary, preprocess_archive
from preprocess.store import Store

NAMES = ("a", "b/c", "d ä=, e")


def make_archive(root, names=NAMES):
    for number, name in enumerate(names):
        write_nifti(root / "archive" / f"{name}.nii.gz", body(seed=number), canonical_affine())
        write_nifti(root / "masks" / f"{name}.nii.gz", organ_labels(), canonical_affine())
    return {"archive": root / "archive", "masks": root / "masks", "out": root / "store", "workers": 0}


def run(options, **more):
    return preprocess_archive(**{**options, **more})


def study_bytes(store):
    return {path.name: path.read_bytes() for path in (store / "studies").glob("*.zip")}


def failures(store):
    return [json.loads(line) for line in (store / "failures.jsonl").read_text().splitlines()]


def ids(root):
    table = pd.read_csv(root / "store.ids.csv", dtype=str)
    return dict(zip(table["key"], table["study_id"], strict=True))


def test_an_archive_becomes_a_store_and_a_second_run_does_nothing(tmp_path):
    options = make_archive(tmp_path)
    seen = []
    assert run(options, progress=lambda *counts: seen.append(counts)) == RunSummary(3, 3, 3, 3, 0, 0, {})
    assert seen == [(1, 3, 0), (2, 3, 0), (3, 3, 0)]
    before, manifest = study_bytes(tmp_path / "store"), Store(tmp_path / "store").manifest()
    assert run(options) == RunSummary(3, 3, 3, 0, 3, 0, {})
    assert study_bytes(tmp_path / "store") == before
    pd.testing.assert_frame_equal(Store(tmp_path / "store").manifest(), manifest)
    assert set(ids(tmp_path)) == set(NAMES)
    assert sorted(ids(tmp_path).values()) == Store(tmp_path / "store").study_ids()
    assert set(manifest["extent"]) == {"complete", "absent"}
    assert set(manifest.loc[manifest["extent"] != "absent", "anatomy"]) == {"liver", "spleen"}


def test_the_store_names_nobody(tmp_path):
    secrets = {
        "PatientID": "SECRET17",
        "PatientName": "Müller^Eva",
        "AccessionNumber": "ACC4711",
        "StudyInstanceUID": "1.2.3.77",
    }
    save_series(tmp_path / "archive" / "p", dicom_series(body(), canonical_affine(), **secrets))
    save_series(
        tmp_path / "archive" / "q",
        dicom_series(body(), canonical_affine(), **{**secrets, "StudyInstanceUID": "1.2.3.78"})[::3],
    )
    write_nifti(tmp_path / "masks" / "ACC4711.nii.gz", organ_labels(), canonical_affine())
    (tmp_path / "r.csv").write_text("study_id,patient_id,report_text\n1.2.3.77,SECRET17,The liver is normal.\n")
    options = {"archive": tmp_path / "archive", "masks": tmp_path / "masks", "out": tmp_path / "store", "workers": 0}
    summary = run(options, reports=tmp_path / "r.csv")
    assert summary.patients == 1
    for path in (tmp_path / "store").rglob("*"):
        if path.is_file():
            content = path.name.encode() + path.read_bytes()
            for secret in (b"SECRET17", "Müller".encode(), b"ACC4711", b"1.2.3.7", str(tmp_path).encode()):
                assert secret not in content, path.name
    map_text = (tmp_path / "store.ids.csv").read_text()
    assert "1.2.3.77" in map_text
    assert "SECRET17" in map_text


def test_ids_can_be_kept(tmp_path):
    run(make_archive(tmp_path), study_id="keep")
    assert Store(tmp_path / "store").study_ids() == ["a", "b%2Fc", "d %C3%A4=, e"]


def test_one_broken_study_does_not_stop_the_others_and_is_retried(tmp_path):
    options = make_archive(tmp_path)
    broken = tmp_path / "archive" / "b" / "c.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-200])
    (tmp_path / "masks" / "a.nii.gz").unlink()
    summary = run(options)
    assert (summary.done, summary.failed, summary.reasons) == (1, 2, {"MASK_MISSING": 1, "UNREADABLE": 1})
    found = {row["study"]: (row["stage"], row["reason"]) for row in failures(tmp_path / "store")}
    names = ids(tmp_path)
    assert found == {names["a"]: ("masks", "MASK_MISSING"), names["b/c"]: ("read", "UNREADABLE")}
    write_nifti(broken, body(seed=1), canonical_affine())
    write_nifti(tmp_path / "masks" / "a.nii.gz", organ_labels(), canonical_affine())
    summary = run(options)
    assert (summary.done, summary.skipped, summary.failed) == (2, 1, 0)
    assert failures(tmp_path / "store") == []
    assert len(Store(tmp_path / "store").study_ids()) == 3


def test_a_study_that_goes_bad_leaves_no_old_file(tmp_path):
    options = make_archive(tmp_path)
    run(options)
    write_nifti(tmp_path / "archive" / "a.nii.gz", np.zeros((12, 40, 36), np.int16), canonical_affine())
    summary = run(options)
    assert (summary.done, summary.skipped, summary.reasons) == (0, 2, {"HU_IMPLAUSIBLE": 1})
    assert ids(tmp_path)["a"] not in Store(tmp_path / "store").study_ids()
    assert ids(tmp_path)["a"] not in set(Store(tmp_path / "store").manifest()["study_id"])


@pytest.mark.parametrize("damage", ["file", "piece", "mask", "image", "no file"])
def test_what_is_damaged_or_changed_is_done_again_with_the_same_bytes(tmp_path, damage):
    options = make_archive(tmp_path)
    run(options)
    before = study_bytes(tmp_path / "store")
    name = ids(tmp_path)["a"]
    target = {
        "file": tmp_path / "store" / "studies" / f"{name}.zarr.zip",
        "no file": tmp_path / "store" / "studies" / f"{name}.zarr.zip",
        "piece": tmp_path / "store" / "studies" / f"{name}.json",
        "mask": tmp_path / "masks" / "a.nii.gz",
        "image": tmp_path / "archive" / "a.nii.gz",
    }[damage]
    if damage in ("mask", "image"):
        os.utime(target, ns=(5, 5))
    elif damage == "no file":
        target.unlink()
    else:
        target.write_bytes(target.read_bytes()[:-50])
    assert run(options).done == 1
    assert study_bytes(tmp_path / "store") == before


def test_other_settings_do_everything_again(tmp_path):
    options = make_archive(tmp_path)
    run(options)
    assert run(options, keep=["volume"]).done == 3
    with Store(tmp_path / "store").open_study(ids(tmp_path)["a"]) as study:
        assert study.array("v0", "volume")[0].ndim == 3


def test_many_processes_give_the_bytes_of_one(tmp_path):
    options = make_archive(tmp_path)
    (tmp_path / "archive" / "x.nii").write_bytes(b"broken")
    run(options)
    alone = study_bytes(tmp_path / "store")
    summary = run(options, out=tmp_path / "other", key_file=tmp_path / "store.key", workers=2)
    assert (summary.done, summary.failed) == (3, 1)
    assert study_bytes(tmp_path / "other") == alone
    assert failures(tmp_path / "other") == failures(tmp_path / "store")


def test_dicom_nifti_and_turned_nifti_give_the_same_crops(tmp_path):
    hu, affine = body(), oblique_affine()
    save_series(tmp_path / "archive" / "dicom", dicom_series(hu, affine, StudyInstanceUID=""))
    write_nifti(tmp_path / "archive" / "nifti.nii.gz", (hu + 1024).astype(np.int16), affine, intercept=-1024)
    turned = affine.copy()
    turned[:3, 3] += turned[:3, 2] * (hu.shape[2] - 1)
    turned[:3, 2] *= -1
    write_nifti(tmp_path / "archive" / "turned.nii", hu[:, :, ::-1].copy(), turned)
    for name in ("dicom", "nifti", "turned"):
        write_nifti(tmp_path / "masks" / f"{name}.nii.gz", organ_labels(), affine)
    run(
        {"archive": tmp_path / "archive", "masks": tmp_path / "masks", "out": tmp_path / "s", "workers": 0},
        study_id="keep",
    )
    store = Store(tmp_path / "s")
    crops = [store.open_study(name).crop("v0", "liver") for name in ("dicom", "nifti", "turned")]
    for crop in crops[1:]:
        assert (crop.image != crops[0].image).mean() < 0.01  # the affines differ by float32 rounding
        np.testing.assert_array_equal(crop.mask, crops[0].mask)
        np.testing.assert_allclose(crop.affine, crops[0].affine, atol=1e-3)


def test_one_series_is_chosen_and_every_other_is_listed_with_the_reason(tmp_path):
    affine = canonical_affine()
    for number, tags in enumerate(
        [
            {"ConvolutionKernel": "B70f"},
            {"ConvolutionKernel": "B30f"},
            {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        ]
    ):
        series = dicom_series(body(seed=number), affine, SeriesInstanceUID=f"2.25.9.{number}", **tags)
        save_series(tmp_path / "archive" / str(number), series)
    write_nifti(tmp_path / "masks" / "2.25.1.nii.gz", organ_labels(), affine)
    options = {"archive": tmp_path / "archive", "masks": tmp_path / "masks", "out": tmp_path / "store", "workers": 0}
    summary = run(options)
    assert (summary.patients, summary.studies, summary.series) == (1, 1, 3)
    table = Store(tmp_path / "store").series()
    assert sorted(zip(table["chosen"], table["kernel"].fillna("-"), table["reason"].fillna("-"), strict=True)) == [
        (False, "-", "localizer"),
        (False, "B70f", "another series was preferred"),
        (True, "B30f", "-"),
    ]
    run(options, series="all")
    (study,) = Store(tmp_path / "store").study_ids()
    assert Store(tmp_path / "store").open_study(study).volumes == ["v0", "v1"]


def test_a_gap_in_the_best_series_gives_way_to_the_next_one(tmp_path):
    thin = dicom_series(body((24, 40, 36)), canonical_affine((2.0, 1.5, 2.0)), SeriesInstanceUID="2.25.9.1")
    del thin[7]
    save_series(tmp_path / "archive" / "thin", thin)
    save_series(tmp_path / "archive" / "thick", dicom_series(body(), canonical_affine(), SeriesInstanceUID="2.25.9.2"))
    write_nifti(tmp_path / "masks" / "2.25.1.nii.gz", organ_labels(), canonical_affine())
    options = {"archive": tmp_path / "archive", "masks": tmp_path / "masks", "out": tmp_path / "store", "workers": 0}
    assert run(options).done == 1
    table = Store(tmp_path / "store").series()
    assert table.loc[~table["chosen"], "reason"].item().startswith("GEOMETRY: a gap of 4.00 mm")


def test_attributes_of_the_patient(tmp_path):
    for number, day in enumerate(("20240110", "20240101")):
        tags = {"StudyInstanceUID": f"2.25.{number}", "SeriesInstanceUID": f"2.25.{number}.1", "StudyDate": day}
        save_series(
            tmp_path / "archive" / str(number), dicom_series(body(), canonical_affine(), PatientAge="050Y", **tags)
        )
        write_nifti(tmp_path / "masks" / f"2.25.{number}.nii.gz", organ_labels(), canonical_affine())
    run(
        {"archive": tmp_path / "archive", "masks": tmp_path / "masks", "out": tmp_path / "s", "workers": 0},
        study_id="keep",
    )
    attributes = [Store(tmp_path / "s").open_study(f"2.25.{number}").attributes for number in (0, 1)]
    assert [(one["study_day"], one["age_years"], one["patient_id"]) for one in attributes] == [
        (9, 50.0, "P1"),
        (0, 50.0, "P1"),
    ]
    assert attributes[0]["split"] == attributes[1]["split"]


def test_the_split_file_overrides_and_keeps_patients_together(tmp_path):
    options = make_archive(tmp_path)
    (tmp_path / "split.csv").write_text("study_id,split\na,test\nb/c,val\n")
    (tmp_path / "r.csv").write_text('study_id,patient_id,report_text\na,P,Normal liver.\n"d ä=, e",P,Normal liver.\n')
    run(options, split=tmp_path / "split.csv", reports=tmp_path / "r.csv")
    manifest, names = Store(tmp_path / "store").manifest(), ids(tmp_path)
    split = manifest.groupby("study_id")["split"].first()
    assert (split[names["a"]], split[names["b/c"]], split[names["d ä=, e"]]) == ("test", "val", "test")
    (tmp_path / "split.csv").write_text('study_id,split\na,test\n"d ä=, e",train\n')
    with pytest.raises(InputError, match="studies of one patient into test and train"):
        run(options, split=tmp_path / "split.csv", reports=tmp_path / "r.csv", out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_reports_are_read_beside(tmp_path):
    (tmp_path / "r.csv").write_text("study_id,report_text\na,There is a simple cyst in the liver.\nnobody,Normal.\n")
    run(make_archive(tmp_path), reports=tmp_path / "r.csv")
    store, name = Store(tmp_path / "store"), ids(tmp_path)["a"]
    labels = store.table("labels")
    assert labels.loc[labels["study_id"] == name, "liver.cyst"].item() == 1
    links = store.table("links")
    assert sorted(links["reason"]) == ["linked", "no study"]
    assert "nobody" not in set(links["report_id"])


def test_reports_are_linked_by_patient_and_date_and_speak_of_what_is_covered(tmp_path):
    for name, day in (("p", "20240305"), ("q", "20240406")):
        tags = {"PatientID": "SECRET17", "StudyDate": day, "StudyInstanceUID": f"2.25.{day}", "AccessionNumber": None}
        save_series(tmp_path / "archive" / name, dicom_series(body(), canonical_affine(), **tags))
        write_nifti(tmp_path / "masks" / f"2.25.{day}.nii.gz", organ_labels(), canonical_affine())
    (tmp_path / "r.csv").write_text(
        "study_id,patient_id,study_date,report_status,report_text\n"
        ",SECRET17,06.04.2024,final,Cyst in the liver. Stone in the urinary bladder. The gallbladder was removed.\n"
        "2.25.20240305;2.25.20240406,SECRET17,,preliminary,The liver is normal.\n"
    )
    options = {"archive": tmp_path / "archive", "masks": tmp_path / "masks", "out": tmp_path / "store", "workers": 0}
    summary = run(options, reports=tmp_path / "r.csv")
    assert dict(summary.links) == {"linked by key": 1, "linked by patient and date": 1, "preliminary": 1}
    store, names = Store(tmp_path / "store"), ids(tmp_path)
    first, second = names["2.25.20240305"], names["2.25.20240406"]
    said = store.table("anatomies").fillna("").set_index(["study_id", "anatomy"])
    assert said.loc[(first, "liver"), "text"] == "The liver is normal."
    assert said.loc[(second, "liver"), "text"] == "Cyst in the liver."
    assert said.loc[(second, "bladder"), ["status", "text", "reason"]].tolist() == ["unmentioned", "", "not covered"]
    assert said.loc[(second, "gallbladder"), "status"] == "removed"
    counts = json.loads((tmp_path / "store" / "run.json").read_text())["counts"]
    assert counts["links"] == summary.links
    assert (counts["reports"]["reports"], counts["reports"]["not_covered"]) == (2, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"archive": "nowhere"}, "archive .*nowhere does not exist"),
        ({"archive": "void"}, "holds no DICOM and no NIfTI"),
        ({"archive": "broken.nii.gz"}, "broken.nii.gz cannot be read as an image"),
        ({"masks": "nowhere"}, "masks .*nowhere does not exist"),
        ({"masks": None}, "masks are needed"),
        ({"masks": "archive/a.nii.gz"}, "one file, but the archive holds several"),
        ({"reports": "nowhere.csv"}, "nowhere.csv"),
        ({"reports": "empty.csv"}, "empty"),
        ({"reports": "good.csv", "text_column": "txt"}, "no column 'txt'"),
        ({"reports": "good.csv", "language": "xx"}, "xx"),
        ({"split": "nowhere.csv"}, "split file .* cannot be read"),
        ({"out": "file"}, "is a file"),
        ({"out": "full"}, "is not empty and is no store"),
        ({"out": "."}, "holds the archive"),
        ({"out": "file/store"}, "cannot be"),
        ({"key_file": "empty.csv"}, "a key needs at least 16"),
        ({"segmenter": "magic"}, "segmenter='magic' is unknown"),
        ({"workers": -1}, "workers=-1"),
        ({"vocabulary": "none"}, "none"),
        ({"keep": ["everything"]}, "keep='everything' is unknown"),
        ({"series": "some"}, "series='some' is unknown"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_unusable_input_is_refused_before_anything_is_written(tmp_path, change, message):
    options = make_archive(tmp_path)
    (tmp_path / "void").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "broken.nii.gz").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("x")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "good.csv").write_text("study_id,report_text\na,Normal.\n")
    paths = {"archive", "masks", "reports", "split", "out", "key_file"}
    changed = {name: tmp_path / value if name in paths and value else value for name, value in change.items()}
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message):
        run(options, **changed)
    index = tmp_path / "store.index.sqlite"  # what was learned of the archive stays, if there was something to learn
    assert [path for path in sorted(tmp_path.rglob("*")) if path != index] == before
    assert index.exists() == (change == {"masks": "archive/a.nii.gz"})


def test_an_output_that_refuses_writing_is_named_and_nothing_stays(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("preprocess.output_folder.publish", full)
    options = make_archive(tmp_path)
    with pytest.raises(InputError, match=r"out .*store cannot be written: No space left"):
        run(options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "masks"]


def test_a_disk_that_fills_up_during_the_run_ends_it(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(preprocess.study, "write_study", full)
    with pytest.raises(InputError, match=r"store .* cannot be written: No space left"):
        run(make_archive(tmp_path))


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (MemoryError("17 GiB"), "OUT_OF_MEMORY", "17 GiB"),
        (OSError(errno.EIO, "Input/output error"), "DISK", "Input/output error"),
        (ZeroDivisionError("x over 0"), "INTERNAL", "ZeroDivisionError: x over 0"),
    ],
    ids=["memory", "disk", "defect"],
)
def test_every_error_of_a_study_has_a_reason(tmp_path, monkeypatch, error, reason, words):
    def fail(_, **__):
        raise error

    monkeypatch.setattr(preprocess.study, "read_series", fail)
    summary = run(make_archive(tmp_path, ["a"]))
    assert summary.reasons == {reason: 1}
    (row,) = failures(tmp_path / "store")
    assert row["stage"] == "read"
    assert words in row["message"]


SLOW_RUN = """
import sys, time
import preprocess.study as study
from preprocess.pipeline import preprocess_archive
write = study.write_study
def slow(store, study_id, *rest):
    path = write(store, study_id, *rest)
    print("wrote", flush=True)
    time.sleep(float(sys.argv[2]))
    return path
study.write_study = slow
root = sys.argv[1]
preprocess_archive(root + "/archive", root + "/store", masks=root + "/masks", workers=0)
"""


def test_a_killed_run_is_finished_by_the_next_one_with_the_same_result(tmp_path):
    options = make_archive(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(Path(preprocess.__file__).parents[1])}
    command = [sys.executable, "-c", SLOW_RUN, str(tmp_path), "30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"wrote\n"  # one file is there, its record is not
        process.send_signal(signal.SIGKILL)
    (tmp_path / "store" / "studies" / f".x.zarr.zip.{os.uname().nodename}-999999-y.tmp").write_bytes(b"half")
    assert run(options).done == 3
    clean = tmp_path / "clean"
    run(options, out=clean, key_file=tmp_path / "store.key")
    assert study_bytes(tmp_path / "store") == study_bytes(clean)
    pd.testing.assert_frame_equal(Store(tmp_path / "store").manifest(), Store(clean).manifest())


def test_importing_the_pipeline_loads_no_torch():
    code = "import sys, preprocess.pipeline; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(preprocess.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


@pytest.mark.parametrize(
    ("archive", "masks", "absent"),
    [
        ("ct.nii.gz", "totalseg_v2.nii.gz", {"heart", "esophagus"}),
        ("dicom", "dicom_totalseg_v2.nii.gz", {"heart", "sacrum"}),
    ],
)
def test_real_studies_go_through(shared_data, tmp_path, archive, masks, absent):
    folder = shared_data / "real_ct"
    summary = preprocess_archive(folder / archive, tmp_path / "store", masks=folder / masks, workers=0)
    assert summary == RunSummary(1, 1, 1, 1, 0, 0, {})
    manifest = Store(tmp_path / "store").manifest().set_index("anatomy")
    assert absent <= set(manifest.index[manifest["extent"] == "absent"])
    assert {"colon", "liver", "spleen", "stomach"} <= set(manifest.index[manifest["extent"] == "truncated"])
