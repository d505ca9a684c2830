"""Latent attention at decode in plain MLX."""

from __future__ import annotations

import mlx.core as mx


def attend(q_nope: mx.array, q_pe: mx.array, kv_latent: mx.array, k_pe: mx.array, scale: float) -> mx.array:
    """q_nope (B, H, 1, rank), q_pe (B, H, 1, rope), kv_latent (B, 1, S, rank), k_pe (B, 1, S, rope) ->
    (B, H, 1, rank): the unpatched model's steps."""
    pe_scores = (q_pe * scale) @ k_pe.swapaxes(-1, -2)
    return mx.fast.scaled_dot_product_attention(q_nope, kv_latent, kv_latent, scale=scale, mask=pe_scores)
