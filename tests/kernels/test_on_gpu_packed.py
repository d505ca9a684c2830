"""The kernels over packed weights on a real GPU against the unpatched model's steps; `pytest -m gpu`, Metal or CUDA.

On CUDA nearly all of the time is NVRTC's, one module after the other in a process: MLX's and ours for each packing and
type. Where there are cores, a process a case is quicker: `-n 15 --dist loadgroup` with pytest-xdist, or one pytest for
each, `-k mxfp4_bf16`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Iterator
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
    "8bit_64s": {"group_size": 64, "bits": 8, "mode": "affine"},
    "8bit_32s": {"group_size": 32, "bits": 8, "mode": "affine"},
    "8bit_128s": {"group_size": 128, "bits": 8, "mode": "affine"},
    "4bit_32s": {"group_size": 32, "bits": 4, "mode": "affine"},
    "4bit_64s": {"group_size": 64, "bits": 4, "mode": "affine"},
    "4bit_128s": {"group_size": 128, "bits": 4, "mode": "affine"},
    "mxfp4": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
    "mxfp8": {"group_size": 32, "bits": 8, "mode": "mxfp8"},
    "nvfp4": {"group_size": 16, "bits": 4, "mode": "nvfp4"},
}
IN_FP16 = ("8bit_64s", "4bit_64s", "mxfp4", "mxfp8", "nvfp4")
"""Another group changes no conversion: in float16 each kind of code once."""
EXPERTS, HIDDEN, INNER = 16, 2048, 768
DTYPES = {"bf16": mx.bfloat16, "fp16": mx.float16}


def cases(packings: Iterable[str], *dtypes: str) -> list[Any]:
    """A packing and a type each, which one worker of xdist takes together."""
    return [
        pytest.param(
            packing, DTYPES[dtype], id=f"{packing}_{dtype}", marks=pytest.mark.xdist_group(f"{packing}_{dtype}")
        )
        for dtype in dtypes
        for packing in packings
    ]


EACH = [*cases(PACKINGS, "bf16"), *cases(IN_FP16, "fp16")]
FEW = cases(("8bit_64s", "mxfp4"), "bf16")
ROUTES = [((1, 1), 4), ((3, 1), 4)]
"""MLX multiplies fewer rows than 8 in one way, 8 and more in another."""


def routed(*routes: tuple[tuple[int, int], int], of: list[Any]) -> list[Any]:
    """Each case with each (B, L) of tokens and the experts that a token chooses."""
    return [
        pytest.param(*case.values, tokens, k, id=f"{case.id}-{tokens[0]}x{k}", marks=case.marks)
        for case in of
        for tokens, k in routes
    ]


EIGHT_CHOSEN = routed(((1, 1), 8), of=FEW)
each = pytest.mark.parametrize(("packing", "dtype", "tokens", "k"), [*routed(*ROUTES, of=EACH), *EIGHT_CHOSEN])


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


@each
def test_experts_are_stocks_bit_for_bit(packing: str, dtype: mx.Dtype, tokens: tuple[int, int], k: int) -> None:
    module = block(packing, dtype)
    x, inds = experts.activations("normal", *tokens, HIDDEN, dtype=dtype), experts.routes(tokens, EXPERTS, k)
    ours = bound("packed_experts", module, "experts")(x=x, inds=inds)
    assert differing(ours, moe.stock_experts(module)(x=x, inds=inds)) == 0


@pytest.mark.parametrize(("packing", "dtype"), cases(("mxfp4",), *DTYPES))
@pytest.mark.parametrize("tokens", [(1, 1), (3, 1)])
def test_gpt_oss_experts_are_stocks_bit_for_bit(tokens: tuple[int, int], packing: str, dtype: mx.Dtype) -> None:
    """mxfp4, biases, the clamped SwiGLU, and rows that are no multiple of 128."""
    size, k = 2880, 4
    switch = SwitchGLU(size, size, 8, SwigluOAI(), bias=True)
    switch.set_dtype(dtype)
    for name in ("gate_proj", "up_proj", "down_proj"):
        switch[name] = switch[name].to_quantized(**PACKINGS[packing])
        switch[name].bias = experts.activations("normal", *switch[name].bias.shape, dtype=dtype)
    module = SimpleNamespace(switch_mlp=switch)
    x, inds = experts.activations("normal", *tokens, size, dtype=dtype), experts.routes(tokens, 8, k)
    h = moe.stock_experts(module)(x=x, inds=inds)
    assert differing(bound("packed_experts", module, "experts")(x=x, inds=inds), h) == 0
    scores = experts.weights(tokens, k, dtype)
    stock = moe.stock_combine(moe.stock_down(module)(h=h, inds=inds), scores)
    ours = bound("packed_down_combine", module, "down", "combine")(h=h, inds=inds, scores=scores)
    assert differing(ours, stock) == 0


@pytest.mark.parametrize(("packing", "dtype", "tokens", "k"), [*routed(ROUTES[0], of=EACH), *routed(ROUTES[1], of=FEW)])
def test_routed_and_shared_experts_are_stocks(packing: str, dtype: mx.Dtype, tokens: tuple[int, int], k: int) -> None:
    """Several tokens are the kernels of the single sites and the model's own shared expert."""
    module = block(packing, dtype)
    x, inds = experts.activations("normal", *tokens, HIDDEN, dtype=dtype), experts.routes(tokens, EXPERTS, k)
    scores = experts.weights(tokens, k, mx.float32)
    h = moe.stock_experts(module)(x=x, inds=inds)
    stock = moe.stock_combine(moe.stock_down(module)(h=h, inds=inds), scores) + module.shared_experts(x)
    ours = bound("packed_moe", module, "experts", "down", "combine", "shared_experts")(x=x, inds=inds, scores=scores)
    assert differing(ours, stock) == 0


@each
def test_down_and_combine_are_stocks_bit_for_bit(
    packing: str, dtype: mx.Dtype, tokens: tuple[int, int], k: int
) -> None:
    module = block(packing, dtype)
    h, inds = experts.activations("normal", *tokens, k, INNER, dtype=dtype), experts.routes(tokens, EXPERTS, k)
    scores = experts.weights(tokens, k, dtype)
    stock = moe.stock_combine(moe.stock_down(module)(h=h, inds=inds), scores)
    ours = bound("packed_down_combine", module, "down", "combine")(h=h, inds=inds, scores=scores)
    assert differing(ours, stock) == 0


@pytest.mark.parametrize(("packing", "dtype"), FEW)
def test_as_many_rows_as_mlx_lm_sorts_are_its_own_modules(packing: str, dtype: mx.Dtype) -> None:
    module, tokens, k = block(packing, dtype), (4, 1), 16
    x, inds = experts.activations("normal", *tokens, HIDDEN, dtype=dtype), experts.routes(tokens, EXPERTS, k)
    scores = experts.weights(tokens, k, dtype)
    h = bound("packed_experts", module, "experts")(x=x, inds=inds)
    ours = bound("packed_down_combine", module, "down", "combine")(h=h, inds=inds, scores=scores)
    assert differing(ours, moe.stock_combine(module.switch_mlp(x, inds), scores)) == 0
