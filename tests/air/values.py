"""Values for the comparisons: spread over powers of two, with ties, extreme, or chosen to show float32's last bits.

Results are rounded to two bytes, of 65,536 neighbouring float32 numbers to one: of random values almost none shows that
a sum was added in another order. So some values cancel until the roundings are what is left, and of others those are
picked whose results lie at the edge between two roundings.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest

from tests.kernels.rows import butterfly_sum, libm, serial_sum

Numbers = npt.NDArray[Any]
dtypes = pytest.mark.parametrize(
    "dtype",
    [pytest.param(mx.bfloat16, id="bf16"), pytest.param(mx.float16, id="fp16", marks=pytest.mark.slow)],
)
"""The published checkpoints are bfloat16."""
KINDS = ("spread", "ties", "extreme")
_DROPPED = {mx.bfloat16: 16, mx.float16: 13}
"""Bits of a float32 that rounding takes away."""
_FAST = 0x1555
"""By how many of its last bits the shim's fast exp lies above the precise one."""


def rounded(x: Numbers, dtype: mx.Dtype) -> Numbers:
    """Return x as the type keeps it, in float64."""
    return np.array(mx.array(x.astype(np.float32)).astype(dtype).astype(mx.float32)).astype(np.float64)


def array(x: Numbers, dtype: mx.Dtype) -> mx.array:
    return mx.array(x.astype(np.float32)).astype(dtype)


