"""The quantised MoE kernels at their sites of the tiny models' own blocks, run by the shim."""

from __future__ import annotations

import functools
from typing import Any

import mlx.core as mx
import pytest

from tests.kernels import experts, gpu
from tests.tiny import Tiny
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.measured.families import moe
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
    block = next(host.module for host in model.hosts() if "experts" in host.sites)
    x = inputs(model, tokens)
    routed: list[tuple[Any, Any]] = []

    def router(x: mx.array) -> Any:
        # The unpatched router of the family, by way of the unpatched composition.
        routed.append(block.gate(x) if family == "glm47" else qwen_router(block, x))
        return routed[-1]

    first = gpu.module("gather_qmm_swiglu.kernel").experts(block, shim("gather_qmm_swiglu", mode))
    second = gpu.module("gather_qmm_down_combine.kernel").down_combine(block, shim("gather_qmm_down_combine", mode))
    calls = {("experts",): first, ("down", "combine"): second}
    out = moe.compose_routed(block, calls, router)(x)
    inds, scores = routed[0]
    stock = moe.stock_combine(moe.stock_down(block)(moe.stock_experts(block)(x, inds), inds), scores)
    assert (out.shape, out.dtype) == (stock.shape, stock.dtype)
    # MLX's CPU sums in bfloat16, term by term; the GPU algorithms sum in float32.
    assert likeness(out, stock) < 0.03


def qwen_router(block: Any, x: mx.array) -> tuple[mx.array, mx.array]:
    gates = mx.softmax(block.gate(x), axis=-1, precise=True)
    inds = mx.argpartition(gates, kth=-block.top_k, axis=-1)[..., -block.top_k :]
    scores = mx.take_along_axis(gates, inds, axis=-1)
    return inds, scores / mx.sum(scores, axis=-1, keepdims=True)


@pytest.mark.parametrize("architecture", ["applegpu_g14s", "applegpu_g16s"])
@pytest.mark.parametrize("tokens", TOKENS)
def test_the_shared_expert_is_near_the_unpatched_one(tokens: tuple[int, int], architecture: str) -> None:
    model = Tiny.load("glm47")
    mlp = next(host.module for host in model.hosts() if "shared_experts" in host.sites)
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
