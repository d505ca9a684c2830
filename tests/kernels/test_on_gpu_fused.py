"""Kernels over several sites on an NVIDIA GPU against the unpatched steps, and what stock itself repeats."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm.models.glm4_moe_lite import group_expert_select

from tests.kernels import experts, on_gpu
from tests.kernels.draws import KIND, QWEN
from tests.kernels.experts import HIDDEN, KINDS, SHAPES, activations
from zmlx_bench.measured import loader
from zmlx_bench.measured.contract import BindRequest
from zmlx_bench.measured.families import moe

pytestmark = on_gpu.NVIDIA

loader.open_kernels(Path(__file__).resolve().parents[2] / "kernels")
tokens_of_each = pytest.mark.parametrize("tokens", [(1, 1), (2, 1), (4, 1), (1, 4)], ids=lambda t: f"{t[0]}x{t[1]}")
dtypes = pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16], ids=["bf16", "fp16"])


def bound(kernel: str, module: Any, family: str, *sites: str) -> Any:
    folder: Any = importlib.import_module(f"zmlx_kernels.{kernel}.kernel")
    return folder.bind(module, BindRequest(sites, "stock", "cuda", {"router": KIND[family]})).call


def gate(dtype: mx.Dtype) -> Any:
    """Qwen's MoE block with only its gate, quantised to 8 bit as the published checkpoint's."""
    linear = nn.Linear(HIDDEN, QWEN[0], bias=False)
    linear.weight = mx.random.normal(linear.weight.shape, key=mx.random.key(7)).astype(dtype)
    return SimpleNamespace(gate=linear.to_quantized(group_size=64, bits=8), top_k=QWEN[1], norm_topk_prob=True)


@dtypes
@tokens_of_each
@pytest.mark.parametrize("kind", KINDS)
def test_qwens_gate_and_router_are_stocks_bit_for_bit(kind: str, tokens: tuple[int, int], dtype: mx.Dtype) -> None:
    block = gate(dtype)
    router = bound("gate_router", block, "qwen3", "router")
    for seed in range(4):
        x = activations(kind, *tokens, HIDDEN, dtype=dtype, seed=seed)
        p = mx.softmax(block.gate(x), axis=-1, precise=True)
        if not mx.all(mx.isfinite(p)).item():
            continue
        stock_inds = mx.argpartition(p, kth=-block.top_k, axis=-1)[..., -block.top_k :]
        stock_scores = mx.take_along_axis(p, stock_inds, axis=-1)
        stock_scores = stock_scores / mx.sum(stock_scores, axis=-1, keepdims=True)
        inds, scores = router(x=x)
        assert mx.array_equal(inds, stock_inds).item()
        assert mx.array_equal(scores, stock_scores).item()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("correction_dtype", [mx.float32, mx.bfloat16], ids=["fp32", "bf16"])
@tokens_of_each
def test_glms_gate_and_router_are_stocks_bit_for_bit(
    tokens: tuple[int, int], correction_dtype: mx.Dtype, kind: str
) -> None:
    count, k, _ = SHAPES["glm47"]
    block = SimpleNamespace(
        gate=SimpleNamespace(
            weight=(mx.random.normal((count, HIDDEN), key=mx.random.key(8)) / 45).astype(mx.bfloat16),
            e_score_correction_bias=(0.1 * mx.random.normal((count,), key=mx.random.key(9))).astype(correction_dtype),
            top_k=k,
            n_group=1,
            n_routed_experts=count,
            norm_topk_prob=True,
            routed_scaling_factor=1.8,
        )
    )
    gate_of_block = block.gate
    router = bound("gate_router", block, "glm47", "router")
    for seed in range(4):
        x = activations(kind, *tokens, HIDDEN, seed=seed)
        gates = x @ gate_of_block.weight.T
        if not mx.all(mx.isfinite(gates)).item():
            continue
        stock = group_expert_select(gates, gate_of_block.e_score_correction_bias, k, 1, 1, 1.8, True)
        assert all(mx.array_equal(a, b).item() for a, b in zip(router(x=x), stock, strict=True))


@dtypes
@tokens_of_each
def test_all_of_glms_experts_are_stocks_bit_for_bit(tokens: tuple[int, int], dtype: mx.Dtype) -> None:
    count, k, inner = SHAPES["glm47"]
    block = experts.block(count, inner, dtype=dtype)
    block.shared_experts = experts.shared_mlp(inner, dtype=dtype)
    call = bound("gather_qmm_moe", block, "glm47", "experts", "down", "combine", "shared_experts")
    for seed in range(3):
        x = activations("normal", *tokens, HIDDEN, dtype=dtype, seed=seed)
        inds = experts.routes(tokens, count, k, seed)
        scores = experts.weights(tokens, k, mx.float32, seed)
        y = moe.stock_down(block)(h=moe.stock_experts(block)(x=x, inds=inds), inds=inds)
        stock = moe.stock_combine(y, scores) + block.shared_experts(x)
        assert mx.array_equal(call(x=x, inds=inds, scores=scores), stock).item()


@pytest.mark.parametrize("length", [200, 255, 256, 300, 1000])
def test_stock_attention_repeats_its_own_bits(length: int) -> None:
    # From 256 keys on MLX hands decode's attention to cuDNN. Buffers are filled with numbers in between, so that a
    # workspace that is read before it is written shows.
    held = -(-length // 256) * 256
    keys, values = (mx.random.normal((1, 4, held, 128), key=mx.random.key(i)).astype(mx.bfloat16) for i in range(2))
    q = mx.random.normal((1, 32, 1, 128), key=mx.random.key(2)).astype(mx.bfloat16)
    mx.eval(keys, values, q)

    def attend() -> mx.array:
        return mx.fast.scaled_dot_product_attention(q, keys[..., :length, :], values[..., :length, :], scale=0.1)

    first = attend()
    for seed in range(20):
        noise = [mx.random.normal((1 << size,), key=mx.random.key(seed)) for size in range(8, 20)]
        mx.eval(noise)
        del noise
        again = [attend() for _ in range(8)]
        assert all(mx.array_equal(first, each).item() for each in again)
