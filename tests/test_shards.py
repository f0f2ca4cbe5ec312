import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from phantoms import body, canonical_affine, organ_labels, write_nifti

from ctvlp.cli import main
from preprocess.errors import InputError
from preprocess.forecast import plan_archive
from preprocess.pipeline import preprocess_archive
from preprocess.store import Store

SCALE = Path(__file__).parents[1] / "docs" / "scale.md"


def make_archive(root, count=7):
    for number in range(count):
        write_nifti(root / "export" / f"{number}.nii.gz", body(seed=number), canonical_affine())
        write_nifti(root / "masks" / f"{number}.nii.gz", organ_labels(), canonical_affine())
    (root / "export" / "broken.nii").write_bytes(b"broken")
    (root / "reports.csv").write_text("study_id,patient_id,report_text\n0,P,The liver is normal.\n1,P,Normal liver.\n")
    return {"archive": root / "export", "out": root / "store", "masks": root / "masks"}


def store_content(store):
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path.suffix in (".zip", ".parquet", ".jsonl")
    }


def jobs(text):
    """The SLURM scripts of a page: tasks of each, and its commands."""
    for block in re.findall(r"```bash\n(#!/bin/bash\n.*?)```", text, flags=re.DOTALL):
        array = re.search(r"--array=1-(\d+)", block)
        lines = block.replace("\\\n", " ").splitlines()
        yield int(array[1]) if array else 1, [line for line in lines if line.startswith("ctvlp ")]


def test_the_documented_job_array_gives_the_store_of_one_run(tmp_path, capsys):
    options = make_archive(tmp_path)
    found = list(jobs(SCALE.read_text(encoding="utf-8")))
    assert [tasks for tasks, _ in found] == [1, 16, 1]
    for tasks, commands in found:
        for task in range(1, tasks + 1):
            for command in commands:
                line = command.replace("$SLURM_ARRAY_TASK_ID", str(task)).replace("$SLURM_ARRAY_TASK_COUNT", str(tasks))
                words = shlex.split(line.replace("=/data/", f"={tmp_path}/"))[1:]
                extra = ["trials=0"] if words[0] == "plan" else ["workers=0"]
                assert main([*words, *extra]) in (0, 1), capsys.readouterr().err
        tables = (tmp_path / "store" / "manifest.parquet").exists()
        assert tables == any("retry_failed=false" in command for command in commands)
    assert capsys.readouterr().out.endswith("0 done, 7 were there already, 1 failed\n  UNREADABLE: 1\n"
                                            f"see {tmp_path}/store/failures.jsonl\n")  # fmt: skip
    preprocess_archive(
        **{**options, "out": tmp_path / "alone"},
        reports=tmp_path / "reports.csv",
        key_file=tmp_path / "store.key",
        workers=0,
    )
    assert store_content(tmp_path / "store") == store_content(tmp_path / "alone")
    ids = pd.read_csv(tmp_path / "store.ids.csv", dtype=str)
    assert set(ids["key"]) == {*"0123456", "broken"}


def test_a_shard_does_its_own_studies_alone(tmp_path):
    options = make_archive(tmp_path)
    plan_archive(**options, trials=0)
    first = preprocess_archive(**options, shard="1/2", workers=0)
    mine = set(Store(tmp_path / "store").study_ids())
    assert first.studies == first.done + first.failed < 8
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["studies"]
    assert not (tmp_path / "store.ids.csv").exists()
    again = preprocess_archive(**options, shard="1/2", workers=0)
    assert (again.done, again.skipped) == (0, first.done)
    second = preprocess_archive(**options, shard="2/2", workers=0)
    assert (first.done + second.done, first.failed + second.failed) == (7, 1)
    assert len(set(Store(tmp_path / "store").study_ids()) - mine) == second.done


def test_shards_need_the_key_and_a_whole_index_of_the_same_archive(tmp_path):
    options = make_archive(tmp_path, 2)
    with pytest.raises(InputError, match=r"store\.key is not there: run `ctvlp plan`"):
        preprocess_archive(**options, shard="1/2")
    (tmp_path / "store.key").write_text("k" * 32)
    with pytest.raises(InputError, match=r"index\.sqlite is not there: run `ctvlp plan` first"):
        preprocess_archive(**options, shard="1/2")
    assert not (tmp_path / "store").exists()
    plan_archive(**options, trials=0)
    write_nifti(tmp_path / "other" / "0.nii.gz", body(), canonical_affine())
    with pytest.raises(InputError, match="is of another archive or other masks"):
        preprocess_archive(**{**options, "archive": tmp_path / "other"}, shard="1/2")


def test_failed_studies_can_be_left_as_they_are(tmp_path, monkeypatch):
    options = make_archive(tmp_path, 2)
    preprocess_archive(**options, workers=0)
    monkeypatch.setattr("preprocess.pipeline.run_tasks", lambda tasks, *_, **__: pytest.fail(f"{len(tasks)} tasks"))
    with pytest.raises(pytest.fail.Exception, match="1 tasks"):
        preprocess_archive(**options, workers=0)
    monkeypatch.setattr("preprocess.pipeline.run_tasks", no_task)
    summary = preprocess_archive(**options, workers=0, retry_failed=False)
    assert (summary.done, summary.skipped, summary.failed, summary.reasons) == (0, 2, 1, {"UNREADABLE": 1})


def no_task(tasks, settings, *, workers, on_piece, limits, cluster):
    from preprocess.runner import Children

    assert len(tasks) == 0
    return Children(0, 0)


def test_limits_and_cluster_are_passed_on(tmp_path, monkeypatch):
    seen = {}

    def run_tasks(tasks, settings, *, workers, on_piece, limits, cluster):
        seen.update(workers=workers, limits=limits, cluster=cluster)
        return no_task([], settings, workers=0, on_piece=None, limits=None, cluster=None)

    monkeypatch.setattr("preprocess.pipeline.run_tasks", run_tasks)
    preprocess_archive(**make_archive(tmp_path, 1), workers=3, cluster="tcp://host:1", time_limit=60, memory_limit=2.5)
    assert (seen["workers"], seen["cluster"]) == (3, "tcp://host:1")
    assert (seen["limits"].seconds, seen["limits"].memory_bytes) == (60, 2.5 * 2**30)
