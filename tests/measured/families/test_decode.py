"""The shorter ways of a decode step say what the modules themselves say."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.cache import KVCache, RotatingKVCache

from zmlx_bench.measured.families.decode import append, projection
from zmlx_bench.measured.host import replace_call


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def draw(*shape: int, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("make", [KVCache, lambda: RotatingKVCache(8)])
@pytest.mark.parametrize("prompt", [1, 254, 255, 256, 257])
def test_a_cache_grows_as_by_itself(make: type[KVCache], prompt: int) -> None:
    ours, theirs = make(), make()
    for step in range(6):
        length = prompt if step == 0 else 1
        keys, values = draw(2, 3, length, 4, seed=step), draw(2, 3, length, 5, seed=step + 100)
        for got, wanted in zip(append(ours, keys, values), theirs.update_and_fetch(keys, values), strict=True):
            assert got.shape == wanted.shape
            assert mx.array_equal(got, wanted).item()
        assert ours.offset == theirs.offset
        assert mx.array_equal(ours.keys, theirs.keys).item()
        assert mx.array_equal(ours.values, theirs.values).item()


def test_a_projection_is_the_layers_own_and_follows_a_kernel_plugged_in_later() -> None:
    layer = nn.QuantizedLinear(64, 32, bias=False)
    x = draw(1, 1, 64)
    project = projection(layer)
    assert mx.array_equal(project(x), layer(x)).item()
    undo = replace_call(layer, lambda x: x * 2)
    assert mx.array_equal(project(x), x * 2).item()
    undo()
    assert mx.array_equal(project(x), layer(x)).item()


def test_other_layers_are_left_alone() -> None:
    for layer in (nn.Linear(64, 32), nn.QuantizedLinear(64, 32, bias=True)):
        assert projection(layer) is layer
