"""The experts' gate, up and SwiGLU as one native operation: x (B, L, D), inds (B, L, k) -> h (B, L, k, I)."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest

from .._lib.native.wiring import expert_weights, extension
from .._lib.native.wiring import probe as probe


def bind(module: Any, request: BindRequest) -> Binding:
    """Return the operation over the block's own weights; raise Unavailable for what it does not serve."""
    del request
    (gate, up), asked = expert_weights(module, "gate_proj", "up_proj")
    operation = extension().gather_qmm_swiglu

    def call(x: mx.array, inds: mx.array) -> mx.array:
        h: mx.array = operation(x, gate, up, inds, **asked)
        return h

    return Binding(call)
