"""The launches of latent attention at decode. One source each for Metal and CUDA, but for stock's softmax."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx

from .._lib.gpu.launch import Launch, read_source
from .._lib.gpu.settle import bits

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
SOFTMAX_THREADS = {"cuda": (THREADS,), "metal": (128, 256, 512, THREADS)}
"""Threads that a row of the softmax may have. MLX on Metal gives it as few simdgroups as hold the row; more of them add
zeros, and each number of threads is a kernel to compile, so there are four."""

ATTEND = read_source(
    _HERE,
    "attend",
    ("q_nope", "q_pe", "kv_latent", "k_pe"),
    ("out",),
    header=(_HERE / "halves.h").read_text(),
    strided=True,
)
ATTEND_SPLIT = replace(
    ATTEND,
    name="attend_split",
    outputs=("out", "stats"),
    body=ATTEND.body + (_HERE / "split_tail.gpu").read_text(),
)
JOIN = read_source(_HERE, "join_splits", ("partial", "stats"), ("out",))
LANES = 32
GROUPS = {"cuda": 16, "metal": 8}
"""Simdgroups a threadgroup: a kernel with many registers cannot have 1,024 threads."""
SPLITS = 8
UNSPLIT = {"cuda": 512, "metal": 256}
"""Keys up to which one threadgroup a head takes them all, which saves a launch."""


class Sizes(NamedTuple):
    """Heads, rank of the latent, and elements of a key's position part."""

    heads: int
    rank: int
    rope: int


def softmax_threads(size: int, backend: str) -> int:
    """Return the threads of a threadgroup for rows of `size`, at most LONGEST_SOFTMAX, scores."""
    return next((n for n in SOFTMAX_THREADS[backend] if size <= n * READS[backend]), THREADS)


def softmax(shape: tuple[int, ...], dtype: mx.Dtype, backend: str) -> Launch:
    """Return the launch for two parts of the scores, each of the 4-dimensional `shape` (..., S), to the softmax of
    their sum. What it is settled to serves every S with as many rows and threads, given its output's shape at the
    call."""
    b, h, length, size = shape
    threads = softmax_threads(size, backend)
    return Launch(
        SOFTMAX[backend],
        [],
        [(b, h, length, size)],
        [dtype],
        (threads, b * h * length, 1),
        (threads, 1, 1),
        [("T", dtype), ("READS", READS[backend]), ("THREADS", threads)],
    )


def attend(sizes: Sizes, b: int, scale: float, backend: str, splits: int) -> Launch:
    """Return the launch for b sequences, all inputs bfloat16 and strided.

    Inputs: q_nope (b, H, 1, rank), q_pe (b, H, 1, rope), kv_latent (b, 1, S, rank) and k_pe (b, 1, S, rope), which
    may be views of longer buffers. Outputs: (b, H, 1, rank) for one split, else float32 (b, H, splits, rank) and
    (b, H, splits, 2) for `join`.
    """
    dtype = mx.bfloat16 if splits == 1 else mx.float32
    threads = GROUPS[backend] * LANES
    outputs = [(b, sizes.heads, splits, sizes.rank), (b, sizes.heads, splits, 2)]
    return Launch(
        ATTEND if splits == 1 else ATTEND_SPLIT,
        [],
        outputs[: 1 if splits == 1 else 2],
        [dtype] * (1 if splits == 1 else 2),
        (threads, sizes.heads, b * splits),
        (threads, 1, 1),
        [
            ("T", mx.bfloat16),
            ("O", dtype),
            ("H", sizes.heads),
            ("RANK", sizes.rank),
            ("ROPE", sizes.rope),
            ("GROUPS", GROUPS[backend]),
            ("SPLITS", splits),
            ("SCALE", bits(scale)),
        ],
    )


def join(sizes: Sizes, b: int, splits: int) -> Launch:
    """Return the launch for the outputs of `attend` in splits -> bfloat16 (b, H, 1, rank)."""
    threads = -(-sizes.rank // LANES) * LANES
    return Launch(
        JOIN,
        [],
        [(b, sizes.heads, 1, sizes.rank)],
        [mx.bfloat16],
        (threads, b * sizes.heads, 1),
        (min(threads, THREADS), 1, 1),
        [("T", mx.bfloat16), ("RANK", sizes.rank), ("SPLITS", splits)],
    )
