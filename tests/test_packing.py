"""Packing: what comes out is what went in, as views of one block."""

from dataclasses import dataclass

import pytest
import torch
from small_batches import batch_of, contents
from small_store import small_store

from ctvlp.packing import pack, unpack


@dataclass(frozen=True)
class Pair:
    first: object
    second: object


DTYPES = [torch.bool, torch.uint8, torch.int16, torch.float16, torch.float32, torch.int64]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (0, 4), (5, 1, 3)], ids=str)
def test_every_kind_of_tensor_comes_back(dtype, shape):
    odd = torch.arange(7, dtype=torch.uint8)  # so that what follows would start at an odd place
    tensor = torch.randint(0, 2, shape).to(dtype)
    back = unpack(pack(Pair(odd, {"deep": Pair("word", tensor)})))
    assert torch.equal(back.first, odd)
    assert back.second["deep"].first == "word"
    assert back.second["deep"].second.dtype == dtype
    assert torch.equal(back.second["deep"].second, tensor)


def test_a_tensor_that_is_no_row_of_memory_comes_back():
    tensor = torch.arange(12).reshape(3, 4).T[::2]
    assert torch.equal(unpack(pack({"it": tensor}))["it"], tensor)


@pytest.mark.parametrize("value", [{}, None, ("a", 3), Pair(1, {"b": "c"})], ids=str)
def test_a_value_without_tensors_comes_back(value):
    packed = pack(value)
    assert len(packed.block) == 0
    assert unpack(packed) == value


def test_a_batch_lies_in_one_block():
    batch = batch_of(small_store(4))
    packed = pack(batch)
    back = unpack(packed)
    assert contents(back) == contents(batch)
    start, stop = packed.block.data_ptr(), packed.block.data_ptr() + len(packed.block)
    for part in back.anatomies.values():
        for tensor in (part.image.patches, part.image.lengths, part.labels, part.uncertain):
            assert start <= tensor.data_ptr() < stop
