"""The launch of the add and norm. One source for Metal and CUDA."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from ..gpu.launch import Launch, read_source

SOURCE = read_source(Path(__file__).resolve().parent, "residual_norm", ("x", "r", "weight", "eps"), ("h", "normed"))
LANES = 32
READS = 4
LARGEST = 1024 * READS
"""Elements of the largest row that a threadgroup of 1,024 threads holds."""


def plan(x: mx.array, r: mx.array, weight: mx.array, eps: mx.array) -> Launch:
    """Return the launch for x, r (B, L, D) of one dtype, weight (D,), eps (1,) float32 -> h, normed (B, L, D)."""
    d = x.shape[-1]
    threads = -(-d // (READS * LANES)) * LANES
    template: list[tuple[str, mx.Dtype | int | bool]] = [
        ("T", x.dtype),
        ("D", d),
        ("READS", READS),
        ("GROUPS", threads // LANES),
    ]
    return Launch(
        SOURCE,
        [x, r, weight, eps],
        [x.shape, x.shape],
        [x.dtype, x.dtype],
        (threads, x.size // d, 1),
        (threads, 1, 1),
        template,
    )
