"""The shared expert in plain MLX: as the model does it, and with gate, up and SwiGLU in float32."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn


def stock(mlp: Any, x: mx.array) -> mx.array:
    """Do what the unpatched model does: x (B, L, D) -> (B, L, D)."""
    out: mx.array = mlp(x)
    return out


def fp32(mlp: Any, x: mx.array) -> mx.array:
    """Round gate, up and SwiGLU once, before the model's own down projection; for checks, not for speed."""
    gate, up = (_project(layer, x) for layer in (mlp.gate_proj, mlp.up_proj))
    out: mx.array = mlp.down_proj((nn.silu(gate) * up).astype(x.dtype))
    return out


def _project(layer: Any, x: mx.array) -> mx.array:
    scales, biases = (layer[name].astype(mx.float32) for name in ("scales", "biases"))
    rows = mx.dequantize(layer.weight, scales, biases, layer.group_size, layer.bits)
    return (rows * x.astype(mx.float32)[..., None, :]).sum(-1)
