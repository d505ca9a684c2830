"""Routers that are no plain softmax or sigmoid, after their gate in one launch: x (B, L, D) -> inds, scores (B, L, k).

The gate, and a norm before it, stay the model's own calls. inds are uint32; scores are float32 of kind
`sigmoid_groups`, else in x's dtype.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable, require_kind, require_parts

from .._lib.gpu.launch import require, why_not
from .._lib.gpu.settle import Settle, by_shape, settler
from .gpu import plan_sigmoid_groups, plan_sigmoid_own, plan_top_k_softmax

Router = Callable[[mx.array], Any]
MOST_CHOSEN = 64
"""MLX's Metal backend sums longer rows in another order."""
MOST_IN_TWO_LANES = 8
"""A softmax that rounds every step sums those of more lanes in an order that is not followed here."""


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Return the router of the block's kind; raise Unavailable for what the launch does not serve."""
    require("router_forms", request)
    if getattr(module, "sharding_group", None) is not None:
        raise Unavailable("the model is sharded")
    kind = require_kind("router_forms", request, "router", *KINDS)
    return Binding(KINDS[kind](module, settler(request.backend)))


def _check(k: int, most: int = MOST_CHOSEN) -> int:
    if k > most:
        raise Unavailable(f"the router chooses {k} experts; at most {most} are served in MLX's order of sums")
    return k


def top_k_softmax(block: Any, settle: Settle) -> Router:
    """Return the router of a block that takes a softmax over the chosen logits alone."""
    require_parts("router_forms", block, "gate", "top_k")
    gate, k, none = block.gate, _check(block.top_k), mx.zeros((1,), mx.bfloat16)
    run = by_shape(settle, lambda gates, _: plan_top_k_softmax(gates, none, k, precise=True, scaled=False))
    return lambda x: run(gate(x), none)


def top_k_softmax_scaled(block: Any, settle: Settle) -> Router:
    """Return the same of a norm of x, with every step in the logits' own type, times a scale of each expert."""
    require_parts("router_forms", block, "gate", "top_k", "scale", "root_size", "eps", "per_expert_scale")
    gate, k, scale = block.gate, _check(block.top_k, MOST_IN_TWO_LANES), block.per_expert_scale
    weight, root, eps = block.scale, block.root_size, block.eps
    if gate.get("scales", gate.weight).dtype != scale.dtype:
        raise Unavailable(f"the scales of the experts are {scale.dtype}, and the router's logits of another type")
    run = by_shape(settle, lambda gates, of: plan_top_k_softmax(gates, of, k, precise=False, scaled=True))
    return lambda x: run(gate(mx.fast.rms_norm(x, weight * root, eps)), scale)


def sigmoid_groups(block: Any, settle: Settle) -> Router:
    """Return the router of a block whose gate is a MoEGate that selects among groups of experts."""
    gate = block.gate
    require_parts("router_forms", gate, "n_group", "topk_group")
    k, groups = _check(gate.top_k), gate.n_group
    kept = gate.topk_group if groups > 1 else 1
    normalize = k > 1 and gate.norm_topk_prob
    weight, correction = gate.weight.T, gate.e_score_correction_bias
    factor = mx.array([gate.routed_scaling_factor], mx.float32)
    how = {"normalize": normalize, "guarded": False, "groups": groups, "kept": kept}
    run = by_shape(settle, lambda gates, bias, scale: plan_sigmoid_groups(gates, bias, scale, k, mx.float32, **how))
    return lambda x: run(x @ weight, correction, factor)


def sigmoid_float32(block: Any, settle: Settle) -> Router:
    """Return the router of a block whose gate and sigmoid are in float32."""
    require_parts("router_forms", block, "gate", "top_k", "e_score_correction_bias")
    gate, k, correction, one = block.gate, _check(block.top_k), block.e_score_correction_bias, mx.array([1.0])

    @functools.cache
    def run(dtype: mx.Dtype) -> Callable[..., list[mx.array]]:
        how = {"normalize": True, "guarded": True}
        return by_shape(settle, lambda gates, bias, scale: plan_sigmoid_groups(gates, bias, scale, k, dtype, **how))

    return lambda x: run(x.dtype)(gate(x.astype(mx.float32)), correction, one)


def sigmoid_own(block: Any, settle: Settle) -> Router:
    """Return the router of a block whose sigmoid and scores are in the gate's own type."""
    require_parts("router_forms", block, "gate", "top_k", "use_expert_bias")
    gate, k, corrected = block.gate, _check(block.top_k), block.use_expert_bias
    correction = block.expert_bias if corrected else mx.zeros((1,))
    factor = mx.array([block.routed_scaling_factor], mx.float32)
    how = {"normalize": block.norm_topk_prob, "corrected": corrected}
    run = by_shape(settle, lambda gates, bias, scale: plan_sigmoid_own(gates, bias, scale, k, **how))
    return lambda x: run(gate(x), correction, factor)


KINDS: dict[str, Callable[[Any, Settle], Router]] = {
    "top_k_softmax": top_k_softmax,
    "top_k_softmax_scaled": top_k_softmax_scaled,
    "sigmoid_groups": sigmoid_groups,
    "sigmoid_float32": sigmoid_float32,
    "sigmoid_own": sigmoid_own,
}
