"""The router after its gate in one launch: x (B, L, D) -> inds (B, L, k) uint32, scores (B, L, k).

The gate itself stays the model's own matmul. Scores are in x's dtype for Qwen, float32 for GLM.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from zmlx_bench.measured.contract import Binding, BindRequest, Unavailable

from .._lib.gpu.launch import Launch, require, why_not
from .._lib.gpu.settle import Settle, by_shape, settler
from .gpu import MOST_EXPERTS, plan_logits, plan_sigmoid, plan_softmax


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Return the family's router; raise Unavailable for what the launch does not serve."""
    require("moe_router", request)
    if getattr(module, "sharding_group", None) is not None:
        raise Unavailable("the model is sharded")
    if request.family == "qwen3":
        return Binding(qwen_router(module, request.mode, request.backend, settler(request.backend)))
    if request.mode != "stock":
        raise Unavailable(f"moe_router.{request.mode} is Qwen's router")
    return Binding(glm_router(module.gate, settler(request.backend)))


def _check(experts: int, k: int) -> None:
    if experts > MOST_EXPERTS or k > experts:
        raise Unavailable(f"top-{k} of {experts} experts; at most {MOST_EXPERTS} experts are served")


def qwen_router(block: Any, mode: str, backend: str, settle: Settle) -> Any:
    """Return the router of a Qwen3MoeSparseMoeBlock."""
    k, normalize = block.top_k, block.norm_topk_prob
    _check(block.num_experts, k)
    if mode != "stock" and not normalize:
        raise Unavailable("a softmax over the chosen logits alone is normalised; this model's scores are not")

    def plan(gates: mx.array) -> Launch:
        return plan_softmax(gates, k, normalize, backend) if mode == "stock" else plan_logits(gates, k)

    run, gate = by_shape(settle, plan), block.gate
    return lambda x: run(gate(x))


def glm_router(gate: Any, settle: Settle) -> Any:
    """Return the router of a MoEGate with one group of experts."""
    if gate.n_group != 1:
        raise Unavailable(f"the router selects among {gate.n_group} groups of experts; 1 is served")
    k = gate.top_k
    _check(gate.n_routed_experts, k)
    normalize = k > 1 and gate.norm_topk_prob
    weight, correction = gate.weight.T, gate.e_score_correction_bias
    scale = mx.array([gate.routed_scaling_factor], mx.float32)
    run = by_shape(settle, lambda gates, bias, factor: plan_sigmoid(gates, bias, factor, k, normalize))
    return lambda x: run(x @ weight, correction, scale)
