"""Joined projections with biases, and those of linear attention: the layers' own bits, and undone without a trace."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest

from tests.kernels import gpu
from zmlx_bench.measured.contract import BindRequest, Unavailable

kernel = gpu.module("projections_joined.kernel")
REQUEST = BindRequest(("qkv",), "stock", "cpu")
NAMES = kernel.PROJECTIONS


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def module(names: tuple[str, ...], *, bias: bool = False, **packing: Any) -> nn.Module:
    """A module with a projection of another width under each name, packed alike."""
    made, key = nn.Module(), mx.random.key(3)
    for index, name in enumerate(names):
        layer = nn.Linear(64, 8 * (index + 1), bias=bias)
        drawn = {part: mx.random.normal(value.shape, key=key) for part, value in layer.parameters().items()}
        layer.update({part: value.astype(mx.bfloat16) for part, value in drawn.items()})
        made[name] = layer.to_quantized(**{"group_size": 32, "bits": 4, **packing})
    return made


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_layers_own_bits(names: tuple[str, ...], bias: bool, bits: int) -> None:
    made = module(names, bias=bias, bits=bits)
    x = mx.random.normal((2, 1, 64), key=mx.random.key(1)).astype(mx.bfloat16)
    stock = [made[name](x) for name in names]
    bound = kernel.bind(made, REQUEST)
    assert all(mx.array_equal(a, b).item() for a, b in zip(bound.call(x=x), stock, strict=True))
    bound.undo()
    assert all(mx.array_equal(made[name](x), part).item() for name, part in zip(names, stock, strict=True))


def test_what_cannot_be_joined_is_refused_in_a_sentence() -> None:
    names = NAMES[0]
    with pytest.raises(Unavailable, match="projections_joined needs affine quantised projections"):
        kernel.bind(module(names, mode="mxfp4"), REQUEST)
    mixed = module(names)
    mixed[names[1]] = module(names, bits=8)[names[1]]
    with pytest.raises(Unavailable, match="packed in different ways, or not all with a bias, cannot be joined"):
        kernel.bind(mixed, REQUEST)
    partly = module(names)
    partly[names[2]] = module(names, bias=True)[names[2]]
    with pytest.raises(Unavailable, match="not all with a bias"):
        kernel.bind(partly, REQUEST)
