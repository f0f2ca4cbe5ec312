"""From composed configuration to the plain dataclasses that training takes."""

from collections.abc import Mapping
from typing import Any

from ctvlp.augmentation import AugmentationSettings
from ctvlp.model import ModelConfig, build_config
from ctvlp.settings import PairingSettings, TrainingSettings


def build_model_config(values: Mapping[str, Any]) -> ModelConfig:
    """Build a model's configuration.

    Args:
        values: `size`, and values that differ from it; None leaves a value as the size has it.

    Raises:
        InputError: No size or value has this name.
    """
    changes = {key: value for key, value in values.items() if key != "size" and value is not None}
    return build_config(values["size"], **changes)


def build_settings(values: Mapping[str, Any]) -> TrainingSettings:
    """Build the settings of a training run; keys are those of `TrainingSettings`."""
    plain = dict(values)
    pairing = PairingSettings(**plain.pop("pairing"))
    augmentation = AugmentationSettings(**plain.pop("augmentation"))
    return TrainingSettings(pairing=pairing, augmentation=augmentation, **plain)
