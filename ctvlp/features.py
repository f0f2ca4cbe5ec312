"""Features of a batch whose gradient comes later: with their graph kept, or computed again in chunks.

The second way is gradient caching (Gao et al. 2021, arXiv 2101.06983): the features of all chunks are computed without
a graph, the loss of the whole batch gives their gradient, and each chunk is encoded once more, with its graph and the
same random numbers, to send its share of that gradient through the encoder. Memory is that of one chunk.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ctvlp.settings import Precision


@dataclass(frozen=True)
class Piece:
    """Some of a batch's features, and how they are computed.

    Attributes:
        rows: (m,) int64, their places among the batch's features.
        encode: Gives them, (m, D).
    """

    rows: Tensor
    encode: Callable[[], Tensor]


class Features:
    """The features of a batch, cut off from the encoder until their gradient is known.

    Args:
        pieces: Cover each row once.
        shape: (n, D) of all features.
        device: Where they are computed.
        precision: Of the encoder; the features are float32.
        twice: Compute them without a graph, and once more in `backward`.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        shape: tuple[int, int],
        *,
        device: torch.device,
        precision: Precision = "float32",
        twice: bool = False,
    ) -> None:
        self._pieces, self._device, self._precision, self._twice = pieces, device, precision, twice
        self._graphs: list[Tensor] = []
        self._states: list[list[Tensor]] = []
        self.values = torch.zeros(shape, device=device)
        """(n, D) float32 without a graph."""
        for piece in pieces:
            if twice:
                self._states.append(_random_state(device))
            with torch.set_grad_enabled(not twice):
                encoded = self._encode(piece)
            self.values[piece.rows] = encoded.detach()
            if not twice:
                self._graphs.append(encoded)

    def backward(self, gradient: Tensor) -> None:
        """Send the gradient of `values`, (n, D), through the encoder; once."""
        for number, piece in enumerate(self._pieces):
            if self._twice:
                _set_random_state(self._states[number], self._device)
                encoded = self._encode(piece)
            else:
                encoded = self._graphs[number]
            if encoded.requires_grad:
                torch.autograd.backward(encoded, gradient[piece.rows])
        self._graphs = []

    def _encode(self, piece: Piece) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bf16"):
            return piece.encode().float()


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Let torch draw from `seed` within the block; its own random state stays as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _random_state(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _set_random_state(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
