"""A dense quantised projection as a native operation: x (..., K) -> (..., N)."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from zmlx_bench.patch.contract import Binding, BindRequest

from ..native.wiring import extension, packing, weights


def bind(module: Any, request: BindRequest) -> Binding:
    """Return the operation over the layer's own weights; raise Unavailable for what it does not serve."""
    del request
    weight = weights(module, "the linear layer")
    how = packing(module)
    operation = extension().quantized_matvec

    def call(x: mx.array) -> mx.array:
        y: mx.array = operation(x, weight, **how)
        return y + module["bias"] if "bias" in module else y

    return Binding(call)
