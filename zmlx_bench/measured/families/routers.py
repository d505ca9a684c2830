"""Routers that more than one architecture may have, each a kind of its own: what mlx-lm 0.32.4 does, bit for bit.

All order by `argpartition`; they differ in what they order, in which roundings the scores have, and in the order in
which the chosen stand. A block calls its parts `gate` (a projection or a module), `top_k`, `norm_topk_prob`.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from zmlx_bench.measured.families.moe import SCORES, router
from zmlx_bench.measured.inputs import hidden
from zmlx_bench.measured.steps import Block, Call


def _largest(values: mx.array, k: int) -> mx.array:
    return mx.argpartition(values, kth=-k, axis=-1)[..., -k:]


def _top_k_softmax(block: Any) -> Call:
    gate, k = block.gate, block.top_k

    def route(x: mx.array) -> tuple[mx.array, mx.array]:
        logits = gate(x)
        inds = _largest(logits, k)
        return inds, mx.softmax(mx.take_along_axis(logits, inds, axis=-1), axis=-1, precise=True)

    return route


TOP_K_SOFTMAX = router("top_k_softmax", _top_k_softmax)
"""The k largest logits, and a softmax over them alone, in float32 and rounded once."""


def _top_k_softmax_scaled(block: Any) -> Call:
    gate, k, scale = block.gate, block.top_k, block.per_expert_scale
    root, eps, weight = block.root_size, block.eps, block.scale

    def route(x: mx.array) -> tuple[mx.array, mx.array]:
        logits = gate(mx.fast.rms_norm(x, weight * root, eps))
        inds = _largest(logits, k)
        scores = mx.softmax(mx.take_along_axis(logits, inds, axis=-1), axis=-1)
        return inds, scores * scale[inds]

    return route


TOP_K_SOFTMAX_SCALED = router("top_k_softmax_scaled", _top_k_softmax_scaled)
"""Of a norm of x; the softmax over the k largest in the logits' own dtype, times a scale of each expert."""
ROUTER_BLOCK = Block("each router", (TOP_K_SOFTMAX_SCALED,), {"x": hidden})

SIGMOID_GROUPS = router("sigmoid_groups", lambda block: block.gate, f"{SCORES} float32")
"""Sigmoid in float32, selected with a correction added among the best groups, divided by their sum as it is: `gate` is
a module that does all of it."""


def _sigmoid_float32(block: Any) -> Call:
    gate, k, correction = block.gate, block.top_k, block.e_score_correction_bias

    def route(x: mx.array) -> tuple[mx.array, mx.array]:
        sigmoids = mx.sigmoid(gate(x.astype(mx.float32)))
        inds = mx.argpartition(-(sigmoids + correction), kth=k - 1, axis=-1)[..., :k]
        scores = mx.take_along_axis(sigmoids, inds, axis=-1)
        scores = scores / (mx.sum(scores, axis=-1, keepdims=True) + 1e-20)
        return inds, scores.astype(x.dtype)

    return route


SIGMOID_FLOAT32 = router("sigmoid_float32", _sigmoid_float32)
"""Gate and sigmoid in float32, selected with a correction added, divided by their sum, rounded to x's dtype."""


def _sigmoid_own(block: Any) -> Call:
    gate, k, normalize, scale = block.gate, block.top_k, block.norm_topk_prob, block.routed_scaling_factor
    correction = block.expert_bias if block.use_expert_bias else None

    def route(x: mx.array) -> tuple[mx.array, mx.array]:
        sigmoids = mx.sigmoid(gate(x))
        inds = _largest(sigmoids if correction is None else sigmoids.astype(mx.float32) + correction, k)
        scores = mx.take_along_axis(sigmoids, inds, axis=-1)
        if normalize:
            scores = scores / (mx.sum(scores, axis=-1, keepdims=True) + 1e-6)
        return inds, (scores * scale).astype(x.dtype)

    return route


SIGMOID_OWN = router("sigmoid_own", _sigmoid_own)
"""Sigmoid in the gate's own dtype, selected in float32 with a correction added, divided by their sum in that dtype."""
