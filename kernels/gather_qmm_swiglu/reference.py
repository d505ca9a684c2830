"""The experts in plain MLX: as the model does it, and in float32 with one rounding."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn


def stock(switch: Any, x: mx.array, inds: mx.array) -> mx.array:
    """Do what the unpatched model does: x (B, L, D), inds (B, L, k) -> (B, L, k, I)."""
    expanded = mx.expand_dims(x, (-2, -3))
    gate, up = switch.gate_proj(expanded, inds), switch.up_proj(expanded, inds)
    out: mx.array = switch.activation(up, gate).squeeze(-2)
    return out


def fp32(switch: Any, x: mx.array, inds: mx.array) -> mx.array:
    """Unpack the chosen experts to float32 and round once, at the end; for checks, not for speed."""
    gate, up = (project(layer, x[..., None, :], inds) for layer in (switch.gate_proj, switch.up_proj))
    rounded: mx.array = (nn.silu(gate) * up).astype(x.dtype)
    return rounded


def project(layer: Any, x: mx.array, inds: mx.array) -> mx.array:
    """Multiply x (B, L, 1 or k, K) by the chosen experts' rows in float32 -> (B, L, k, N)."""
    scales, biases = (layer[name][inds].astype(mx.float32) for name in ("scales", "biases"))
    rows = mx.dequantize(layer.weight[inds], scales, biases, layer.group_size, layer.bits)
    return (rows * x.astype(mx.float32)[..., None, :]).sum(-1)
