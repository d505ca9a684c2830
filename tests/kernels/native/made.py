"""Arrays that provoke rounding, and the comparison of bits."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

Weights = tuple[mx.array, mx.array, mx.array | None]
Packing = dict[str, Any]
DTYPES = {"bfloat16": mx.bfloat16, "float16": mx.float16, "float32": mx.float32}
KINDS = ("ordinary", "wide", "tiny", "special", "few", "any_bits")
FLOATS: tuple[Packing, ...] = (
    {"group_size": 32, "bits": 4, "mode": "mxfp4"},
    {"group_size": 32, "bits": 8, "mode": "mxfp8"},
    {"group_size": 16, "bits": 4, "mode": "nvfp4"},
)
"""The packings that are not affine."""
PACKINGS: tuple[Packing, ...] = (
    *(
        {"group_size": group, "bits": bits, "mode": "affine"}
        for group in (32, 64, 128)
        for bits in (1, 2, 3, 4, 5, 6, 8)
    ),
    *FLOATS,
)
"""Every packing that MLX multiplies by on the CPU."""


def bits_of(a: mx.array) -> np.ndarray:
    return np.array(a.view(mx.uint32 if a.dtype in (mx.float32, mx.uint32) else mx.uint16))


def assert_same_bits(got: mx.array, expected: mx.array) -> None:
    """Equal bits; a NaN may be any NaN, but must be one."""
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    nan = np.array(mx.isnan(expected))
    np.testing.assert_array_equal(np.array(mx.isnan(got)), nan)
    np.testing.assert_array_equal(bits_of(got)[~nan], bits_of(expected)[~nan])


def values(rng: np.random.Generator, shape: tuple[int, ...], dtype: mx.Dtype, kind: str) -> mx.array:
    """Values of one kind: exponents near 1, over the whole range, subnormal, zeros and infinities among others,
    a handful of values (ties), or any bit pattern."""
    if kind == "any_bits":
        width = 32 if dtype == mx.float32 else 16
        raw = rng.integers(0, 2**width, size=shape, dtype=np.uint32 if width == 32 else np.uint16)
        return mx.array(raw).view(dtype)
    normal = rng.normal(size=shape)
    if kind == "wide":
        normal *= np.exp2(
            rng.integers(-14, 15, size=shape) if dtype == mx.float16 else rng.integers(-60, 61, size=shape)
        )
    elif kind == "tiny":
        normal *= 2.0**-16 if dtype == mx.float16 else 2.0**-130
    elif kind == "special":
        odd = np.array([0.0, -0.0, np.inf, -np.inf, np.nan])
        normal = np.where(rng.random(size=shape) < 0.02, rng.choice(odd, size=shape), normal)
        normal = np.where(rng.random(size=shape) < 0.3, rng.choice(odd[:2], size=shape), normal)
    elif kind == "few":
        normal = rng.integers(-3, 4, size=shape).astype(float)
    with np.errstate(over="ignore"):
        return mx.array(normal.astype(np.float32)).astype(dtype)


def quantized(
    rng: np.random.Generator,
    lead: tuple[int, ...],
    inputs: int,
    dtype: mx.Dtype,
    group_size: int,
    bits: int,
    mode: str = "affine",
    kind: str = "ordinary",
) -> Weights:
    """(w, scales, biases) of matrices (*lead, inputs) with random codes and scales of one kind."""
    codes = rng.integers(0, 2**32, size=(*lead, inputs * bits // 32), dtype=np.uint32)
    groups = (*lead, inputs // group_size)
    if mode != "affine":
        near_one = 127 if group_size == 32 else 56
        low, high = (near_one - 8, near_one + 8) if kind in ("ordinary", "few") else (0, 256)
        return mx.array(codes), mx.array(rng.integers(low, high, size=groups, dtype=np.uint8)), None
    return mx.array(codes), values(rng, groups, dtype, kind), values(rng, groups, dtype, kind)
