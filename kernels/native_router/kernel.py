"""The router as native operations: x (B, L, D) -> inds (B, L, k) uint32, scores (B, L, k).

A router of kind `softmax` has a (quantised) linear layer as its gate, one of kind `sigmoid_bias` a plain matrix that
stays mlx's own matmul; the gates of the kinds in `forms` stay the model's own calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx import nn

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable, require_kind, require_parts

from .._lib.native.wiring import arguments, extension, weights
from .._lib.native.wiring import probe as probe
from . import forms

Router = Callable[[mx.array], tuple[mx.array, mx.array]]


def bind(module: Any, request: BindRequest) -> Binding:
    """Return the router of the block's kind; raise Unavailable for what the operation does not serve."""
    if getattr(module, "sharding_group", None) is not None:
        raise Unavailable("the model is sharded")
    kind = require_kind("native_router", request, "router", *KINDS)
    return Binding(KINDS[kind](module))


def softmax_router(block: Any) -> Router:
    """Return the router of a block whose probabilities are a softmax of its gate."""
    require_parts("native_router", block, "gate", "top_k", "norm_topk_prob")
    native = extension()
    gate = block.gate
    top_k, normalize = block.top_k, block.norm_topk_prob
    if isinstance(gate, nn.QuantizedLinear) and "bias" not in gate:
        weight, packing = weights(gate, "the router's gate")
        how = arguments(packing)

        def logits(x: mx.array) -> mx.array:
            y: mx.array = native.quantized_matvec(x, weight, **how)
            return y

    else:
        logits = gate

    def call(x: mx.array) -> tuple[mx.array, mx.array]:
        inds, scores = native.moe_router(logits(x), top_k, normalize)
        return inds, scores

    return call


def sigmoid_bias_router(block: Any) -> Router:
    """Return the router of a block whose gate is a MoEGate with one group of experts."""
    gate = block.gate
    require_parts("native_router", gate, "n_group")
    if gate.n_group != 1:
        raise Unavailable(f"the router selects among {gate.n_group} groups of experts; 1 is served")
    native = extension()
    top_k, normalize, scale = gate.top_k, gate.norm_topk_prob, gate.routed_scaling_factor
    transposed, correction = gate.weight.T, gate.e_score_correction_bias

    def call(x: mx.array) -> tuple[mx.array, mx.array]:
        inds, scores = native.moe_router(x @ transposed, top_k, normalize, correction_bias=correction, scale=scale)
        return inds, scores

    return call


KINDS: dict[str, Callable[[Any], Router]] = {
    "softmax": softmax_router,
    "sigmoid_bias": sigmoid_bias_router,
    **forms.KINDS,
}
