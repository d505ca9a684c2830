"""The quantised MoE kernels on a real GPU against the unpatched model's steps; `pytest -m gpu`, Metal or CUDA."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels import experts, on_gpu
from tests.kernels.experts import KINDS, SHAPES, activations, doubles
from zmlx_bench.measured import loader
from zmlx_bench.measured.contract import BindRequest, Unavailable
from zmlx_bench.measured.families import moe

pytestmark = on_gpu.ANY

loader.open_kernels(Path(__file__).resolve().parents[2] / "kernels")
TOKENS = [(1, 1), (2, 1), (3, 1), (4, 1), (1, 4)]
SUM_ERROR = 2.0**-18
"""Of float32 sums, relative to the sum of their terms' sizes: some 64 roundings."""
ROUNDING = {mx.bfloat16: 2.0**-8, mx.float16: 2.0**-11}
families = pytest.mark.parametrize("family", SHAPES)
tokens_of_each = pytest.mark.parametrize("tokens", TOKENS, ids=lambda t: f"{t[0]}x{t[1]}")
dtypes = pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16], ids=["bf16", "fp16"])
float32_modes = pytest.mark.parametrize("mode", ["fp32", "fp32_no_fma"])


@pytest.fixture(autouse=True, scope="module")
def _weights_forgotten(gpu_as_default: None) -> Iterator[None]:
    yield
    block.cache_clear()
    shared.cache_clear()


@functools.cache
def block(family: str, dtype: mx.Dtype) -> Any:
    count, _, inner = SHAPES[family]
    return experts.block(count, inner, dtype=dtype)


@functools.cache
def shared(dtype: mx.Dtype) -> Any:
    return experts.shared_mlp(SHAPES["glm47"][2], dtype=dtype)


def bound(kernel: str, module: Any, family: str, mode: str) -> Any:
    """Bind the kernel at its own sites; a dtype or mode that the backend does not serve skips the test."""
    folder: Any = importlib.import_module(f"zmlx_kernels.{kernel}.kernel")
    sites = {"gather_qmm_swiglu": ("experts",), "gather_qmm_down_combine": ("down", "combine")}
    request = BindRequest(sites.get(kernel, ("shared_experts",)), mode, on_gpu.BACKEND)
    try:
        return folder.bind(module, request).call
    except Unavailable as reason:
        pytest.skip(str(reason))


def differing(ours: mx.array, stock: mx.array) -> str:
    """Empty where every value, dtype and shape is the same (NaN equal to NaN), else a line that says how far off."""
    if (ours.dtype, ours.shape) != (stock.dtype, stock.shape):
        return f"{ours.dtype} {ours.shape} for {stock.dtype} {stock.shape}"
    a, b = doubles(ours), doubles(stock)
    off = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    if not off.any():
        return ""
    at = tuple(int(i[0]) for i in np.nonzero(off))
    return f"{int(off.sum())} of {off.size} differ, first at {at}: {a[at]} for {b[at]}"


def inputs_down(family: str, tokens: tuple[int, int], dtype: mx.Dtype, kind: str = "normal", seed: int = 0) -> Any:
    """h (B, L, k, I), inds and scores, these in the family's dtype."""
    count, k, inner = SHAPES[family]
    return {
        "h": activations(kind, *tokens, k, inner, dtype=dtype, seed=seed),
        "inds": experts.routes(tokens, count, k, seed),
        "scores": experts.weights(tokens, k, dtype if family == "qwen3" else mx.float32, seed),
    }


@dtypes
@tokens_of_each
@families
def test_gate_up_and_swiglu_are_stocks_bit_for_bit(family: str, tokens: tuple[int, int], dtype: mx.Dtype) -> None:
    count, k, _ = SHAPES[family]
    call = bound("gather_qmm_swiglu", block(family, dtype), family, "stock")
    stock = moe.stock_experts(block(family, dtype))
    for seed in range(3):
        x = activations("normal", *tokens, experts.HIDDEN, dtype=dtype, seed=seed)
        inds = experts.routes(tokens, count, k, seed)
        assert not differing(call(x=x, inds=inds), stock(x=x, inds=inds))


@pytest.mark.parametrize("kind", KINDS)
@families
def test_gate_up_and_swiglu_of_extreme_values(family: str, kind: str) -> None:
    count, k, _ = SHAPES[family]
    call = bound("gather_qmm_swiglu", block(family, mx.bfloat16), family, "stock")
    x, inds = activations(kind, 2, 1, experts.HIDDEN), experts.routes((2, 1), count, k)
    assert not differing(call(x=x, inds=inds), moe.stock_experts(block(family, mx.bfloat16))(x=x, inds=inds))


@dtypes
@tokens_of_each
@families
def test_down_and_combine_are_stocks_bit_for_bit(family: str, tokens: tuple[int, int], dtype: mx.Dtype) -> None:
    call = bound("gather_qmm_down_combine", block(family, dtype), family, "stock")
    down = moe.stock_down(block(family, dtype))
    for seed in range(3):
        given = inputs_down(family, tokens, dtype, seed=seed)
        stock = moe.stock_combine(down(h=given["h"], inds=given["inds"]), given["scores"])
        assert not differing(call(**given), stock)


