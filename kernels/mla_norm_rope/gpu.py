"""The two launches between the projections of x and the cache. One source each for Metal and CUDA."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx

from ..gpu.launch import Launch, read_source

_HERE = Path(__file__).resolve().parent
_ROTATION = (_HERE.parent / "gpu" / "mla_words.h").read_text()
NORMS = read_source(
    _HERE,
    "mla_norms",
    ("projected", "q_weight", "kv_weight", "eps", "log2_base", "offsets"),
    ("q_normed", "kv_latent", "k_pe"),
    header=_ROTATION,
)
HEADS = read_source(_HERE, "mla_heads", ("q", "log2_base", "offsets", "scales"), ("q_nope", "q_pe"), header=_ROTATION)
LANES = 32
READS = {"cuda": 8, "metal": 4}
"""Neighbouring elements a thread in MLX's norm of 2-byte values."""
LARGEST = {"cuda": 128 * 8, "metal": 1024 * 4}
"""Elements of the longest row that MLX's norm reads once, in the order of `mla_norms.metal`."""


class Sizes(NamedTuple):
    """Sizes of one attention: ranks of q and of the latent, heads, and elements a head without and with position."""

    q_rank: int
    rank: int
    heads: int
    nope: int
    rope: int


class Fixed(NamedTuple):
    """What a launch has for every token count of one kind, in Launch's order after the inputs."""

    output_shapes: list[tuple[int, ...]]
    output_dtypes: list[mx.Dtype]
    grid: tuple[int, int, int]
    threadgroup: tuple[int, int, int]
    template: list[tuple[str, mx.Dtype | int | bool]]


@functools.cache
def _norms(sizes: Sizes, dtype: mx.Dtype, b: int, offsets: int, reads: int) -> Fixed:
    threads = -(-max(sizes.q_rank, sizes.rank) // (reads * LANES)) * LANES
    return Fixed(
        [(b, 1, sizes.q_rank), (b, 1, 1, sizes.rank), (b, 1, 1, sizes.rope)],
        [dtype] * 3,
        (threads, 3, b),
        (threads, 1, 1),
        [
            ("T", dtype),
            ("Q_RANK", sizes.q_rank),
            ("RANK", sizes.rank),
            ("ROPE", sizes.rope),
            ("READS", reads),
            ("THREADS", threads),
            ("OFFSETS", offsets),
        ],
    )


@functools.cache
def _heads(sizes: Sizes, dtype: mx.Dtype, b: int, offsets: int, rows: bool) -> Fixed:
    threads = -(-(sizes.nope + sizes.rope // 2) // LANES) * LANES
    return Fixed(
        [(b, sizes.heads, 1, sizes.nope), (b, 1, sizes.heads, sizes.rope) if rows else (b, sizes.heads, 1, sizes.rope)],
        [dtype] * 2,
        (threads, sizes.heads, b),
        (threads, 1, 1),
        [
            ("T", dtype),
            ("H", sizes.heads),
            ("NOPE", sizes.nope),
            ("ROPE", sizes.rope),
            ("OFFSETS", offsets),
        ],
    )


def norms(
    sizes: Sizes,
    reads: int,
    projected: mx.array,
    weights: tuple[mx.array, mx.array],
    eps: mx.array,
    log2_base: mx.array,
    offsets: mx.array,
) -> Launch:
    """Return the launch for `projected` (B, 1, q_rank + rank + rope): q_a, the latent and k_pe side by side.

    `weights` are the norms' (q_rank,) and (rank,), `eps` (2,) theirs and `log2_base` (1,) the rotation's in float32,
    `offsets` int32 (1,) or (B,). Outputs: q_a normed (B, 1, q_rank), the latent normed (B, 1, 1, rank), k_pe
    rotated (B, 1, 1, rope).
    """
    fixed = _norms(sizes, projected.dtype, projected.shape[0], offsets.size, reads)
    return Launch(NORMS, [projected, *weights, eps, log2_base, offsets], *fixed)


def heads(
    sizes: Sizes, q: mx.array, log2_base: mx.array, offsets: mx.array, scales: mx.array, rows: bool = False
) -> Launch:
    """Return the launch for q (B, 1, heads * (nope + rope)), the second projection of q.

    `scales` (2,) float32 holds numbers of q's dtype that multiply the outputs: q_nope (B, heads, 1, nope), and
    q_pe (B, heads, 1, rope), or with `rows` (B, 1, heads, rope), after its rotation.
    """
    fixed = _heads(sizes, q.dtype, q.shape[0], offsets.size, rows)
    return Launch(HEADS, [q, log2_base, offsets, scales], *fixed)
