"""MLX's Metal matrix-vector products and SwiGLU in NumPy, rounding by rounding, with the shim's order of simd_sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from tests.kernels.bf16 import Floats, read, rounded
from tests.kernels.experts import nibbles
from tests.kernels.rows import butterfly_sum, libm, serial_sum


def to_half(x: Any) -> Floats:
    """The nearest float16 of each float32, as float32."""
    return np.asarray(x, np.float32).astype(np.float16).astype(np.float32)


def float32(x: Any) -> Floats:
    return np.asarray(x, np.float32)


ROUND: dict[mx.Dtype, Callable[[Any], Floats]] = {mx.bfloat16: rounded, mx.float16: to_half, mx.float32: float32}


def qmv(x: Floats, layer: Any, expert: int | None = None) -> Floats:
    """x (K,) times the rows of a layer or of one expert, in float32: as qmv_fast where it applies, else generic qmv."""
    packed, scales, biases = (layer[p] if expert is None else layer[p][expert] for p in ("weight", "scales", "biases"))
    q = float32(nibbles(packed))
    n, k = q.shape
    values = 16 if n % 8 == 0 and k % 512 == 0 else 8
    blocks = -(-k // (32 * values))
    pad = blocks * 32 * values - k

    def cut(a: Floats) -> Floats:
        return np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, pad)]).reshape(*a.shape[:-1], blocks, 32, values // 4, 4)

    places = np.float32(16) ** np.arange(4, dtype=np.float32)
    xs = cut(x)
    sums = serial_sum(serial_sum(xs))
    dots = serial_sum(serial_sum((xs / places) * (cut(q) * places)))
    group = np.minimum(np.arange(blocks * 32) * values // 64, k // 64 - 1).reshape(blocks, 32)
    part = read(scales)[:, group] * dots + sums * read(biases)[:, group]
    return butterfly_sum(serial_sum(part.transpose(0, 2, 1)))


def qmv_wide(x: Floats, layer: Any) -> Floats:
    """x (K,) times the rows of a layer as qmv_wide adds: 8 lanes take every 8th group each, by eights."""
    w = np.repeat(read(layer.scales), 64, -1) * float32(nibbles(layer.weight)) + np.repeat(read(layer.biases), 64, -1)
    n, k = w.shape
    assert k % 512 == 0
    chunks = serial_sum((x * w).reshape(n, k // 512, 8, 8, 8)).transpose(0, 2, 1, 3)
    lanes = serial_sum(chunks.reshape(n, 8, -1))
    for stride in (4, 2, 1):
        lanes = lanes + lanes[:, np.arange(8) ^ stride]
    return lanes[:, 0]


def swiglu(gate: Floats, up: Floats, mode: str, dtype: mx.Dtype) -> Floats:
    """silu(gate) * up with the mode's roundings."""
    to = ROUND[dtype]
    if mode != "stock":
        return to(gate / (np.float32(1) + libm("expf", -gate)) * up)
    step = to if dtype == mx.bfloat16 else float32
    g = to(gate)
    below = step(np.float32(1) / step(np.float32(1) + step(libm("expf", np.abs(g)))))
    sigmoid = to(np.where(g < 0, below, step(np.float32(1) - below)))
    return to(to(g * sigmoid) * to(up))


def combine(y: Floats, scores: Floats, mode: str, step: Callable[[Any], Floats]) -> Floats:
    """Add y (k, D) times scores (k,) in order; products and sums are rounded by `step`, contracted in mode fp32."""
    total = np.zeros(y.shape[1], np.float32)
    for part, score in zip(y, step(scores), strict=True):
        if mode == "fp32":
            total = (part.astype(np.float64) * score + total).astype(np.float32)
        else:
            total = step(total + step(part * score))
    return total
