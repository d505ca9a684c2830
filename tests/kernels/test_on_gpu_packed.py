"""The kernels over packed weights on a real GPU against the unpatched model's steps; `pytest -m gpu`, Metal or CUDA."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.activations import SwigluOAI
from mlx_lm.models.glm4_moe_lite import Glm4MoeLiteMLP
from mlx_lm.models.switch_layers import SwitchGLU

from tests.kernels import experts, on_gpu
from zmlx_bench.measured import loader
from zmlx_bench.measured.contract import BindRequest
from zmlx_bench.measured.families import moe

pytestmark = on_gpu.ANY

loader.open_kernels(Path(__file__).resolve().parents[2] / "kernels")
PACKINGS = {
    "8 bit in 64s": {"group_size": 64, "bits": 8, "mode": "affine"},
    "8 bit in 32s": {"group_size": 32, "bits": 8, "mode": "affine"},
    "8 bit in 128s": {"group_size": 128, "bits": 8, "mode": "affine"},
    "4 bit in 32s": {"group_size": 32, "bits": 4, "mode": "affine"},
    "4 bit in 64s": {"group_size": 64, "bits": 4, "mode": "affine"},
    "4 bit in 128s": {"group_size": 128, "bits": 4, "mode": "affine"},
    "mxfp4": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
    "mxfp8": {"group_size": 32, "bits": 8, "mode": "mxfp8"},
    "nvfp4": {"group_size": 16, "bits": 4, "mode": "nvfp4"},
}
EXPERTS, HIDDEN, INNER = 16, 2048, 768
each = pytest.mark.parametrize("packing", PACKINGS)
dtypes = pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16], ids=["bf16", "fp16"])
routes = pytest.mark.parametrize(("tokens", "k"), [((1, 1), 4), ((1, 1), 8), ((3, 1), 4)])


@pytest.fixture(autouse=True, scope="module")
def _weights_forgotten(gpu_as_default: None) -> Iterator[None]:
    yield
    block.cache_clear()


@functools.lru_cache(maxsize=2)
def block(packing: str, dtype: mx.Dtype) -> Any:
    switch = SwitchGLU(HIDDEN, INNER, EXPERTS)
    switch.set_dtype(dtype)
    for name in ("gate_proj", "up_proj", "down_proj"):
        switch[name] = switch[name].to_quantized(**PACKINGS[packing])
    shared = Glm4MoeLiteMLP(SimpleNamespace(hidden_size=HIDDEN, intermediate_size=INNER))
    shared.set_dtype(dtype)
    nn.quantize(shared, **PACKINGS[packing])
    mx.eval(switch.parameters(), shared.parameters())
    return SimpleNamespace(switch_mlp=switch, shared_experts=shared)


def bound(kernel: str, module: Any, *sites: str) -> Any:
    folder: Any = importlib.import_module(f"zmlx_kernels.{kernel}.kernel")
    return folder.bind(module, BindRequest(sites, "stock", on_gpu.BACKEND)).call


def differing(ours: mx.array, stock: mx.array) -> int:
    assert (ours.dtype, ours.shape) == (stock.dtype, stock.shape)
    return int(np.count_nonzero(np.array(ours.view(mx.uint16)) != np.array(stock.view(mx.uint16))))


@dtypes
@routes
@each
def test_experts_are_stocks_bit_for_bit(packing: str, tokens: tuple[int, int], k: int, dtype: mx.Dtype) -> None:
    module = block(packing, dtype)
    x, inds = experts.activations("normal", *tokens, HIDDEN, dtype=dtype), experts.routes(tokens, EXPERTS, k)
    ours = bound("packed_experts", module, "experts")(x=x, inds=inds)
    assert differing(ours, moe.stock_experts(module)(x=x, inds=inds)) == 0


@dtypes
@pytest.mark.parametrize("tokens", [(1, 1), (3, 1)])
def test_gpt_oss_experts_are_stocks_bit_for_bit(tokens: tuple[int, int], dtype: mx.Dtype) -> None:
    """mxfp4, biases, the clamped SwiGLU, and rows that are no multiple of 128."""
    size, k = 2880, 4
    switch = SwitchGLU(size, size, 8, SwigluOAI(), bias=True)
    switch.set_dtype(dtype)
    for name in ("gate_proj", "up_proj", "down_proj"):
        switch[name] = switch[name].to_quantized(**PACKINGS["mxfp4"])
        switch[name].bias = experts.activations("normal", *switch[name].bias.shape, dtype=dtype)
    module = SimpleNamespace(switch_mlp=switch)
    x, inds = experts.activations("normal", *tokens, size, dtype=dtype), experts.routes(tokens, 8, k)
    h = moe.stock_experts(module)(x=x, inds=inds)
    assert differing(bound("packed_experts", module, "experts")(x=x, inds=inds), h) == 0
    scores = experts.weights(tokens, k, dtype)
    stock = moe.stock_combine(moe.stock_down(module)(h=h, inds=inds), scores)
    ours = bound("packed_down_combine", module, "down", "combine")(h=h, inds=inds, scores=scores)
    assert differing(ours, stock) == 0


@dtypes
@pytest.mark.parametrize(("tokens", "k"), [((1, 1), 4), ((3, 1), 4)])
@each
def test_routed_and_shared_experts_are_stocks(packing: str, tokens: tuple[int, int], k: int, dtype: mx.Dtype) -> None:
    module = block(packing, dtype)
    x, inds = experts.activations("normal", *tokens, HIDDEN, dtype=dtype), experts.routes(tokens, EXPERTS, k)
    scores = experts.weights(tokens, k, mx.float32)
    h = moe.stock_experts(module)(x=x, inds=inds)
    stock = moe.stock_combine(moe.stock_down(module)(h=h, inds=inds), scores) + module.shared_experts(x)
    ours = bound("packed_moe", module, "experts", "down", "combine", "shared_experts")(x=x, inds=inds, scores=scores)
    assert differing(ours, stock) == 0


@dtypes
@routes
@each
def test_down_and_combine_are_stocks_bit_for_bit(
    packing: str, tokens: tuple[int, int], k: int, dtype: mx.Dtype
) -> None:
    module = block(packing, dtype)
    h, inds = experts.activations("normal", *tokens, k, INNER, dtype=dtype), experts.routes(tokens, EXPERTS, k)
    scores = experts.weights(tokens, k, dtype)
    stock = moe.stock_combine(moe.stock_down(module)(h=h, inds=inds), scores)
    ours = bound("packed_down_combine", module, "down", "combine")(h=h, inds=inds, scores=scores)
    assert differing(ours, stock) == 0
