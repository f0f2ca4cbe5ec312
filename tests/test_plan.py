import os
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantoms import body, canonical_affine, organ_labels, write_nifti

from preprocess.archive_plan import PlanOptions, open_plan
from preprocess.errors import InputError
from preprocess.index import ArchiveIndex, StudySummary
from preprocess.plan import Naming, Tasks, plan_studies
from preprocess.shards import Shard, read_shard
from preprocess.study import Settings

NAMING = Naming(b"a key of some length", keep=True)


def summary(key, *, patient=None, day=None, keys=()):
    return StudySummary(
        key, (key, *keys), patient, day and date(2024, 1, day), 1, 3, 100, Path("/archive") / key, "digest"
    )


def test_study_days_count_from_the_patients_first_study():
    planned = plan_studies(
        [summary("c", patient="P", day=9), summary("a", patient="P", day=2), summary("b", patient="P"), summary("d")],
        NAMING,
    )
    assert [(study.study_id, study.patient_id, study.study_day) for study in planned] == [
        ("a", "P", 0), ("b", "P", None), ("c", "P", 7), ("d", "d", None),
    ]  # fmt: skip


def test_the_report_table_names_patients_that_images_do_not():
    planned = plan_studies(
        [summary("a", keys=["A1"]), summary("b", patient="Q")], NAMING, patients={"A1": "P", "b": "R"}
    )
    assert [study.patient for study in planned] == ["P", "Q"]


def test_a_patient_has_one_split():
    studies = [summary("a", patient="P"), summary("b", patient="P"), summary("c", patient="Q")]
    planned = plan_studies(studies, NAMING, splits={"b": "val"})
    assert [study.split for study in planned][:2] == ["val", "val"]
    with pytest.raises(InputError, match=r"into test and val \(patient P\)"):
        plan_studies(studies, NAMING, splits={"a": "test", "b": "val"})


@given(st.sets(st.text(min_size=1, max_size=8), max_size=60), st.integers(1, 7), st.binary(min_size=16, max_size=16))
def test_shards_part_the_studies(names, count, key):
    shards = [Shard(number, count) for number in range(1, count + 1)]
    assert all(sum(shard.holds(name, key) for shard in shards) == 1 for name in names)


def test_shards_are_of_about_one_size_and_stay_when_the_archive_grows():
    sizes = [sum(Shard(number, 4).holds(str(name), b"k" * 16) for name in range(4000)) for number in (1, 2, 3, 4)]
    assert min(sizes) > 900
    assert sum(sizes) == 4000


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "-1/4", "1/4/2", "a/b", "1 /2"])
def test_a_shard_is_k_of_n(text):
    with pytest.raises(InputError, match="give k/n"):
        read_shard(text)
    assert read_shard("4/4") == Shard(4, 4)


def test_tasks_are_built_one_at_a_time(tmp_path, monkeypatch):
    for name in "abcd":
        write_nifti(tmp_path / "archive" / f"{name}.nii", body((4, 12, 12)), canonical_affine())
    looked_up = []
    study = ArchiveIndex.study
    monkeypatch.setattr(ArchiveIndex, "study", lambda self, key: looked_up.append(key) or study(self, key))
    settings = Settings(tmp_path / "store", {})
    with open_plan(tmp_path / "archive", settings, NAMING, tmp_path / "i", PlanOptions()) as plan:
        tasks = Tasks(plan.studies, plan.source)
        assert len(tasks) == 4
        assert looked_up == []
        iterator = iter(tasks)
        assert next(iterator).source.files == (tmp_path / "archive" / "a.nii",)
        assert looked_up == ["a"]
        assert [task.study_id for task in tasks[1:3]] == ["b", "c"]
        assert tasks[0].digest == plan.source.digest(plan.studies[0])


def test_the_digest_of_a_task_follows_files_masks_settings_and_names(tmp_path):
    image = write_nifti(tmp_path / "archive" / "a.nii", body((4, 12, 12)), canonical_affine())
    mask = write_nifti(tmp_path / "masks" / "a.nii", organ_labels((4, 12, 12)), canonical_affine())

    def digest(*, naming=NAMING, settings_digest="", **patients):
        settings = Settings(tmp_path / "store", {}, digest=settings_digest)
        options = PlanOptions(tmp_path / "masks", patients)
        with open_plan(tmp_path / "archive", settings, naming, tmp_path / "i", options) as plan:
            return plan.source.digest(plan.studies[0])

    first = digest()
    assert digest() == first
    found = {digest(settings_digest="other"), digest(a="P"), digest(naming=Naming(b"k" * 16))}
    os.utime(mask, ns=(1, 1))
    found.add(digest())
    os.utime(image, ns=(1, 1))
    found.add(digest())
    assert len(found - {first}) == 5
