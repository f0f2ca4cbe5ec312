"""Each command's configuration fits the function that it feeds, and bad input ends with one line and status 2."""

import inspect
from dataclasses import MISSING, asdict, fields
from pathlib import Path

import pytest
import yaml
from phantoms import body, canonical_affine, organ_labels, write_nifti

from ctvlp.cli import compose_config, config_dir, main
from preprocess.forecast import plan_archive
from preprocess.pipeline import preprocess_archive
from preprocess.recrop_store import recrop_store
from preprocess.run_options import PreprocessOptions, RunOptions
from preprocess.simulate.archive import simulate_archive
from preprocess.status import store_status
from preprocess.text_tables import reports_to_tables

REQUIRED = {
    "simulate": ["out=x"],
    "preprocess": ["archive=a", "out=x"],
    "plan": ["archive=a", "out=x"],
    "recrop": ["archive=a", "out=x"],
    "status": ["store=x"],
    "reports": ["reports=r", "out=x"],
}
ASIDE = {"reports": {"explain"}}
"""Keys that lead to another function."""
OPTIONS = {preprocess_archive: PreprocessOptions, plan_archive: PreprocessOptions, recrop_store: RunOptions}


def arguments(function):
    """Arguments of a function with their defaults; `**options` stands for the fields of a dataclass."""
    parameters = dict(inspect.signature(function).parameters)
    found = {}
    if parameters.pop("options", None) is not None:
        found = {field.name: field.default for field in fields(OPTIONS[function])}
        assert MISSING not in found.values()
    own = {name: parameter.default for name, parameter in parameters.items() if name not in ("progress", "now")}
    assert not own.keys() & found.keys()
    return own | found


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("simulate", simulate_archive),
        ("preprocess", preprocess_archive),
        ("plan", plan_archive),
        ("recrop", recrop_store),
        ("status", store_status),
        ("reports", reports_to_tables),
    ],
)
def test_configuration_names_the_functions_arguments(name, function):
    assert set(compose_config(name, REQUIRED[name])) == set(arguments(function)) | ASIDE.get(name, set())


@pytest.mark.parametrize(
    ("name", "function"), [("preprocess", preprocess_archive), ("plan", plan_archive), ("recrop", recrop_store)]
)
def test_configuration_states_the_functions_defaults(name, function):
    defaults = arguments(function)
    config = compose_config(name, REQUIRED[name])
    given = {word.partition("=")[0] for word in REQUIRED[name]}
    stated = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    assert {key: stated[key] for key in config if key not in given} == {
        key: defaults[key] for key in config if key not in given
    }


@pytest.mark.parametrize("function", OPTIONS)
def test_an_option_that_is_none_is_refused(function, tmp_path):
    with pytest.raises(TypeError, match="mask_folder"):
        function(tmp_path, tmp_path / "store", mask_folder=tmp_path)


def test_screen_evaluate_and_demo_configurations_name_their_functions_arguments():
    from ctvlp.demo import run_demo
    from ctvlp.evaluate import evaluate
    from ctvlp.page.inspection import inspect_store
    from ctvlp.screen import screen

    for name, function, words in [
        ("screen", screen, ["store=s", "checkpoint=c", "out=x"]),
        ("evaluate", evaluate, ["scores=s", "labels=l", "out=x"]),
        ("demo", run_demo, ["out=x"]),
        ("inspect", inspect_store, ["store=s", "out=x"]),
    ]:
        parameters = set(inspect.signature(function).parameters) - {"progress", "tell"}
        assert set(compose_config(name, words)) == parameters


def test_training_configuration_states_the_defaults():
    from ctvlp.configuration import build_model_config, build_settings
    from ctvlp.model import ModelConfig
    from ctvlp.settings import TrainingSettings

    config = compose_config("train", ["store=s", "out=x"])
    assert build_settings(config["training"]) == TrainingSettings()
    assert build_model_config(config["model"]) == ModelConfig()
    settings = set(asdict(ModelConfig())) - {"patch_by_anatomy"}
    assert set(config["model"]) - {"size"} == settings


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (config_dir() / "experiment").glob("*.yaml")))
def test_every_experiment_composes_and_changes_something(experiment):
    from ctvlp.configuration import build_model_config, build_settings
    from ctvlp.settings import TrainingSettings

    config = compose_config("train", ["store=s", "out=x", f"experiment={experiment}"])
    build_model_config(config["model"])
    assert build_settings(config["training"]) != TrainingSettings()


@pytest.mark.parametrize("size", ["bench", "tiny", "small", "base"])
def test_every_size_composes(size):
    from ctvlp.configuration import build_model_config

    config = compose_config("train", ["store=s", "out=x", f"model.size={size}", "model.depth=2"])
    assert build_model_config(config["model"]).depth == 2


