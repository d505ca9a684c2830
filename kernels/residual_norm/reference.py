"""The add and the norm in plain MLX: x, r (B, L, D) -> h, norm(h)."""

from __future__ import annotations

import mlx.core as mx


def residual_norm(x: mx.array, r: mx.array, weight: mx.array, eps: float) -> tuple[mx.array, mx.array]:
    """Do what the unpatched model does."""
    h = x + r
    return h, mx.fast.rms_norm(h, weight, eps)
