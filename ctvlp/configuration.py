"""From composed configuration to the plain dataclasses that training takes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ctvlp.augmentation import AugmentationSettings
from ctvlp.bounds import check_names
from ctvlp.model import ModelConfig, build_config
from ctvlp.settings import PairingSettings, TrainingSettings
from preprocess.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")


def build_model_config(values: Mapping[str, Any]) -> ModelConfig:
    """Build a model's configuration.

    Args:
        values: `size`, and values that differ from it; None leaves a value as the size has it.

    Raises:
        InputError: No size or value has this name, or a value cannot be.
    """
    plain = _plain(values, "model")
    return build_config(plain.pop("size"), **{key: value for key, value in plain.items() if value is not None})


def build_settings(values: Mapping[str, Any]) -> TrainingSettings:
    """Build the settings of a training run; keys are those of `TrainingSettings`.

    Raises:
        InputError: No setting has this name, or a value cannot be.
    """
    plain = _plain(values, "training")
    plain["pairing"] = _build(PairingSettings, plain["pairing"], "training.pairing")
    plain["augmentation"] = _build(AugmentationSettings, plain["augmentation"], "training.augmentation")
    return _build(TrainingSettings, plain, "training")


def _build(kind: type[Settings], values: Any, place: str) -> Settings:
    plain = _plain(values, place)
    check_names(kind, plain, place)
    return kind(**plain)


def _plain(values: Any, place: str) -> dict[str, Any]:
    """Return a part of the configuration; where one value stands in place of the whole part, it is refused."""
    if not isinstance(values, Mapping):
        raise InputError(f"{place}={values!r}: should be settings, given as {place}.NAME=VALUE")
    return dict(values)
