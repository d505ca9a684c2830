"""Values for the comparisons: spread over many powers of two, with ties, or extreme."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

dtypes = pytest.mark.parametrize(
    "dtype", [mx.bfloat16, pytest.param(mx.float16, marks=pytest.mark.slow)], ids=["bf16", "fp16"]
)
"""The published checkpoints are bfloat16."""
KINDS = ("spread", "ties", "extreme")


def values(kind: str, *shape: int, dtype: mx.Dtype = mx.bfloat16, seed: int = 0) -> mx.array:
    """`spread`: sums depend on their order. `ties`: few distinct values. `extreme`: near the type's ends, with zeros of
    both signs, infinities and a NaN."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=shape)
    if kind == "spread":
        drawn *= 2.0 ** rng.integers(-4, 5, size=shape)
    elif kind == "ties":
        drawn = np.round(drawn * 2) / 2
    else:
        largest = 6e4 if dtype == mx.float16 else 3e38
        drawn = np.clip(drawn * largest, -largest, largest)
        for at, special in enumerate((0.0, -0.0, largest, -largest, 1e-7, np.inf, -np.inf, np.nan)):
            drawn.reshape(-1)[at * 3 % drawn.size] = special
    return mx.array(drawn.astype(np.float32)).astype(dtype)
