"""The experts' down projection and weighted sum as one native operation.

h (B, L, k, I), inds (B, L, k), scores (B, L, k) -> out (B, L, D).
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
    (down,), asked = expert_weights(module, "down_proj")
    operation = extension().gather_qmm_down_combine

    def call(h: mx.array, inds: mx.array, scores: mx.array) -> mx.array:
        out: mx.array = operation(h, down, inds, scores, **asked)
        return out

    return Binding(call)