def broken_nifti(folder: Path) -> None:
    (folder / "a.nii.gz").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["preprocess", "archive=nowhere", "masks=masks", "out=store"], "nowhere", id="missing-archive"),
        pytest.param(["preprocess", "archive=archive", "masks=nowhere", "out=store"], "nowhere", id="missing-masks"),
        pytest.param(["preprocess", "archive=archive", "masks=masks", "out=store"], "archive", id="empty-archive"),
        pytest.param(["preprocess", "archive=archive", "masks=masks", "out=file"], "file", id="output-is-a-file"),
        pytest.param(["preprocess", "archive=images", "masks=masks", "out=/proc/x/store"], "/proc", id="read-only"),
        pytest.param(["preprocess", "archive=archive", "out=store"], "masks", id="no-masks"),
        pytest.param(
            ["preprocess", "archive=archive", "masks=masks", "out=store", "vocabulary=ct99"], "ct99", id="vocabulary"
        ),
        pytest.param(["reports", "reports=nowhere.csv", "out=text"], "nowhere.csv", id="missing-reports"),
        pytest.param(["reports", "reports=table.csv", "out=text"], "study_id", id="missing-column"),
        pytest.param(["check", "store=nowhere"], "nowhere", id="missing-store"),
        pytest.param(["status", "store=nowhere"], "nowhere", id="status-missing-store"),
        pytest.param(["plan", "archive=nowhere", "out=s", "masks=masks"], "nowhere", id="plan-missing-archive"),
        pytest.param(["plan", "archive=archive", "out=s", "masks=masks"], "holds no DICOM", id="plan-empty-archive"),
        pytest.param(["recrop", "archive=archive", "out=nowhere"], "nowhere", id="recrop-missing-store"),
        pytest.param(
            ["preprocess", "archive=archive", "masks=masks", "out=s", "abnormal_rule=all"], "='all'", id="no-such-rule"
        ),
        pytest.param(
            ["preprocess", "archive=archive", "out=s", "masks=masks", "shard=0/4"], "shard=0/4", id="no-such-shard"
        ),
        pytest.param(["train", "store=nowhere", "out=run"], "nowhere", id="train-missing-store"),
        pytest.param(
            ["screen", "store=nowhere", "checkpoint=run", "out=screening"], "nowhere", id="screen-missing-store"
        ),
        pytest.param(["evaluate", "scores=no.parquet", "labels=l.csv", "out=m"], "no.parquet", id="missing-scores"),
        pytest.param(["simulate", "out=full", "studies=1"], "full", id="output-not-empty"),
        pytest.param(["simulate", "out=x", "studies=0"], "studies=0", id="no-study"),
        pytest.param(["simulate", "out=x", "site=C"], "C", id="unknown-site"),
    ],
)
def test_bad_input_gives_one_line_status_2_and_nothing_written(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("archive", "images", "masks", "full"):
        (tmp_path / folder).mkdir()
    broken_nifti(tmp_path / "images")
    (tmp_path / "full" / "kept.txt").write_text("kept")
    (tmp_path / "file").write_text("a file")
    (tmp_path / "table.csv").write_text("id,text\n1,Normal.\n")
    before = sorted(tmp_path.rglob("*"))
    assert main(words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ctvlp: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_unreadable_study_is_named_and_ends_with_status_1(tmp_path, capsys):
    archive, masks = tmp_path / "archive", tmp_path / "masks"
    archive.mkdir()
    masks.mkdir()
    broken_nifti(archive)
    broken_nifti(masks)
    assert main(["preprocess", f"archive={archive}", f"masks={masks}", f"out={tmp_path / 'store'}", "workers=1"]) == 1
    assert "1 failed" in capsys.readouterr().out
    assert "UNREADABLE" in (tmp_path / "store" / "failures.jsonl").read_text()


def test_commands_and_configuration_files_match():
    from ctvlp.cli import COMMANDS

    assert {path.stem for path in config_dir().glob("*.yaml")} == set(COMMANDS)
    for name in COMMANDS:
        assert isinstance(yaml.safe_load((config_dir() / f"{name}.yaml").read_text(encoding="utf-8")), dict)


def test_plan_and_status_tell_what_will_be_and_what_is_done(tmp_path, capsys):
    archive, masks, store = (tmp_path / name for name in ("archive", "masks", "store"))
    write_nifti(archive / "a.nii.gz", body(), canonical_affine())
    write_nifti(masks / "a.nii.gz", organ_labels(), canonical_affine())
    words = [f"archive={archive}", f"masks={masks}", f"out={store}"]
    assert main(["plan", *words, "trials=0"]) == 0
    assert "1 studies to do; of 1 sampled, 1 have a volume" in capsys.readouterr().out
    assert not store.exists()
    assert main(["preprocess", *words, "workers=0"]) == 0
    capsys.readouterr()
    assert main(["status", f"store={store}"]) == 0
    assert capsys.readouterr().out.startswith("1 done, 0 failed of 1 studies\n")


def test_gc_removes_what_a_study_was_before_its_source_changed(tmp_path, capsys):
    archive, masks, store = (tmp_path / name for name in ("archive", "masks", "store"))
    write_nifti(masks / "a.nii.gz", organ_labels(), canonical_affine())
    for seed in (0, 1):
        write_nifti(archive / "a.nii.gz", body(seed=seed), canonical_affine())
        assert main(["preprocess", f"archive={archive}", f"masks={masks}", f"out={store}", "workers=0"]) == 0
    assert len(list(store.glob("studies/*.old"))) == 1
    capsys.readouterr()
    assert main(["gc", f"store={store}"]) == 0
    assert capsys.readouterr().out.startswith("1 files removed")
    assert list(store.glob("studies/*.old")) == []
