"""From the command line to settings: what is wrong is told in one line, before anything is read or written."""

import pytest

from ctvlp.cli import EXIT_INPUT, compose_config, main
from ctvlp.configuration import build_model_config, build_settings
from preprocess.errors import InputError


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("training.epochs=0", "training.epochs=0: should be greater than 0"),
        ("training.learning_rate=fast", "training.learning_rate='fast': should be a valid number"),
        ("training.clip=null", "training.clip=None: should be a valid number"),
        ("training.pairing.use_peer=no", "training.pairing.use_peer='no': should be a valid boolean"),
        ("training=3", "training=3: should be settings, given as training.NAME=VALUE"),
        ("training.pairing=null", "training.pairing=None: should be settings, given as training.pairing.NAME=VALUE"),
        ("+training.foo=3", "training setting 'foo' is unknown; known: alignment_weight, "),
        ("+training.pairing.foo=3", "training.pairing setting 'foo' is unknown; known: mix, mode, "),
        ("+training.augmentation.foo=3", "training.augmentation setting 'foo' is unknown; known: contrast, "),
    ],
)
def test_settings_of_a_run_that_cannot_be_are_refused(word, message):
    values = compose_config("train", ["store=s", "out=x", word])["training"]
    with pytest.raises(InputError) as caught:
        build_settings(values)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model=base", "model='base': should be settings, given as model.NAME=VALUE"),
        ("model.size=[base]", "model size ['base'] is unknown; known: bench, tiny, small, base"),
        ("model.patch_voxels=8", "model.patch_voxels=8: should be a valid tuple"),
        ("model.heads=5", "model.heads=5: should be a divisor of width=96"),
    ],
)
def test_a_model_that_cannot_be_is_refused(word, message):
    values = compose_config("train", ["store=s", "out=x", word])["model"]
    with pytest.raises(InputError) as caught:
        build_model_config(values)
    assert str(caught.value) == message


@pytest.mark.parametrize("word", ["training.precision=fp16", "training.pairing.mode=fvlm", "model.text_pooling=max"])
def test_the_command_line_tells_it_in_one_line_and_makes_no_folder(tmp_path, capsys, word):
    (tmp_path / "studies").mkdir()
    status = main(["train", f"store={tmp_path}", f"out={tmp_path / 'run'}", word])
    told = capsys.readouterr().err.splitlines()
    name, _, value = word.partition("=")
    assert (status, len(told)) == (EXIT_INPUT, 1)
    assert told[0].startswith(f"ctvlp: {name}={value!r}: should be ")
    assert [path.name for path in tmp_path.iterdir()] == ["studies"]


def test_experiment_fvlm_adds_the_losses_of_anatomies():
    settings = build_settings(compose_config("train", ["store=s", "out=x", "experiment=fvlm"])["training"])
    assert (settings.reduction, settings.pairing.mode, settings.unmentioned) == ("sum", "normal", "normal")
