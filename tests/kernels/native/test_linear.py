"""native_linear on layers of its own: with a bias, and with one matrix a head."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.mla import MultiLinear

from zmlx_bench.measured import loader
from zmlx_bench.measured.contract import BindRequest, Unavailable

from .made import DTYPES, assert_same_bits, values


@pytest.fixture
def bound(native: ModuleType) -> Any:
    return lambda module: loader.load_bind("native_linear")(module, BindRequest(("linear",), "stock", "cpu")).call


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("bias", [False, True])
def test_a_dense_layer_with_and_without_bias(bound: Any, dtype: str, bias: bool) -> None:
    layer = nn.Linear(128, 96, bias=bias)
    layer.set_dtype(DTYPES[dtype])
    quantized = layer.to_quantized(group_size=32, bits=8)
    x = values(np.random.default_rng(0), (2, 3, 128), DTYPES[dtype], "ordinary")
    assert_same_bits(bound(quantized)(x=x), quantized(x))


@pytest.mark.parametrize("transpose", [True, False])
@pytest.mark.parametrize("heads", [1, 4])
def test_one_matrix_a_head(bound: Any, transpose: bool, heads: int) -> None:
    layer = MultiLinear(64, 128, 4)
    layer.set_dtype(mx.bfloat16)
    quantized = layer.to_quantized(group_size=64, bits=4)
    inputs = 64 if transpose else 128
    x = values(np.random.default_rng(0), (2, heads, 3, inputs), mx.bfloat16, "ordinary")
    assert_same_bits(bound(quantized)(x, transpose), quantized(x, transpose))


def test_a_layer_that_is_not_quantised_is_refused(bound: Any) -> None:
    with pytest.raises(Unavailable, match="the linear layer is not quantised"):
        bound(nn.Linear(64, 64))
