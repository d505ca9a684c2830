"""Latent attention's steps from x to the cache in plain MLX, as its attention has them."""

from __future__ import annotations

from typing import Any

import mlx.core as mx


def norms(attention: Any, projected: mx.array, offset: Any) -> tuple[mx.array, mx.array, mx.array]:
    """`projected` (B, 1, q_rank + rank + rope) -> q_a normed, kv_latent (B, 1, 1, rank), k_pe (B, 1, 1, rope)."""
    q_rank, rank = attention.q_a_layernorm.weight.size, attention.kv_a_layernorm.weight.size
    q_a, compressed_kv, k_pe = mx.split(projected, [q_rank, q_rank + rank], axis=-1)
    kv_latent = mx.expand_dims(attention.kv_a_layernorm(compressed_kv), axis=1)
    return attention.q_a_layernorm(q_a), kv_latent, attention.rope(mx.expand_dims(k_pe, axis=1), offset)


def heads(attention: Any, q: mx.array, offset: Any) -> tuple[mx.array, mx.array]:
    """`q` (B, 1, H * (nope + rope)) -> q_nope (B, H, 1, nope), q_pe (B, H, 1, rope)."""
    q = q.reshape(q.shape[0], 1, attention.num_heads, -1).transpose(0, 2, 1, 3)
    q_nope, q_pe = mx.split(q, [attention.qk_nope_head_dim], axis=-1)
    return q_nope, attention.rope(q_pe, offset)