@pytest.mark.parametrize("kind", KINDS)
@families
def test_down_and_combine_of_extreme_values(family: str, kind: str) -> None:
    call = bound("gather_qmm_down_combine", block(family, mx.bfloat16), family, "stock")
    given = inputs_down(family, (2, 1), mx.bfloat16, kind)
    y = moe.stock_down(block(family, mx.bfloat16))(h=given["h"], inds=given["inds"])
    assert not differing(call(**given), moe.stock_combine(y, given["scores"]))


@families
def test_the_two_after_each_other_are_the_routed_block(family: str) -> None:
    # As in the model: h comes unevaluated from the first launch, experts may repeat between tokens.
    count, k, _ = SHAPES[family]
    module = block(family, mx.bfloat16)
    first = bound("gather_qmm_swiglu", module, family, "stock")
    second = bound("gather_qmm_down_combine", module, family, "stock")
    x = activations("normal", 4, 1, experts.HIDDEN)
    inds = mx.broadcast_to(experts.routes((1, 1), count, k), (4, 1, k))
    scores = experts.weights((4, 1), k, mx.bfloat16 if family == "qwen3" else mx.float32)
    stock = moe.stock_combine(moe.stock_down(module)(h=moe.stock_experts(module)(x=x, inds=inds), inds=inds), scores)
    assert not differing(second(h=first(x=x, inds=inds), inds=inds, scores=scores), stock)


@dtypes
@tokens_of_each
def test_the_shared_expert_is_stocks_bit_for_bit(tokens: tuple[int, int], dtype: mx.Dtype) -> None:
    mlp = shared(dtype)
    call = bound("shared_experts", mlp, "glm47", "stock")
    for seed in range(3):
        x = activations("normal", *tokens, experts.HIDDEN, dtype=dtype, seed=seed)
        assert not differing(call(x=x), mlp(x))


@dtypes
def test_a_shared_expert_whose_rows_are_short_is_stocks(dtype: mx.Dtype) -> None:
    """Of 192 weights a row, 12 of a warp's 32 lanes have some."""
    mlp = experts.shared_mlp(128, hidden=192, dtype=dtype)
    call = bound("shared_experts", mlp, "glm47", "stock")
    for seed in range(3):
        x = activations("normal", 1, 1, 192, dtype=dtype, seed=seed)
        assert not differing(call(x=x), mlp(x))


@pytest.mark.parametrize("kind", KINDS)
def test_the_shared_expert_of_extreme_values(kind: str) -> None:
    mlp = shared(mx.bfloat16)
    x = activations(kind, 2, 1, experts.HIDDEN)
    assert not differing(bound("shared_experts", mlp, "glm47", "stock")(x=x), mlp(x))


@dtypes
@float32_modes
@families
def test_gate_up_and_swiglu_in_float32_err_by_float32_sums_and_one_rounding(
    family: str, mode: str, dtype: mx.Dtype
) -> None:
    count, k, _ = SHAPES[family]
    module = block(family, dtype)
    call = bound("gather_qmm_swiglu", module, family, mode)
    x, inds = activations("normal", 2, 1, experts.HIDDEN, dtype=dtype), experts.routes((2, 1), count, k)
    h, rows, chosen = doubles(call(x=x, inds=inds)), doubles(x), np.array(inds)
    for b in range(2):
        for e in range(k):
            right, size = experts.exact_swiglu(rows[b, 0], module.switch_mlp, int(chosen[b, 0, e]))
            assert (np.abs(h[b, 0, e] - right) <= ROUNDING[dtype] * np.abs(right) + SUM_ERROR * size + 1e-7).all()


@dtypes
@float32_modes
@families
def test_down_and_combine_in_float32_err_by_float32_sums_and_one_rounding(
    family: str, mode: str, dtype: mx.Dtype
) -> None:
    module = block(family, dtype)
    call = bound("gather_qmm_down_combine", module, family, mode)
    given = inputs_down(family, (2, 1), dtype)
    out, h, scores, chosen = doubles(call(**given)), *map(doubles, (given["h"], given["scores"])), given["inds"]
    for b in range(2):
        total = size = np.zeros(experts.HIDDEN)
        for e in range(h.shape[2]):
            y, y_size = experts.exact(h[b, 0, e], module.switch_mlp.down_proj, int(chosen[b, 0, e].item()))
            total, size = total + scores[b, 0, e] * y, size + scores[b, 0, e] * y_size
        assert (np.abs(out[b, 0] - total) <= ROUNDING[dtype] * np.abs(total) + SUM_ERROR * size + 1e-7).all()


@float32_modes
def test_the_shared_expert_in_float32_is_nearer_than_a_rounding_of_its_activations(mode: str) -> None:
    mlp = shared(mx.bfloat16)
    x = activations("normal", 2, 1, experts.HIDDEN)
    out = doubles(bound("shared_experts", mlp, "glm47", mode)(x=x))
    h, _ = experts.exact_swiglu(doubles(x), mlp)
    right, size = experts.exact(h, mlp.down_proj)
    # h is rounded once before the down projection: its rounding is a part of each term.
    assert (np.abs(out - right) <= 2.0**-8 * (np.abs(right) + size) + 1e-7).all()
