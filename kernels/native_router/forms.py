"""Routers that are no plain softmax or sigmoid: the gate's own call, then one native operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable, require_parts

from .._lib.native.wiring import extension

Router = Callable[[mx.array], tuple[mx.array, mx.array]]


def top_k_softmax(block: Any) -> Router:
    """Return the router of a block that takes a softmax over the chosen logits alone."""
    require_parts("native_router", block, "gate", "top_k")
    gate, k, operation = block.gate, block.top_k, extension().moe_router_form

    def call(x: mx.array) -> tuple[mx.array, mx.array]:
        inds, scores = operation(gate(x), "top_k_softmax", k)
        return inds, scores

    return call


def top_k_softmax_scaled(block: Any) -> Router:
    """Return the same of a norm of x, with every step in the logits' own type, times a scale of each expert."""
    require_parts("native_router", block, "gate", "top_k", "scale", "root_size", "eps", "per_expert_scale")
    gate, k, operation = block.gate, block.top_k, extension().moe_router_form
    weight, root, eps, scale = block.scale, block.root_size, block.eps, block.per_expert_scale
    if gate.get("scales", gate.weight).dtype != scale.dtype:
        raise Unavailable(f"the scales of the experts are {scale.dtype}, and the router's logits of another type")

    def call(x: mx.array) -> tuple[mx.array, mx.array]:
        logits = gate(mx.fast.rms_norm(x, weight * root, eps))
        inds, scores = operation(logits, "top_k_softmax", k, of_expert=scale, precise=False)
        return inds, scores

    return call


def sigmoid_groups(block: Any) -> Router:
    """Return the router of a block whose gate is a MoEGate that selects among groups of experts."""
    gate = block.gate
    require_parts("native_router", gate, "n_group", "topk_group")
    operation, transposed, k = extension().moe_router_form, gate.weight.T, gate.top_k
    how = {
        "of_expert": gate.e_score_correction_bias,
        "normalize": gate.norm_topk_prob,
        "scale": gate.routed_scaling_factor,
        "groups": gate.n_group,
        "kept": gate.topk_group if gate.n_group > 1 else 1,
    }

    def call(x: mx.array) -> tuple[mx.array, mx.array]:
        inds, scores = operation(x @ transposed, "sigmoid_groups", k, **how)
        return inds, scores

    return call


def sigmoid_float32(block: Any) -> Router:
    """Return the router of a block whose gate and sigmoid are in float32."""
    require_parts("native_router", block, "gate", "top_k", "e_score_correction_bias")
    gate, k, correction, operation = block.gate, block.top_k, block.e_score_correction_bias, extension().moe_router
    if k < 2:
        raise Unavailable("one chosen expert's score is divided by itself; two or more are served")

    def call(x: mx.array) -> tuple[mx.array, mx.array]:
        inds, scores = operation(gate(x.astype(mx.float32)), k, True, correction_bias=correction)
        return inds, scores.astype(x.dtype)

    return call


def sigmoid_own(block: Any) -> Router:
    """Return the router of a block whose sigmoid and scores are in the gate's own type."""
    require_parts("native_router", block, "gate", "top_k", "use_expert_bias")
    gate, k, operation = block.gate, block.top_k, extension().moe_router_form
    how = {
        "of_expert": block.expert_bias if block.use_expert_bias else None,
        "normalize": block.norm_topk_prob,
        "scale": block.routed_scaling_factor,
    }

    def call(x: mx.array) -> tuple[mx.array, mx.array]:
        inds, scores = operation(gate(x), "sigmoid_own", k, **how)
        return inds, scores.astype(x.dtype)

    return call


KINDS: dict[str, Callable[[Any], Router]] = {
    "top_k_softmax": top_k_softmax,
    "top_k_softmax_scaled": top_k_softmax_scaled,
    "sigmoid_groups": sigmoid_groups,
    "sigmoid_float32": sigmoid_float32,
    "sigmoid_own": sigmoid_own,
}
