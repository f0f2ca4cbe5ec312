"""What values a setting may have: types with bounds, and the check of a dataclass of settings against its types."""

from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from preprocess.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def check_values(settings: "DataclassInstance", place: str) -> None:
    """Refuse settings of which a value is not of its field's type, or beyond the bounds that the type states.

    Types are taken strictly: a whole number is a float, but "3" is no number, 1.0 no whole one, and "no" not false.

    Args:
        settings: A dataclass.
        place: Where its fields stand in the configuration, such as "training.pairing".

    Raises:
        InputError: Names the first such field, its value, and what is expected.
    """
    values = {entry.name: getattr(settings, entry.name) for entry in fields(settings)}
    try:
        _schema(type(settings)).model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name, expected = str(first["loc"][0]), first["msg"].removeprefix("Input ")
        raise InputError(f"{place}.{name}={values[name]!r}: {expected}") from error


def check_names(kind: "type[DataclassInstance]", names: Iterable[str], place: str) -> None:
    """Refuse names that a dataclass of settings has no field for.

    Raises:
        InputError: Names the first of them, and those that exist.
    """
    known = sorted(entry.name for entry in fields(kind))
    if unknown := sorted(set(names).difference(known)):
        raise InputError(f"{place} setting {unknown[0]!r} is unknown; known: {', '.join(known)}")


@cache
def _schema(kind: "type[DataclassInstance]") -> type[BaseModel]:
    """What checks the fields of a dataclass, each by itself."""
    types: dict[str, Any] = {entry.name: (entry.type, ...) for entry in fields(kind)}
    return create_model(kind.__name__, __config__=ConfigDict(strict=True, allow_inf_nan=False), **types)
