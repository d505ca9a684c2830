"""The residual stream's add and the norm after it: x, r (B, L, D) -> h = x + r and norm(h), both (B, L, D)."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable


def bind(module: Any, request: BindRequest) -> Binding:
    """Return the kernel for one norm; called once for each, after the weights are loaded."""
    # A kernel asks the module, not the name of its family; what it cannot serve it refuses in one sentence.
    if "weight" not in module or not hasattr(module, "eps"):
        raise Unavailable(f"compiled_norm needs a norm with a weight and an eps, and this is a {type(module).__name__}")
    weight, eps = module.weight, module.eps

    @mx.compile
    def call(x: mx.array, r: mx.array) -> tuple[mx.array, mx.array]:
        h = x + r
        return h, mx.fast.rms_norm(h, weight, eps)

    return Binding(call)
