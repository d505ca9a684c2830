"""The decoder layer with a kernel at `residual_norm`; both families have this layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from zmlx_bench.patch.host import Calls, Host


def layer_host(layer: Any) -> Host:
    """Return the host of a decoder layer; its kernel is bound to the norm after attention."""
    return Host(layer, ("residual_norm",), _compose, bind_to={"residual_norm": layer.post_attention_layernorm})


def _compose(layer: Any, calls: Calls) -> Callable[..., Any]:
    residual_norm = calls[("residual_norm",)]

    def call(x: mx.array, mask: Any = None, cache: Any = None) -> Any:
        r = layer.self_attn(layer.input_layernorm(x), mask, cache)
        h, normed = residual_norm(x=x, r=r)
        return h + layer.mlp(normed)

    return call
