"""Each mode in plain MLX: what the CPU runs, and what the GPU sources are checked against."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx


def stock(y: mx.array, scores: mx.array) -> mx.array:
    """Do what the unpatched model does, with its roundings on the running backend."""
    return (y * scores[..., None]).sum(axis=-2).astype(y.dtype)


def bf16_rounded(y: mx.array, scores: mx.array) -> mx.array:
    """Round scores, products and every partial sum to y's dtype; experts in ascending order."""
    products = y * scores.astype(y.dtype)[..., None]
    total = products[..., 0, :]
    for expert in range(1, y.shape[-2]):
        total = total + products[..., expert, :]
    return total


def fp32(y: mx.array, scores: mx.array) -> mx.array:
    """Multiply and add in float32 by a matmul, which may contract; round once to y's dtype."""
    weights = scores.astype(mx.float32)[..., None, :]
    return (weights @ y.astype(mx.float32)).squeeze(-2).astype(y.dtype)


def fp32_no_fma(y: mx.array, scores: mx.array) -> mx.array:
    """Multiply in float32, then add in float32 in ascending order of the experts; round once to y's dtype."""
    products = y.astype(mx.float32) * scores.astype(mx.float32)[..., None]
    total = products[..., 0, :]
    for expert in range(1, y.shape[-2]):
        total = total + products[..., expert, :]
    return total.astype(y.dtype)


MODES: dict[str, Callable[[mx.array, mx.array], mx.array]] = {
    "stock": stock,
    "bf16_rounded": bf16_rounded,
    "fp32": fp32,
    "fp32_no_fma": fp32_no_fma,
}
