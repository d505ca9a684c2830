"""The routed experts, from gather to weighted sum, as one native operation.

x (B, L, D), inds (B, L, k), scores (B, L, k) -> out (B, L, D).
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest

from .._lib.native.wiring import expert_weights, extension
from .._lib.native.wiring import probe as probe


def bind(module: Any, request: BindRequest) -> Binding:
    """Return the operation over the block's own weights; raise Unavailable for what it does not serve."""
    del request
    (gate, up, down), asked = expert_weights(module, "gate_proj", "up_proj", "down_proj")
    operation = extension().moe_gather_qmm_swiglu_downproj_combine

    def call(x: mx.array, inds: mx.array, scores: mx.array) -> mx.array:
        out: mx.array = operation(x, gate, up, down, inds, scores, **asked)
        return out

    return Binding(call)
