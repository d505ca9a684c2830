"""The quantised MoE kernels at their sites of the tiny models' own blocks, run by the shim."""

from __future__ import annotations

import functools
from typing import Any

import mlx.core as mx
import pytest

from tests.kernels import experts, gpu
from tests.tiny import Tiny
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.measured.api import SIGMOID_BIAS_ROUTER, SOFTMAX_ROUTER, moe_block
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.process

TOKENS = [(1, 1), (3, 1), (1, 4)]


def shim(kernel: str, *settings: Any) -> Any:
    """What `by_shape(settler("metal"), plan)` is on a Mac: every call planned and run."""
    plan = functools.partial(gpu.module(f"{kernel}.gpu").plan, *settings)
    return lambda *inputs: gpu.run(plan(*inputs), "metal")


def likeness(ours: mx.array, stock: mx.array) -> float:
    """Root mean square difference over the root mean square."""
    ours, stock = ours.astype(mx.float32), stock.astype(mx.float32)
    return float(mx.sqrt(mx.mean((ours - stock) ** 2) / mx.mean(stock**2)).item())


def inputs(model: Tiny, tokens: tuple[int, int]) -> mx.array:
    return experts.activations("normal", *tokens, model.model.args.hidden_size)


@pytest.mark.parametrize("mode", ["stock", "fp32"])
@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("family", ["qwen3", "glm47"])
def test_a_moe_block_of_three_launches_is_near_the_unpatched_one(
    family: str, tokens: tuple[int, int], mode: str
) -> None:
    model = Tiny.load(family)
    block = next(host.module for host in model.hosts() if host.offers(("experts",)))
    x = inputs(model, tokens)
    stock_router = SOFTMAX_ROUTER if family == "qwen3" else SIGMOID_BIAS_ROUTER
    routed = moe_block(stock_router)
    first = gpu.module("gather_qmm_swiglu.kernel").experts(block, shim("gather_qmm_swiglu", mode))
    second = gpu.module("gather_qmm_down_combine.kernel").down_combine(block, shim("gather_qmm_down_combine", mode))
    calls = {("experts",): first, ("down", "combine"): second}
    out, stock = routed.compose(block, calls)(x), routed.compose(block, {})(x)
    assert (out.shape, out.dtype) == (stock.shape, stock.dtype)
    # MLX's CPU sums in bfloat16, term by term; the GPU algorithms sum in float32.
    assert likeness(out, stock) < 0.03


@pytest.mark.parametrize("architecture", ["applegpu_g14s", "applegpu_g16s"])
@pytest.mark.parametrize("tokens", TOKENS)
def test_the_shared_expert_is_near_the_unpatched_one(tokens: tuple[int, int], architecture: str) -> None:
    model = Tiny.load("glm47")
    mlp = next(host.module for host in model.hosts() if host.offers(("shared_experts",)))
    call = gpu.module("shared_experts.kernel").shared_experts(mlp, shim("shared_experts", "stock", architecture))
    x = inputs(model, tokens)
    assert likeness(call(x=x), mlp(x)) < 0.03


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("qwen3", "qwen_fused_swiglu"),
        ("qwen3", "qwen_fused_moe"),
        ("glm47", "control_swiglu_moe"),
        ("glm47", "glm_fused_moe"),
    ],
)
def test_the_fused_variants_claim_stocks_numbers_on_both_gpus(repository: Workspace, family: str, name: str) -> None:
    declared = Catalog(repository, family)
    variant = declared.resolve(name)
    assert {kernel.numerics for kernel in variant.kernels} == {"stock"}
    assert declared.missing_on(variant, "metal") is None
    assert declared.missing_on(variant, "cuda") is None
