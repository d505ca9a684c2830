"""The GPU kernels on a real GPU against the unpatched model's steps on the same GPU; `pytest -m gpu`, Metal or CUDA."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.glm4_moe_lite import group_expert_select

from tests.kernels import on_gpu
from tests.kernels.bf16 import read
from tests.kernels.draws import EXPERTS, GLM, HIDDEN, KIND, QWEN, combine_inputs, combined, gates
from zmlx_bench.measured import loader
from zmlx_bench.measured.contract import BindRequest
from zmlx_bench.measured.families import moe

pytestmark = on_gpu.ANY

loader.open_kernels(Path(__file__).resolve().parents[2] / "kernels")
batches = pytest.mark.parametrize("batch", [1, 2, 3, 4])


def bound(kernel: str, module: Any, family: str, site: str, mode: str) -> Any:
    folder: Any = importlib.import_module(f"zmlx_kernels.{kernel}.kernel")
    return folder.bind(module, BindRequest((site,), mode, on_gpu.BACKEND, {"router": KIND[family]})).call


@batches
@pytest.mark.parametrize("family", EXPERTS)
def test_the_combine_is_stocks_bit_for_bit(family: str, batch: int) -> None:
    combine = bound("moe_combine", None, family, "combine", "stock")
    for seed in range(4):
        y, scores = combine_inputs(family, batch, seed=seed)
        assert mx.array_equal(combine(y=y, scores=scores), moe.stock_combine(y, scores)).item()


@pytest.mark.parametrize("family", EXPERTS)
@pytest.mark.parametrize("mode", ["bf16_rounded", "fp32", "fp32_no_fma", "fp32_no_fma_staged"])
def test_the_other_combines_have_the_roundings_that_they_declare(mode: str, family: str) -> None:
    y, scores = combine_inputs(family, 4)
    out = bound("moe_combine", None, family, "combine", mode)(y=y, scores=scores)
    np.testing.assert_array_equal(read(out), combined(mode, y, scores))


@batches
@pytest.mark.parametrize("kind", ["spread", "flat", "equal", "extreme"])
def test_qwens_router_is_stocks_bit_for_bit(kind: str, batch: int) -> None:
    experts, k = QWEN
    block = SimpleNamespace(gate=lambda x: x, top_k=k, norm_topk_prob=True, num_experts=experts)
    router = bound("moe_router", block, "qwen3", "router", "stock")
    for seed in range(8):
        x = gates(kind, batch, experts, seed)
        p = mx.softmax(x, axis=-1, precise=True)
        stock_inds = mx.argpartition(p, kth=-k, axis=-1)[..., -k:]
        stock_scores = mx.take_along_axis(p, stock_inds, axis=-1)
        stock_scores = stock_scores / mx.sum(stock_scores, axis=-1, keepdims=True)
        inds, scores = router(x=x)
        assert mx.array_equal(inds, stock_inds).item()
        assert mx.array_equal(scores, stock_scores).item()


@batches
@pytest.mark.parametrize("kind", ["spread", "flat", "equal", "extreme"])
def test_glms_router_is_stocks_bit_for_bit(kind: str, batch: int) -> None:
    experts, k = GLM
    correction = mx.linspace(-0.1, 0.1, experts) * (kind != "equal")
    gate = SimpleNamespace(
        weight=mx.eye(experts, dtype=mx.bfloat16),
        e_score_correction_bias=correction,
        top_k=k,
        n_group=1,
        n_routed_experts=experts,
        norm_topk_prob=True,
        routed_scaling_factor=1.8,
    )
    router = bound("moe_router", SimpleNamespace(gate=gate), "glm47", "router", "stock")
    for seed in range(8):
        x = gates(kind, batch, experts, seed)
        stock_inds, stock_scores = group_expert_select(x @ gate.weight.T, correction, k, 1, 1, 1.8, True)
        inds, scores = router(x=x)
        assert mx.array_equal(inds, stock_inds).item()
        assert mx.array_equal(scores, stock_scores).item()


@batches
def test_the_add_and_the_norm_are_within_a_step_of_stock(batch: int) -> None:
    norm = nn.RMSNorm(HIDDEN, eps=1e-6)
    x, r = (gates("spread", batch, HIDDEN, seed) for seed in (0, 1))
    h, normed = bound("residual_norm", norm, "qwen3", "residual_norm", "fp32")(x=x, r=r)
    assert mx.array_equal(h, x + r).item()
    assert mx.allclose(normed, norm(x + r), rtol=2**-7, atol=0.0).item()


@batches
def test_norm_and_rotation_are_near_stock(batch: int) -> None:
    heads, kv_heads, hd = 32, 4, 128
    module = SimpleNamespace(
        n_heads=heads, n_kv_heads=kv_heads, q_norm=nn.RMSNorm(hd), k_norm=nn.RMSNorm(hd), rope=nn.RoPE(hd, base=1e6)
    )
    q, k = gates("spread", batch, heads * hd), gates("spread", batch, kv_heads * hd, seed=1)
    reference: Any = importlib.import_module("zmlx_kernels.qk_norm_rope.reference")
    call = bound("qk_norm_rope", module, "qwen3", "qk_norm_rope", "fp32")
    for offset in (0, 1023, mx.arange(batch) * 300):
        for ours, stock in zip(
            call(q=q, k=k, offset=offset), reference.qk_norm_rope(module, q, k, offset), strict=True
        ):
            assert ours.shape == stock.shape
            assert mx.allclose(ours, stock, rtol=2**-6, atol=2**-6).item()
