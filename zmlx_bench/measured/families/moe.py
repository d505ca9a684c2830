"""The MoE block as steps: what mlx-lm 0.32.2 does from the router to the weighted sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.inputs import all_bytes, expert_bytes, hidden
from zmlx_bench.measured.steps import Block, Call, Step

HIDDEN = "(B, L, D)"
INDS = "(B, L, k) uint32"
SCORES = "(B, L, k)"


def stock_experts(block: Any) -> Call:
    """Return experts(x (B, L, D), inds (B, L, k)) -> (B, L, k, I): SwitchGLU up to its activation, unsorted."""
    switch = block.switch_mlp
    up_proj, gate_proj, activation = switch.up_proj, switch.gate_proj, switch.activation

    def experts(x: mx.array, inds: mx.array) -> Any:
        expanded = mx.expand_dims(x, (-2, -3))
        up = up_proj(expanded, inds)
        gate = gate_proj(expanded, inds)
        return activation(up, gate).squeeze(-2)

    return experts


def stock_down(block: Any) -> Call:
    """Return down(h (B, L, k, I), inds (B, L, k)) -> (B, L, k, D)."""
    down_proj = block.switch_mlp.down_proj

    def down(h: mx.array, inds: mx.array) -> Any:
        return down_proj(mx.expand_dims(h, -2), inds).squeeze(-2)

    return down


def stock_routed(block: Any) -> Call:
    """Return routed(x (B, L, D), inds (B, L, k)) -> (B, L, k, D): SwitchGLU, which sorts the tokens of long prompts."""
    switch = block.switch_mlp

    def routed(x: mx.array, inds: mx.array) -> Any:
        return switch(x, inds)

    return routed


def stock_combine(y: mx.array, scores: mx.array) -> mx.array:
    """Weighted sum over the experts: y (B, L, k, D), scores (B, L, k) -> (B, L, D)."""
    return (y * scores[..., None]).sum(axis=-2).astype(y.dtype)


def stock_softmax_router(block: Any) -> Call:
    """Return router(x): softmax of the gate rounded to its dtype, the k largest, divided by their sum if so asked."""
    gate, k, normalize = block.gate, block.top_k, block.norm_topk_prob

    def router(x: mx.array) -> tuple[mx.array, mx.array]:
        gates = mx.softmax(gate(x), axis=-1, precise=True)
        inds = mx.argpartition(gates, kth=-k, axis=-1)[..., -k:]
        scores = mx.take_along_axis(gates, inds, axis=-1)
        if normalize:
            scores = scores / mx.sum(scores, axis=-1, keepdims=True)
        return inds, scores

    return router


def router(kind: str, stock: Callable[[Any], Call], scores: str = SCORES) -> Step:
    """Return the step of a router whose weights are the block's `gate`; `scores` says what they are, if not x's."""
    return Step("router", {"x": HIDDEN}, {"inds": INDS, "scores": scores}, stock, all_bytes("gate"), kind)


SOFTMAX_ROUTER = router("softmax", stock_softmax_router)
SIGMOID_BIAS_ROUTER = router("sigmoid_bias", lambda block: block.gate, f"{SCORES} float32")
"""Sigmoid in float32, selected with a correction added: mlx-lm's `gate` is a module that does all of it."""
EXPERTS = Step(
    "experts",
    {"x": HIDDEN, "inds": INDS},
    {"h": "(B, L, k, I) = swiglu(gate, up)"},
    stock_experts,
    expert_bytes("gate_proj", "up_proj"),
)
DOWN = Step("down", {"h": "(B, L, k, I)", "inds": INDS}, {"y": "(B, L, k, D)"}, stock_down, expert_bytes("down_proj"))
COMBINE = Step(
    "combine", {"y": "(B, L, k, D)", "scores": "(B, L, k)"}, {"out": "(B, L, D) in y's dtype"}, lambda _: stock_combine
)


def moe_block(router: Step, *more: Step) -> Block:
    """Return the block of routed experts behind `router`, and what the family adds to their sum."""
    steps = (router, EXPERTS, DOWN, COMBINE, *more)
    return Block("MoE block", steps, {"x": hidden}, stock_runs={("experts", "down"): stock_routed})
