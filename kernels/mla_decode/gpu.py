"""The launches of latent attention at decode. One source each for Metal and CUDA, but for stock's softmax."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx

from ..gpu.launch import Launch, read_source

_HERE = Path(__file__).resolve().parent
_SUMMED = ("by_latent", "by_place")
SOFTMAX = {
    "cuda": read_source(_HERE, "softmax_online", _SUMMED, ("weights",)),
    "metal": read_source(_HERE, "softmax_block", _SUMMED, ("weights",)),
}
READS = {"cuda": 8, "metal": 4}
"""Neighbouring elements a thread in MLX's softmax of 2-byte values."""
LONGEST_SOFTMAX = {"cuda": 1 << 30, "metal": 4096}
"""Keys up to which the order is that of MLX's own softmax: on Metal a row that one threadgroup reads once."""
THREADS = 1024

ATTEND = read_source(
    _HERE,
    "attend",
    ("q_nope", "q_pe", "kv_latent", "k_pe", "scale"),
    ("out",),
    header=(_HERE / "halves.h").read_text(),
    strided=True,
)
ATTEND_SPLIT = replace(
    ATTEND,
    name="attend_split",
    outputs=("out", "stats"),
    body=ATTEND.body + (_HERE / "split_tail.metal").read_text(),
)
JOIN = read_source(_HERE, "join_splits", ("partial", "stats"), ("out",))
LANES = 32
GROUPS = {"cuda": 16, "metal": 8}
"""Simdgroups a threadgroup: a kernel with many registers cannot have 1,024 threads."""
SPLITS = 8
UNSPLIT = {"cuda": 512, "metal": 256}
"""Keys up to which one threadgroup a head takes them all, which saves a launch."""

Template = list[tuple[str, mx.Dtype | int | bool]]


class Sizes(NamedTuple):
    """Heads, rank of the latent, and elements of a key's position part."""

    heads: int
    rank: int
    rope: int


@functools.cache
def _softmax_template(dtype: mx.Dtype, reads: int) -> Template:
    return [("T", dtype), ("READS", reads), ("THREADS", THREADS)]


def softmax(by_latent: mx.array, by_place: mx.array, backend: str) -> Launch:
    """Return the launch for two parts of the scores, 4-dimensional (..., S) of one shape -> their sum's softmax."""
    shape = by_latent.shape
    return Launch(
        SOFTMAX[backend],
        [by_latent, by_place],
        [shape],
        [by_latent.dtype],
        (THREADS, by_latent.size // shape[3], 1),
        (THREADS, 1, 1),
        _softmax_template(by_latent.dtype, READS[backend]),
    )


@functools.cache
def _attend_template(sizes: Sizes, dtype: mx.Dtype, groups: int, splits: int) -> Template:
    return [
        ("T", dtype),
        ("O", dtype if splits == 1 else mx.float32),
        ("H", sizes.heads),
        ("RANK", sizes.rank),
        ("ROPE", sizes.rope),
        ("GROUPS", groups),
        ("SPLITS", splits),
    ]


def attend(
    sizes: Sizes,
    q_nope: mx.array,
    q_pe: mx.array,
    kv_latent: mx.array,
    k_pe: mx.array,
    scale: mx.array,
    backend: str,
    splits: int,
) -> Launch:
    """Return the launch for q_nope (B, H, 1, rank), q_pe (B, H, 1, rope) and the cache, all bfloat16 and strided.

    kv_latent (B, 1, S, rank) and k_pe (B, 1, S, rope) may be views of longer buffers; `scale` is (1,) float32.
    Outputs: (B, H, 1, rank) for one split, else float32 (B, H, splits, rank) and (B, H, splits, 2) for `join`.
    """
    b, dtype = q_nope.shape[0], q_nope.dtype
    inputs = [q_nope, q_pe, kv_latent, k_pe, scale]
    threads = GROUPS[backend] * LANES
    grid, threadgroup = (threads, sizes.heads, b * splits), (threads, 1, 1)
    template = _attend_template(sizes, dtype, GROUPS[backend], splits)
    if splits == 1:
        return Launch(ATTEND, inputs, [(b, sizes.heads, 1, sizes.rank)], [dtype], grid, threadgroup, template)
    shapes = [(b, sizes.heads, splits, sizes.rank), (b, sizes.heads, splits, 2)]
    return Launch(ATTEND_SPLIT, inputs, shapes, [mx.float32, mx.float32], grid, threadgroup, template)


def join(partial: mx.array, stats: mx.array, dtype: mx.Dtype) -> Launch:
    """Return the launch for the outputs of `attend` in splits -> (B, H, 1, rank) of `dtype`."""
    b, heads, splits, rank = partial.shape
    threads = -(-rank // LANES) * LANES
    return Launch(
        JOIN,
        [partial, stats],
        [(b, heads, 1, rank)],
        [dtype],
        (threads, b * heads, 1),
        (min(threads, THREADS), 1, 1),
        [("T", dtype), ("RANK", rank), ("SPLITS", splits)],
    )
