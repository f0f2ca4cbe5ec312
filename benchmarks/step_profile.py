"""Where the time of a training step goes: by part, forward and backward, and against its matrix products alone."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch.autograd.profiler import record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import ctvlp.contrast
from ctvlp.learner import Learner

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}

MARK = "part: "
BACKWARD = "autograd::engine::evaluate_function: "
FUNCTIONS = {"pairing_targets": "pairing", "contrastive_loss": "loss", "target_entropy": "loss"}
"""Functions of `ctvlp.contrast` that are parts of their own."""
WAYS = ("forward", "backward")


def _attention_flops(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Of the CPU's fused attention, which torch does not count: two products."""
    batch, heads, rows, depth = query.shape
    return 2 * batch * heads * rows * key.shape[2] * (depth + value.shape[3])


def _attention_backward_flops(_: Tensor, query: Tensor, key: Tensor, value: Tensor, *__: Any, **___: Any) -> int:
    """Five products: the scores again, and the gradients of weights, values, queries and keys."""
    return 5 * _attention_flops(query, key, value) // 2


FLOPS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}
"""Matrix products, and how the multiplications and additions of each are counted."""


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes each matrix product (convolutions and fused attention too) of what runs under it.

    Attributes:
        calls: Operation and arguments, tensors by shape, stride and type, to how often.
        flops: Multiplications and additions of all of them.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: Counter[Any] = Counter()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = FLOPS.get(func.overloadpacket)
        if count is not None:
            self.calls[func, _frozen(args), _frozen(sorted((kwargs or {}).items()))] += 1
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out


class _Shape(NamedTuple):
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


def _frozen(value: Any) -> Any:
    """A value that can be a key: tensors by what their time depends on."""
    if isinstance(value, Tensor):
        return _Shape(tuple(value.shape), value.stride(), value.dtype, value.device)
    return tuple(_frozen(one) for one in value) if isinstance(value, list | tuple) else value


def _thawed(value: Any) -> Any:
    if isinstance(value, _Shape):
        room = 1 + sum((size - 1) * step for size, step in zip(value.shape, value.stride, strict=True))
        make = torch.randn if value.dtype.is_floating_point else torch.zeros
        return torch.as_strided(make(room, dtype=value.dtype, device=value.device), value.shape, value.stride)
    return [_thawed(one) for one in value] if isinstance(value, tuple) else value


def seconds_of_products(products: Products, rounds: int, clock: Clock = time.perf_counter) -> float:
    """Seconds of the same products with nothing between them: of each distinct one the fastest of some rounds (CPU)."""
    total = 0.0
    for (operation, args, kwargs), count in products.calls.items():
        given, named = [_thawed(one) for one in args], {name: _thawed(one) for name, one in kwargs}
        operation(*given, **named)
        total += count * min(seconds_of(lambda: operation(*given, **named), clock) for _ in range(rounds))  # noqa: B023
    return total


def seconds_of(work: Callable[[], Any], clock: Clock = time.perf_counter, device: torch.device | str = "cpu") -> float:
    """Seconds that some work takes, to the end of what it started on the device."""
    start = clock()
    work()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def product_speed(clock: Clock = time.perf_counter, edge: int = 1024, rounds: int = 10) -> float:
    """Multiplications and additions a second of a large square matrix product on the CPU."""
    one, other = (torch.randn(edge, edge) for _ in range(2))
    one @ other
    return 2 * edge**3 / min(seconds_of(lambda: one @ other, clock) for _ in range(rounds))


@contextmanager
def marked_parts(learner: Learner) -> Iterator[None]:
    """Name the parts of a step for the profiler while inside."""
    model: Any = learner.model
    vision = model.vision  # the crop encoder
    towers = {"text": model.text, "peer's text": learner.peer}
    modules = towers | {"stem": vision.stem, "blocks": vision.blocks, "pooling": model.pooling}
    with ExitStack() as stack:
        for part, module in modules.items():
            stack.enter_context(mock.patch.object(module, "forward", _marked(module.forward, part)))
        for name, part in FUNCTIONS.items():
            work = getattr(ctvlp.contrast, name)
            stack.enter_context(mock.patch.object(ctvlp.contrast, name, _marked(work, part)))
        stack.enter_context(mock.patch.object(learner, "update", _marked(learner.update, "optimiser")))
        yield


def _marked(work: Callable[..., Any], part: str) -> Callable[..., Any]:
    def marked(*args: Any, **kwargs: Any) -> Any:
        with record_function(MARK + part):
            return work(*args, **kwargs)

    return marked


def profile_parts(work: Callable[[], Any]) -> tuple[dict[tuple[str, str], float], float, float]:
    """Seconds of each part of a step on the CPU.

    Work of the backward pass belongs to the part that did the forward operation: both carry one number.

    Returns:
        (part, "forward" or "backward") to seconds; seconds of the matrix products in it; seconds of the whole.
    """
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler, record_function("whole"):
        work()
    events = sorted(profiler.events(), key=lambda event: event.time_range.start)
    makers: dict[int, str] = {}
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    products = whole = 0.0
    names = {str(packet).replace(".", "::") for packet in FLOPS}
    for event in events:
        spent, above = event.time_range.elapsed_us() / 1e6, list(_names_above(event))
        part = next((name.removeprefix(MARK) for name in above if name.startswith(MARK)), "rest")
        if event.name == "whole":
            whole = spent
        elif event.name.startswith(MARK):
            seconds[event.name.removeprefix(MARK), "forward"] += spent if part == "rest" else 0.0
        elif event.name.startswith(BACKWARD):
            seconds[makers.get(event.sequence_nr, "rest"), "backward"] += spent
        elif event.sequence_nr >= 0 and not any(name.startswith(BACKWARD) for name in above):
            makers[event.sequence_nr] = part  # the last one before the next number made the graph's node
        if event.name in names and not names.intersection(above):
            products += spent
    return dict(seconds), products, whole


def _names_above(event: Any) -> Iterator[str]:
    """Names of what an event lies in, the nearest first."""
    while (event := event.cpu_parent) is not None:
        yield event.name


def print_parts(seconds: Mapping[tuple[str, str], float], whole: float) -> None:
    """Print a table of parts, as shares of the whole."""
    parts = sorted({part for part, _ in seconds}, key=lambda part: -sum(seconds.get((part, w), 0) for w in WAYS))
    for part in parts:
        shares = [100 * seconds.get((part, way), 0.0) / whole for way in WAYS]
        print(f"  {part:11s} forward {shares[0]:5.1f} %, backward {shares[1]:5.1f} %")
    print(f"  {'else':11s} {100 * (1 - sum(seconds.values()) / whole):5.1f} %")
