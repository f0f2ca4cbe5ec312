"""Settings of a run: each value is checked when they are built, and refused in one line that names it."""

from dataclasses import asdict, replace

import pytest

from ctvlp.augmentation import AugmentationSettings
from ctvlp.settings import PairingSettings, TrainingSettings
from preprocess.errors import InputError

WRONG = [
    ("epochs", 0, "greater than 0"),
    ("epochs", 1.5, "a valid integer"),
    ("epochs", "abc", "a valid integer"),
    ("epochs", None, "a valid integer"),
    ("batch_studies", 0, "greater than 0"),
    ("balance", 1.0, "less than 1"),
    ("balance", -0.1, "greater than or equal to 0"),
    ("learning_rate", 0.0, "greater than 0"),
    ("learning_rate", float("nan"), "a finite number"),
    ("final_rate", 2.0, "less than or equal to 1"),
    ("warmup", -1.0, "greater than or equal to 0"),
    ("weight_decay", -1.0, "greater than or equal to 0"),
    ("clip", 0.0, "greater than 0"),
    ("clip", None, "a valid number"),
    ("contrastive_weight", -1.0, "greater than or equal to 0"),
    ("alignment_weight", -1.0, "greater than or equal to 0"),
    ("reduction", "avg", "'mean' or 'sum'"),
    ("silence", "none", "'masked', 'negative_if_normal' or 'negative'"),
    ("text", "foo", "'raw', 'canonical' or 'mixed'"),
    ("unmentioned", "norml", "'leave_out' or 'normal'"),
    ("average", 2.0, "less than or equal to 1"),
    ("pairing", 3, "an instance of PairingSettings"),
    ("augmentation", None, "an instance of AugmentationSettings"),
    ("precision", "fp16", "'float32' or 'bf16'"),
    ("chunk_crops", -1, "greater than or equal to 0"),
    ("chunk_crops", 2.5, "a valid integer"),
    ("sharded", "no", "a valid boolean"),
    ("shifts", 0, "greater than 0"),
    ("memory_gb", -1.0, "greater than or equal to 0"),
    ("loader_workers", -1, "greater than or equal to 0"),
    ("loader_start", "thread", "'spawn', 'forkserver' or 'fork'"),
    ("loader_ahead", 0, "greater than 0"),
    ("loader_timeout_s", 0, "greater than 0"),
    ("shuffle_reports", "maybe", "a valid boolean"),
    ("checkpoint_epochs", 0, "greater than 0"),
    ("checkpoint_minutes", -1, "greater than or equal to 0"),
    ("validate_epochs", -1, "greater than or equal to 0"),
    ("tracker", "mlflow", "'tensorboard' or 'wandb'"),
    ("seed", -1, "greater than or equal to 0"),
    ("seed", 2**63, "less than 9223372036854775808"),
    ("threads", 0, "greater than 0"),
]

WRONG_PAIRING = [
    ("mode", "fvlm", "'patient', 'normal' or 'disease'"),
    ("mix", "mean", "'sum' or 'mixture'"),
    ("overlap_weight", -0.1, "greater than or equal to 0"),
    ("self_weight", 1.5, "less than or equal to 1"),
    ("peer_temperature", 0.0, "greater than 0"),
    ("peer_momentum", 1.5, "less than or equal to 1"),
    ("use_findings", "maybe", "a valid boolean"),
    ("use_peer", "no", "a valid boolean"),
]


WRONG_AUGMENTATION = [
    ("offset_hu", -3.0, "greater than or equal to 0"),
    ("contrast", "x", "a valid number"),
    ("noise_hu", -3.0, "greater than or equal to 0"),
    ("size", -1.0, "greater than or equal to 0"),
    ("drop_tokens", 1.0, "less than 1"),
]


def cases(table):
    return [pytest.param(*row, id=f"{row[0]}={row[1]}") for row in table]


@pytest.mark.parametrize(("name", "value", "expected"), cases(WRONG))
def test_a_setting_of_a_run_that_cannot_be_is_refused(name, value, expected):
    with pytest.raises(InputError) as caught:
        replace(TrainingSettings(), **{name: value})
    assert str(caught.value) == f"training.{name}={value!r}: should be {expected}"


@pytest.mark.parametrize(("name", "value", "expected"), cases(WRONG_PAIRING))
def test_a_setting_of_the_pairing_that_cannot_be_is_refused(name, value, expected):
    with pytest.raises(InputError) as caught:
        PairingSettings(**{name: value})
    assert str(caught.value) == f"training.pairing.{name}={value!r}: should be {expected}"


@pytest.mark.parametrize(("name", "value", "expected"), cases(WRONG_AUGMENTATION))
def test_a_setting_of_the_augmentation_that_cannot_be_is_refused(name, value, expected):
    with pytest.raises(InputError) as caught:
        AugmentationSettings(**{name: value})
    assert str(caught.value) == f"training.augmentation.{name}={value!r}: should be {expected}"


def test_no_setting_is_left_unchecked():
    assert {name for name, _, _ in WRONG} == set(asdict(TrainingSettings()))
    assert {name for name, _, _ in WRONG_PAIRING} == set(asdict(PairingSettings()))
    assert {name for name, _, _ in WRONG_AUGMENTATION} == set(asdict(AugmentationSettings()))


@pytest.mark.parametrize(
    "changes",
    [
        {"balance": 0.0, "warmup": 1.0, "final_rate": 0.0, "average": 0.0, "weight_decay": 0.0},
        {"learning_rate": 1, "clip": 5, "threads": 2, "tracker": "wandb", "seed": 2**63 - 1},
    ],
    ids=["bounds", "whole numbers and options"],
)
def test_values_that_can_be_are_kept_as_given(changes):
    settings = TrainingSettings(**changes)
    assert {name: getattr(settings, name) for name in changes} == changes
