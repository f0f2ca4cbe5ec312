import pytest
from phantoms import body, canonical_affine, dicom_series, organ_labels, save_series, write_nifti

import preprocess.forecast
from ctvlp.run_text import format_forecast
from preprocess.errors import InputError
from preprocess.forecast import plan_archive
from preprocess.pipeline import preprocess_archive
from preprocess.runner import Children
from preprocess.study import process_study


@pytest.fixture(autouse=True)
def trials_in_this_process(monkeypatch):
    def run_tasks(tasks, settings, *, workers, on_piece, limits):
        for task in tasks:
            on_piece(process_study(task, settings))
        return Children(0, 0)

    monkeypatch.setattr(preprocess.forecast, "run_tasks", run_tasks)


def make_archive(root, count=4):
    for number in range(count):
        uid = f"2.25.{number}"
        tags = {"StudyInstanceUID": uid, "PatientID": f"P{number // 2}"}
        save_series(
            root / "archive" / uid / "v", dicom_series(body(), canonical_affine(), SeriesInstanceUID=f"{uid}.1", **tags)
        )
        scout = {"SeriesInstanceUID": f"{uid}.2", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
        save_series(root / "archive" / uid / "l", dicom_series(body((1, 40, 36)), canonical_affine(), **scout, **tags))
        write_nifti(root / "masks" / f"{uid}.nii.gz", organ_labels(), canonical_affine())
    return {"archive": root / "archive", "out": root / "store", "masks": root / "masks"}


def test_a_forecast_counts_reads_writes_and_times(tmp_path):
    options = make_archive(tmp_path)
    forecast = plan_archive(**options, workers=2, trials=2)
    assert (forecast.patients, forecast.studies, forecast.series, forecast.files) == (2, 4, 8, 52)
    assert (forecast.to_do, forecast.sampled, forecast.usable, forecast.refused) == (4, 4, 4, {"localizer": 4})
    volumes = sum(path.stat().st_size for path in (tmp_path / "archive").glob("*/v/*"))
    masks = sum(path.stat().st_size for path in (tmp_path / "masks").iterdir())
    assert forecast.read_bytes == volumes + masks
    assert (forecast.trials, forecast.trial_failures) == (2, {})
    assert forecast.hours_range[0] <= forecast.hours <= forecast.hours_range[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "masks", "store.index.sqlite", "store.key"]
    preprocess_archive(**options, workers=0)
    written = sum(path.stat().st_size for path in (tmp_path / "store" / "studies").glob("*.zip"))
    assert forecast.written_bytes == pytest.approx(written, rel=0.05)
    after = plan_archive(**options, workers=2, trials=2)
    assert (after.to_do, after.sampled, after.read_bytes, after.hours, after.written_bytes) == (0, 0, 0, None, None)


def test_studies_without_a_volume_take_no_time(tmp_path):
    options = make_archive(tmp_path, 2)
    scout = {
        "SeriesInstanceUID": "2.25.9.2",
        "StudyInstanceUID": "2.25.9",
        "ImageType": ["DERIVED", "PRIMARY", "LOCALIZER"],
    }
    for number in (8, 9):
        tags = {**scout, "StudyInstanceUID": f"2.25.{number}"}
        save_series(tmp_path / "archive" / str(number), dicom_series(body((1, 40, 36)), canonical_affine(), **tags))
    forecast = plan_archive(**options, trials=0)
    assert (forecast.to_do, forecast.usable, forecast.hours, forecast.read_rate) == (4, 2, None, None)
    one = plan_archive(**options, trials=1, workers=1)
    assert one.hours_range[0] == one.hours_range[1]


def test_trials_that_fail_are_counted_with_their_reason(tmp_path):
    options = make_archive(tmp_path, 2)
    for path in (tmp_path / "masks").iterdir():
        path.unlink()
    forecast = plan_archive(**options, trials=2)
    assert forecast.trial_failures == {"MASK_MISSING": 2}
    assert forecast.written_bytes is None
    assert forecast.hours is not None
    assert "failed: MASK_MISSING: 2" in format_forecast(forecast)


def test_the_sample_is_the_same_every_time(tmp_path):
    options = make_archive(tmp_path, 6)
    seen = []
    for _ in range(2):
        progress = []
        plan_archive(**options, sample=2, trials=1, progress=lambda *words, seen=progress: seen.append(words))
        seen.append(progress)
    assert seen == [[(1, 1)], [(1, 1)]]
    first, second = (plan_archive(**options, sample=2, trials=0) for _ in range(2))
    assert first == second
    assert first.sampled == 2


def test_a_forecast_with_the_options_of_the_run_knows_what_is_done_and_what_a_shard_has_to_do(tmp_path):
    options = make_archive(tmp_path)
    (tmp_path / "split.csv").write_text("study_id,split\n2.25.0,val\n2.25.2,test\n")
    (tmp_path / "archive" / "broken.nii").write_bytes(b"broken")
    parts = [plan_archive(**options, trials=0, shard=f"{number}/2") for number in (1, 2)]
    assert sum(part.to_do for part in parts) == parts[0].studies == 5
    assert plan_archive(**options, trials=0, shard="1/2") == parts[0]
    options |= {"split": tmp_path / "split.csv"}
    preprocess_archive(**options, workers=0)
    assert plan_archive(**options, trials=0).to_do == 1
    assert plan_archive(**options, trials=0, retry_failed=False).to_do == 0


def test_the_forecast_in_words(tmp_path):
    text = format_forecast(plan_archive(**make_archive(tmp_path), workers=2, trials=1))
    for words in ("2 patients, 4 studies, 8 series", "52 files of", "4 studies to do; of 4 sampled, 4 have a volume",
                  "series refused: localizer: 4", "reads ", "writes ", "with 2 at a time"):  # fmt: skip
        assert words in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample": 0}, "sample=0"),
        ({"trials": -1}, "trials=-1"),
        ({"masks": None}, "masks are needed"),
        ({"archive": "nowhere"}, "does not exist"),
        ({"series": "some"}, "series='some' is unknown"),
        ({"refresh": "all"}, "refresh='all' is unknown"),
    ],
    ids=str,
)
def test_what_cannot_be_planned_is_refused(tmp_path, change, message):
    options = {**make_archive(tmp_path, 1), **change}
    with pytest.raises(InputError, match=message):
        plan_archive(**options)
