"""The processes of one run, its ranks: which one this is, and the few things that they tell each other."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor, nn

from ctvlp.sharding import split_shards
from preprocess.errors import InputError

ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class Ranks:
    """The place of this process among the processes of a run.

    Every method is a collective: all ranks call it, in the same order. With one rank nothing is sent.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def wait(self) -> None:
        """Go on once every rank is here."""
        if self.count > 1:
            dist.barrier()

    def gather_equal(self, values: Tensor) -> Tensor:
        """Stack tensors of one shape from all ranks, (count, ...)."""
        if self.count == 1:
            return values.unsqueeze(0)
        found = [torch.empty_like(values) for _ in range(self.count)]
        dist.all_gather(found, values.contiguous())
        return torch.stack(found)

    def gather_rows(self, rows: Tensor, counts: Sequence[int]) -> list[Tensor]:
        """Return the rows of every rank; no gradient flows through.

        Args:
            rows: (n, ...), n differing between ranks; the rest of the shape and the type are equal.
            counts: Rows of each rank, known to all.
        """
        if self.count == 1:
            return [rows]
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        return [found[:count] for found, count in zip(self.gather_equal(padded), counts, strict=True)]

    def gather_values(self, value: ValueT) -> list[ValueT]:
        """Return a plain value of every rank; slow, for what happens once an epoch."""
        if self.count == 1:
            return [value]
        found: list[ValueT | None] = [None] * self.count
        dist.all_gather_object(found, value)
        return [entry for entry in found if entry is not None]

    def largest(self, value: int, device: torch.device) -> int:
        """Return the largest of the ranks' values."""
        return int(self.gather_equal(torch.tensor(value, device=device)).max())

    def add_gradients(self, parameters: Iterable[nn.Parameter], further: Tensor) -> Tensor:
        """Replace each parameter's gradient by its sum over ranks, by one message; those of shards are sums already.

        A parameter without a gradient on any rank keeps none, so that the optimiser leaves it alone, as with one rank.

        Args:
            parameters: The same ones in the same order on every rank.
            further: (m,) float32 values to be added up along with the gradients.

        Returns:
            (m,) sums of the further values.
        """
        if self.count == 1:
            return further
        mine = [p for p in split_shards(parameters)[0] if p.requires_grad]
        present = torch.tensor([float(p.grad is not None) for p in mine], device=further.device)
        gradients = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten().float() for p in mine]
        flat = torch.cat([*gradients, present, further])
        dist.all_reduce(flat)
        *summed, present, sums = torch.split(flat, [*(p.numel() for p in mine), len(mine), len(further)])
        for p, gradient, anywhere in zip(mine, summed, (present > 0).tolist(), strict=True):
            p.grad = gradient.view_as(p).to(p.dtype) if anywhere else None
        return sums


ALONE = Ranks()
"""One process that is the whole run."""


def join_ranks(device: str) -> tuple[Ranks, torch.device]:
    """Find this process's place among those that `torchrun` started, and the device that it works on.

    Sends and receives by NCCL between GPUs and by gloo between CPUs. Without `torchrun` the run is this process alone.

    Args:
        device: As the user names it; with several processes `cuda` is one GPU each.

    Raises:
        InputError: There is no such device.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InputError(f"device={device}: should be cpu, cuda, or one GPU such as cuda:1")
    wanted = torch.device(device)
    if wanted.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device={device}: torch finds no CUDA device here; see ctvlp doctor")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE, wanted
    state = PartialState(cpu=wanted.type == "cpu")
    return Ranks(state.process_index, state.num_processes), state.device


def is_first() -> bool:
    """Whether this process is the one that speaks, of those that `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


def leave_ranks() -> None:
    """End the connection between the processes of a run, once all of them are done."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
