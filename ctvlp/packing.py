"""A batch as one block of memory, so that it goes from a loader's process to the training process in one piece.

Tensor by tensor, each would take a file handle of its own, and some hundred of them a batch are soon too many.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

ALIGNMENT = 64
"""Tensors start at multiples of this many bytes."""


@dataclass(frozen=True)
class Packed:
    """A value whose tensors lie in one block.

    Attributes:
        block: (bytes,) uint8.
        value: The value, with a `_Place` where it had a tensor.
    """

    block: Tensor
    value: Any

    def pin_memory(self) -> "Packed":
        """Return the block in page-locked memory, from which copies to a GPU need not be waited for."""
        return replace(self, block=self.block.pin_memory())


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in the block."""

    start: int
    stop: int
    shape: tuple[int, ...]
    dtype: torch.dtype


def pack(value: Any) -> Packed:
    """Copy the tensors of a value into one block.

    Args:
        value: Dataclasses, dictionaries and CPU tensors within each other; anything else stays as it is.
    """
    tensors: list[Tensor] = []
    places: list[_Place] = []

    def place(tensor: Tensor) -> _Place:
        start = -(-places[-1].stop // ALIGNMENT) * ALIGNMENT if places else 0
        tensors.append(tensor)
        places.append(_Place(start, start + tensor.nbytes, tuple(tensor.shape), tensor.dtype))
        return places[-1]

    skeleton = _changed(value, Tensor, place)
    block = torch.empty(places[-1].stop if places else 0, dtype=torch.uint8)
    for tensor, where in zip(tensors, places, strict=True):
        _view(block, where).copy_(tensor)
    return Packed(block, skeleton)


def unpack(packed: Packed) -> Any:
    """Return the value, its tensors as views of the block."""
    return _changed(packed.value, _Place, lambda place: _view(packed.block, place))


def _view(block: Tensor, place: _Place) -> Tensor:
    return block[place.start : place.stop].view(place.dtype).view(place.shape)


def _changed(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """Return a copy of a value in which everything of a kind went through `change`."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {key: _changed(entry, kind, change) for key, entry in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        entries = {field.name: getattr(value, field.name) for field in fields(value)}
        return replace(value, **{name: _changed(entry, kind, change) for name, entry in entries.items()})
    return value
