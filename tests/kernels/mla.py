"""GLM's attention at its published sizes, and the roundings that its launches have, in NumPy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from tests.kernels.bf16 import Floats, rounded
from tests.kernels.rows import butterfly_sum, libm

HEADS, Q_RANK, RANK, NOPE, ROPE = 20, 768, 512, 192, 64
SCALE = (NOPE + ROPE) ** -0.5
EPS, BASE = 1e-5, 1e6


def draw(*shape: int, seed: int = 0, dtype: mx.Dtype = mx.bfloat16) -> mx.array:
    return mx.array(np.random.default_rng(seed).normal(size=shape).astype(np.float32)).astype(dtype)


def norm_of(d: int, seed: int) -> nn.RMSNorm:
    norm = nn.RMSNorm(d, eps=EPS)
    norm.weight = draw(d, seed=seed)
    return norm


def attention(**changes: Any) -> Any:
    """What the launches need of GLM's attention; q_b gives rows of a matrix drawn once."""
    fields = {
        "num_heads": HEADS,
        "q_lora_rank": Q_RANK,
        "kv_lora_rank": RANK,
        "qk_nope_head_dim": NOPE,
        "qk_rope_head_dim": ROPE,
        "scale": SCALE,
        "rope": nn.RoPE(ROPE, traditional=True, base=BASE),
        "q_a_layernorm": norm_of(Q_RANK, 8),
        "kv_a_layernorm": norm_of(RANK, 9),
    }
    return SimpleNamespace(**fields | changes)


def fused_sum(a: Floats, b: Floats) -> Floats:
    """Add a*b along the last axis from 0 in order, each product and sum rounded once to float32."""
    total = np.zeros(a.shape[:-1], np.float32)
    for i in range(a.shape[-1]):
        total = fused(a[..., i], b[..., i], total)
    return total


def fused(a: Any, b: Any, c: Any) -> Floats:
    """a*b + c in float64, rounded to float32: one rounding but for a double one in rare cases."""
    return np.asarray(np.float64(a) * np.float64(b) + np.float64(c), np.float32)


def normed(values: Floats, weight: Floats, reads: int) -> Floats:
    """MLX's norm: fused squares of `reads` neighbours, 32 lanes, then the simdgroups; rounded before the weight."""
    d = values.shape[-1]
    padded = np.zeros((*values.shape[:-1], -(-d // (32 * reads)) * 32 * reads), np.float32)
    padded[..., :d] = values
    chunks = padded.reshape(*values.shape[:-1], -1, 32, reads)
    partial = butterfly_sum(fused_sum(chunks, chunks))
    groups = np.zeros((*partial.shape[:-1], 32), np.float32)
    groups[..., : partial.shape[-1]] = partial
    total = butterfly_sum(groups)[..., None]
    scale = np.float32(1) / np.sqrt(total / np.float32(d) + np.float32(EPS))
    return rounded(weight * rounded(values * scale))


def turned(values: Floats, positions: Floats) -> Floats:
    """MLX's traditional rotation of values (B, ..., ROPE) at positions (B,), rounded to bfloat16."""
    pairs = values.shape[-1] // 2
    exponents = np.arange(pairs, dtype=np.float32) / np.float32(pairs) * np.float32(np.log2(BASE))
    angles = libm("exp2f", -exponents) * positions.astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
    cosine, sine = libm("cosf", angles), libm("sinf", angles)
    first, second = values[..., 0::2], values[..., 1::2]
    out = np.empty_like(values)
    out[..., 0::2] = fused(first, cosine, -(second * sine))
    out[..., 1::2] = fused(first, sine, second * cosine)
    return rounded(out)
