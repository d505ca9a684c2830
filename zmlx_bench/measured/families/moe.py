"""The routed part of a MoE block, cut into its sites: the stock steps of mlx-lm 0.32.2 and their composition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.host import Calls

SITES = ("router", "experts", "down", "combine")
FUSIONS = (
    ("experts", "down"),
    ("down", "combine"),
    ("experts", "down", "combine"),
    ("router", "experts", "down", "combine"),
)


def stock_experts(block: Any) -> Callable[..., Any]:
    """Return experts(x (B, L, D), inds (B, L, k)) -> (B, L, k, I): SwitchGLU up to its activation, unsorted."""
    switch = block.switch_mlp

    def experts(x: mx.array, inds: mx.array) -> Any:
        expanded = mx.expand_dims(x, (-2, -3))
        up = switch.up_proj(expanded, inds)
        gate = switch.gate_proj(expanded, inds)
        return switch.activation(up, gate).squeeze(-2)

    return experts


def stock_down(block: Any) -> Callable[..., Any]:
    """Return down(h (B, L, k, I), inds (B, L, k)) -> (B, L, k, D)."""
    switch = block.switch_mlp

    def down(h: mx.array, inds: mx.array) -> Any:
        return switch.down_proj(mx.expand_dims(h, -2), inds).squeeze(-2)

    return down


def stock_combine(y: mx.array, scores: mx.array) -> mx.array:
    """Weighted sum over the experts: y (B, L, k, D), scores (B, L, k) -> (B, L, D)."""
    return (y * scores[..., None]).sum(axis=-2).astype(y.dtype)


def compose_routed(block: Any, calls: Calls, stock_router: Callable[..., Any]) -> Callable[[mx.array], mx.array]:
    """Return routed(x (B, L, D)) -> (B, L, D) from bound kernels, with stock steps where there is none."""
    if SITES in calls:
        whole = calls[SITES]
        return lambda x: whole(x=x)
    router = calls.get(("router",), stock_router)
    tail = _tail(block, calls)

    def routed(x: mx.array) -> mx.array:
        inds, scores = router(x=x)
        return tail(x, inds, scores)

    return routed


def _tail(block: Any, calls: Calls) -> Callable[[mx.array, mx.array, mx.array], mx.array]:
    experts = calls.get(("experts",)) or stock_experts(block)
    down = calls.get(("down",)) or stock_down(block)
    combine = calls.get(("combine",)) or stock_combine
    whole = calls.get(("experts", "down", "combine"))
    finish = calls.get(("down", "combine"))
    outputs = calls.get(("experts", "down"))
    if whole is not None:
        return lambda x, inds, scores: whole(x=x, inds=inds, scores=scores)
    if finish is not None:
        return lambda x, inds, scores: finish(h=experts(x=x, inds=inds), inds=inds, scores=scores)
    if outputs is not None:
        return lambda x, inds, scores: combine(y=outputs(x=x, inds=inds), scores=scores)
    return lambda x, inds, scores: combine(y=down(h=experts(x=x, inds=inds), inds=inds), scores=scores)
