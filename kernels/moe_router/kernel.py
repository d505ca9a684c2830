"""The router after its gate in one launch: x (B, L, D) -> inds (B, L, k) uint32, scores (B, L, k).

The gate itself stays the model's own matmul. Scores are in x's dtype for a router of kind `softmax`, float32 for
`sigmoid_bias`.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable, require_kind, require_parts

from .._lib.gpu.launch import Launch, require, why_not
from .._lib.gpu.settle import Settle, by_shape, settler
from .gpu import MOST_EXPERTS, plan_logits, plan_sigmoid, plan_softmax


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Return the router of the block's kind; raise Unavailable for what the launch does not serve."""
    require("moe_router", request)
    if getattr(module, "sharding_group", None) is not None:
        raise Unavailable("the model is sharded")
    if require_kind("moe_router", request, "router", "softmax", "sigmoid_bias") == "softmax":
        return Binding(softmax_router(module, request.mode, request.backend, settler(request.backend)))
    if request.mode != "stock":
        raise Unavailable(f"moe_router.{request.mode} is a softmax; this model's router is a sigmoid")
    return Binding(sigmoid_bias_router(module.gate, settler(request.backend)))


def _check(experts: int, k: int) -> None:
    if experts > MOST_EXPERTS or k > experts:
        raise Unavailable(f"top-{k} of {experts} experts; at most {MOST_EXPERTS} experts are served")


def softmax_router(block: Any, mode: str, backend: str, settle: Settle) -> Any:
    """Return the router of a block whose probabilities are a softmax of its gate."""
    require_parts("moe_router", block, "gate", "top_k", "norm_topk_prob", "num_experts")
    k, normalize = block.top_k, block.norm_topk_prob
    _check(block.num_experts, k)
    if mode != "stock" and not normalize:
        raise Unavailable("a softmax over the chosen logits alone is normalised; this model's scores are not")

    def plan(gates: mx.array) -> Launch:
        return plan_softmax(gates, k, normalize, backend) if mode == "stock" else plan_logits(gates, k)

    run, gate = by_shape(settle, plan), block.gate
    return lambda x: run(gate(x))


def sigmoid_bias_router(gate: Any, settle: Settle) -> Any:
    """Return the router of a MoEGate with one group of experts."""
    require_parts("moe_router", gate, "n_group")
    if gate.n_group != 1:
        raise Unavailable(f"the router selects among {gate.n_group} groups of experts; 1 is served")
    k = gate.top_k
    _check(gate.n_routed_experts, k)
    normalize = k > 1 and gate.norm_topk_prob
    weight, correction = gate.weight.T, gate.e_score_correction_bias
    scale = mx.array([gate.routed_scaling_factor], mx.float32)
    run = by_shape(settle, lambda gates, bias, factor: plan_sigmoid(gates, bias, factor, k, normalize))
    return lambda x: run(x @ weight, correction, scale)