def values(kind: str, *shape: int, dtype: mx.Dtype = mx.bfloat16, seed: int = 0) -> mx.array:
    """`spread`: over nine powers of two. `wide`: over as many as float32 can add four numbers of only with roundings.
    `ties`: few distinct values. `extreme`: near the type's ends, with zeros of both signs, infinities and a NaN."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=shape)
    if kind == "spread":
        drawn *= 2.0 ** rng.integers(-4, 5, size=shape)
    elif kind == "wide":
        drawn *= 2.0 ** rng.integers(-12, 13 if dtype == mx.bfloat16 else 9, size=shape)
    elif kind == "ties":
        drawn = np.round(drawn * 2) / 2
    else:
        largest = 6e4 if dtype == mx.float16 else 3e38
        drawn = np.clip(drawn * largest, -largest, largest)
        for at, special in enumerate((0.0, -0.0, largest, -largest, 1e-7, np.inf, -np.inf, np.nan)):
            drawn.reshape(-1)[at * 3 % drawn.size] = special
    return array(drawn, dtype)


def same_direction(x: mx.array, *shape: int) -> mx.array:
    """Return rows (*shape, K) that are x (K,) times powers of two: what cancels for x cancels for each."""
    rows = int(np.prod(shape))
    powers = mx.array(2.0 ** (np.arange(rows) % 3 - 1), mx.float32).astype(x.dtype)
    return (powers[:, None] * x).reshape(*shape, x.size)


def cancelling_biases(x: mx.array, q: Numbers, scales: mx.array, biases: mx.array) -> mx.array:
    """Return biases (..., N, G) with which rows of weights scale * q + bias nearly cancel against x (K,).

    q (..., N, K) are the packed numbers. Two groups' biases take up what the others leave, the second what the first's
    rounding leaves.
    """
    groups = scales.shape[-1]
    wide = np.array(x.astype(mx.float32)).astype(np.float64)
    sums = wide.reshape(groups, -1).sum(-1)
    dots = (q * wide).reshape(*q.shape[:-1], groups, -1).sum(-1)
    scale, bias = (np.array(part.astype(mx.float32)).astype(np.float64) for part in (scales, biases))
    for group in (groups - 1, groups // 2)[: min(2, groups)]:
        bias[..., group] = 0
        left = (scale * dots + bias * sums).sum(-1)
        bias[..., group] = rounded(-left / sums[group], biases.dtype)
    return array(bias, biases.dtype)


def cancelling_pairs(
    rows: int, size: int, position: int, base: float, *, traditional: bool, dtype: mx.Dtype, seed: int = 0
) -> mx.array:
    """Rows (rows, size) whose rotation at a position nearly cancels, each pair in its first or its second element."""
    rng = np.random.default_rng(seed)
    pairs = size // 2
    angle = position * base ** -(np.arange(pairs) / pairs)
    first = np.array(values("spread", rows, pairs, dtype=dtype, seed=seed).astype(mx.float32)).astype(np.float64)
    slope = np.where(rng.random((rows, pairs)) < 0.5, np.cos(angle) / np.sin(angle), -np.sin(angle) / np.cos(angle))
    out = np.empty((rows, size))
    places = (slice(0, None, 2), slice(1, None, 2)) if traditional else (slice(0, pairs), slice(pairs, None))
    for place, part in zip(places, (first, first * slope), strict=True):
        out[:, place] = part
    return array(out, dtype)


def cancelling_terms(weights: mx.array, size: int, dtype: mx.Dtype, seed: int = 0) -> mx.array:
    """Rows y (..., k, size) whose sum weighted by (..., k) nearly cancels: the last takes up what the others leave."""
    drawn = values("spread", *weights.shape, size, dtype=dtype, seed=seed)
    wide, by = (np.array(part.astype(mx.float32)).astype(np.float64) for part in (drawn, weights[..., None]))
    wide[..., -1, :] = -(wide * by)[..., :-1, :].sum(-2) / by[..., -1, :]
    return array(wide, dtype)


def _at_an_edge(x: Numbers, dtype: mx.Dtype) -> npt.NDArray[np.bool_]:
    """Whether float32 numbers lie in the middle between two numbers of the type, or next to it."""
    dropped = _DROPPED[dtype]
    low = x.view(np.uint32) & np.uint32((1 << dropped) - 1)
    return np.abs(low.astype(np.int64) - (1 << (dropped - 1))) <= 1


def _row_sum(x: Numbers) -> Numbers:
    """Add rows (rows, size) of float32 as MLX's kernels do: four neighbours a thread, 32 lanes, the simdgroups."""
    padded = np.zeros((len(x), -(-x.shape[1] // 128), 32, 4), np.float32)
    padded.reshape(len(x), -1)[:, : x.shape[1]] = x
    groups = np.zeros((len(x), 32), np.float32)
    groups[:, : padded.shape[1]] = butterfly_sum(serial_sum(padded))
    return butterfly_sum(groups)[:, None]


def _best(drawn: mx.array, results: Numbers, rows: int, dtype: mx.Dtype) -> mx.array:
    found = _at_an_edge(results, dtype).sum(-1)
    best = np.argsort(-found, kind="stable")[:rows]
    assert found[best].all(), "too few candidates"
    return drawn[mx.array(best)]


def norm_edges(rows: int, size: int, eps: float, *, dtype: mx.Dtype, seed: int = 0) -> mx.array:
    """Rows (rows, size) of which an RMS norm's results, before the weight, lie at an edge in places."""
    # A row has as many results as its numbers have mantissas, so of 200 rows about one has some at an edge.
    drawn = values("spread", 2000 + 300 * rows, size, dtype=dtype, seed=seed)
    wide = np.array(drawn.astype(mx.float32))
    scale = np.float32(1) / np.sqrt(_row_sum(wide * wide) / np.float32(size) + np.float32(eps))
    return _best(drawn, wide * scale, rows, dtype)


def softmax_edges(
    rows: int, size: int, *, dtype: mx.Dtype, greatest: int | None = None, candidates: int = 0, seed: int = 0
) -> mx.array:
    """Rows (rows, size) of which a softmax's results, or its `greatest` ones, lie at an edge in places."""
    spread = np.random.default_rng(seed).normal(size=(candidates or max(2000, 800_000 // size), size)) * 2
    drawn = array(spread, dtype)
    wide = np.array(drawn.astype(mx.float32))
    below, where = np.unique(wide - wide.max(-1, keepdims=True), return_inverse=True)
    raised = (libm("expf", below).view(np.uint32) + np.uint32(_FAST)).view(np.float32)[where].reshape(wide.shape)
    results = raised * (np.float32(1) / _row_sum(raised))
    if greatest is not None:
        results = np.sort(results, axis=-1)[:, -greatest:]
    return _best(drawn, results, rows, dtype)
