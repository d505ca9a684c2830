"""Norm and rotation of q and k in plain MLX, as the attention has them."""

from __future__ import annotations

from typing import Any

import mlx.core as mx


def qk_norm_rope(attention: Any, q: mx.array, k: mx.array, offset: Any) -> tuple[mx.array, mx.array]:
    """Raw projections q (B, L, Hq * hd), k (B, L, Hk * hd) -> q (B, Hq, L, hd), k (B, Hk, L, hd)."""
    b, length, _ = q.shape
    q = attention.q_norm(q.reshape(b, length, attention.n_heads, -1)).transpose(0, 2, 1, 3)
    k = attention.k_norm(k.reshape(b, length, attention.n_kv_heads, -1)).transpose(0, 2, 1, 3)
    return attention.rope(q, offset=offset), attention.rope(k, offset=offset)
