import subprocess
import sys
from pathlib import Path

import pytest

from ctvlp import cli, progress
from ctvlp.cli import COMMANDS, EXIT_INPUT, compose_config, config_dir, main
from preprocess.errors import InputError


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_its_keys(name, capsys):
    assert main([name, "--help"]) == 0
    assert "usage: ctvlp " + name in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_literal_keys_stand_in_the_configuration(name):
    text = (config_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    keys = {line.split(":")[0].strip('"') for line in text.splitlines() if line and line[0] not in "# -"}
    assert {key.partition(".")[0] for key in COMMANDS[name].literal} <= keys


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["simulat", "out=x"], "no command 'simulat' (did you mean 'simulate'?)", id="command"),
        pytest.param(["simulate", "out=x", "studie=3"], "no key 'studie' (did you mean 'studies'?)", id="key"),
        pytest.param(
            ["train", "store=s", "out=x", "training.lerning_rate=1"],
            "(did you mean 'training.learning_rate'?)",
            id="key-in-a-group",
        ),
        pytest.param(
            ["train", "store=s", "out=x", "learning_rate=1"],
            "no key 'learning_rate' (did you mean 'training.learning_rate'?)",
            id="group-forgotten",
        ),
        pytest.param(["train", "experimen=clip"], "(did you mean 'experiment'?)", id="experiment-key"),
        pytest.param(
            ["train", "store=s", "out=x", "experiment=cilp"],
            "no experiment 'cilp' (did you mean 'clip'?); known: clip, fvlm, unlabelled",
            id="experiment",
        ),
        pytest.param(["train", "store=s", "out=x", "experiment=null"], "NoneType", id="no-experiment"),
        pytest.param(["simulate"], "out= is required", id="missing"),
        pytest.param(["simulate", "out"], "'out' is not key=value", id="no-equals"),
        pytest.param(["simulate", "out=x", "studies=[1"], "studies=[1", id="broken-value"),
    ],
)
def test_wrong_words_give_one_line_and_status_2(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value",
    ["/a b/ü=1", "~/x,y", "s3://bucket/key?versionId=3&a=b", "[x]", "${oc.env:HOME}", "a'b\"c", "null", "C:\\x"],
)
def test_paths_are_taken_literally(value):
    assert compose_config("check", [f"store={value}"])["store"] == value
    words = ["store=s", "out=x", f"text_cache={value}", f"model.text_encoder={value}", "model.depth=3"]
    config = compose_config("train", words)
    assert (config["text_cache"], config["model"]["text_encoder"], config["model"]["depth"]) == (value, value, 3)


def test_of_a_machines_processes_one_tells_what_all_meet(capsys, monkeypatch):
    told = []
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert main(["train", "out=x"]) == 2
        told.append(capsys.readouterr().err)
    assert told == ["ctvlp: train: store= is required; see ctvlp train --help\n", ""]


def test_a_bar_counts_no_rate_for_what_was_done_before(monkeypatch):
    bars = []

    class Bar(progress.tqdm):
        def __init__(self, **options):
            super().__init__(**options)
            bars.append(self)

    monkeypatch.setattr(progress, "tqdm", Bar)
    with progress.progress_bar("train", "step") as report:
        report(26, 40)
        report(27, 40)
        assert (bars[0].n - bars[0].initial, bars[0].total) == (2, 40)


def test_values_of_other_keys_are_typed():
    config = compose_config("simulate", ["out=x", "studies=3", "site=B", "workers=null"])
    assert (config["studies"], config["site"], config["workers"]) == (3, "B", None)


def test_missing_required_key_names_the_command():
    with pytest.raises(InputError, match=r"check: store= is required; see ctvlp check --help"):
        compose_config("check", [])


def test_help_and_name_check_import_nothing_heavy():
    code = (
        "import sys; from ctvlp.cli import main; main(['--help']); main(['simulate', 'out=x', 'studie=3']);"
        "heavy = {'torch', 'monai', 'numba', 'transformers', 'dask', 'zarr', 'pandas', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1], capture_output=True)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ctvlp ")


def test_numba_without_a_folder_to_write_to_is_told_what_to_set(monkeypatch, capsys):
    def refuse(words):
        raise RuntimeError("cannot cache function '_ones': no locator available for file '/opt/ctvlp/pairing_rows.py'")

    monkeypatch.setattr(cli, "_run", refuse)
    assert main(["doctor"]) == EXIT_INPUT
    assert capsys.readouterr().err.strip() == (
        "ctvlp: numba may write nowhere what it compiles; set NUMBA_CACHE_DIR to a folder for it"
    )
