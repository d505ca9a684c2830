"""The launches of the add and norm. Each source serves Metal and CUDA."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from .._lib.gpu.launch import Launch, read_source
from .._lib.gpu.settle import bits

_FOLDER = Path(__file__).resolve().parent
SOURCE = read_source(_FOLDER, "residual_norm", ("x", "r", "weight", "eps"), ("h", "normed"))
STOCK = read_source(_FOLDER, "residual_norm_stock", ("x", "r", "weight"), ("h", "normed"))
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


def spread(d: int, itemsize: int, backend: str) -> tuple[int, int, int]:
    """Return threads, chunks and reads by which MLX's norm spreads a row of `d`, `itemsize` bytes each, over threads.

    Read in MLX 0.32.4: mlx/backend/metal/normalization.cpp (RMS_N_READS 4) and mlx/backend/cuda/rms_norm.cu
    (16 bytes a read), and in the compiled kernels that ship with it. Raises ValueError for a longer row, which MLX
    norms in a loop, and for one that is no multiple of the reads.
    """
    reads = 4 if backend == "metal" else 16 // itemsize
    vectors = d // reads
    if d % reads:
        raise ValueError(f"rows of {d} elements are no multiple of {reads}, as {backend} reads them")
    if d > (4096 if backend == "metal" else reads * 128 * 8):
        raise ValueError(f"rows of {d} elements are too long on {backend}")
    if backend == "metal":
        return -(-vectors // LANES) * LANES, 1, reads
    if vectors <= 64:
        return 64, 1, reads
    threads = 64 if vectors % 128 and vectors % 64 == 0 and vectors // 64 <= 8 else 128
    return threads, -(-vectors // threads), reads


def plan_stock(x: mx.array, r: mx.array, weight: mx.array, eps: float, backend: str) -> Launch:
    """Return the launch for x, r (B, L, D), weight (D,), all of one dtype -> h, normed (B, L, D)."""
    d = x.shape[-1]
    threads, chunks, reads = spread(d, x.dtype.size, backend)
    template: list[tuple[str, mx.Dtype | int | bool]] = [
        ("T", x.dtype),
        ("D", d),
        ("READS", reads),
        ("CHUNKS", chunks),
        ("THREADS", threads),
        ("EPS", bits(eps)),
    ]
    return Launch(
        STOCK,
        [x, r, weight],
        [x.shape, x.shape],
        [x.dtype, x.dtype],
        (threads, x.size // d, 1),
        (threads, 1, 1),
        template,
    )
