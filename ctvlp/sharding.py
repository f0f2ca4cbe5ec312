"""Weights in parts (fully sharded data parallel): each rank keeps its share of every block of the image encoder.

A share is that of a block's weights, of their gradients, of the optimiser's state and of the moving average. Ranks put
a block together just before it runs, so that all ranks have to run the blocks equally often (see
`ctvlp.model.AnatomyCLIP.encode_nothing`). Without shards, the functions here do what plain tensors need.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from ctvlp.transformer import Transformer


def shard_blocks(blocks: Transformer, device: torch.device) -> None:
    """Leave each rank its share of the blocks' weights; their gradients become sums over ranks on the way back."""
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for module in (*blocks, blocks):
        part = fully_shard(module, mesh=mesh, reshard_after_forward=True)
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)  # gloo cannot scale on the way


@contextmanager
def gathered_blocks(model: nn.Module) -> Iterator[None]:
    """Keep all weights on every rank within the block, so that each can encode for itself; no gradients."""
    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def split_shards(parameters: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Tell parameters that every rank has whole from those in shards; no operation takes both at once."""
    found = list(parameters)
    return [p for p in found if not isinstance(p, DTensor)], [p for p in found if isinstance(p, DTensor)]


def clip_gradients(parameters: Iterable[nn.Parameter], most: float) -> float:
    """Scale all gradients down to a norm of at most `most`, shards included.

    Returns:
        The norm before.
    """
    kinds = [kind for kind in split_shards(p for p in parameters if p.grad is not None) if kind]
    norms = [get_total_norm([p.grad for p in kind if p.grad is not None]) for kind in kinds]
    norm = torch.linalg.vector_norm(torch.stack([n.full_tensor() if isinstance(n, DTensor) else n for n in norms]))
    for kind in kinds:
        clip_grads_with_norm_(kind, most, norm)
    return float(norm)


def gather_shards(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put values together from all ranks, those in shards in main memory; all ranks call this."""
    return {name: value.full_tensor().cpu() if isinstance(value, DTensor) else value for name, value in values.items()}


def take_shards(values: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take this rank's share of whole values, where the value `like` it is in shards."""
    return {name: _share(value, like[name]) for name, value in values.items()}


def _share(value: Tensor, like: Tensor) -> Tensor:
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
