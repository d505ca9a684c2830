"""The down projection and the combine in plain MLX: as the model does it, and in float32 with one rounding."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from ..gather_qmm_swiglu.reference import project


def stock(switch: Any, h: mx.array, inds: mx.array, scores: mx.array) -> mx.array:
    """Do what the unpatched model does: h (B, L, k, I), inds and scores (B, L, k) -> (B, L, D)."""
    y = switch.down_proj(mx.expand_dims(h, -2), inds).squeeze(-2)
    out: mx.array = (y * scores[..., None]).sum(axis=-2).astype(y.dtype)
    return out


def fp32(switch: Any, h: mx.array, inds: mx.array, scores: mx.array) -> mx.array:
    """Unpack the chosen experts to float32 and round once, at the end; for checks, not for speed."""
    y = project(switch.down_proj, h, inds)
    return (y * scores.astype(mx.float32)[..., None]).sum(-2).astype(h.dtype)
