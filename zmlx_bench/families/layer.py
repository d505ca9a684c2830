"""The decoder layer with a kernel at `residual_norm`; both families have this layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from zmlx_bench.patch.host import Calls


def compose_layer(layer: Any, calls: Calls) -> Callable[..., Any]:
    """Return the decoder layer with the add and the norm after attention in one call."""
    residual_norm = calls[("residual_norm",)]

    def call(x: mx.array, mask: Any = None, cache: Any = None) -> Any:
        r = layer.self_attn(layer.input_layernorm(x), mask, cache)
        h, normed = residual_norm(x=x, r=r)
        return h + layer.mlp(normed)

    return call
