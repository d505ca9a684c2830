"""The add, norms and rotations of `stock` modes beside MLX's shipped Add, RMS norm and RoPE: equal bits.

A norm's squares of 2-byte numbers are exact in float32, so it matters to no norm whether `fmuladd` is fused. It does
to a rotation: the texts write `metal::fma` there, and hold where the driver fuses what it is left to fuse or not.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from tests.air import stock
from tests.air.ours import differing, run_ours
from tests.air.run import Mac
from tests.air.values import KINDS, cancelling_pairs, dtypes, norm_edges, values
from tests.kernels import gpu

residual: Any = gpu.module("residual_norm.gpu")
rotate: Any = gpu.module("qk_norm_rope.gpu")
joined: Any = gpu.module("qkv_norm_rope.gpu")
heads_of: Any = gpu.module("qk_norm_rope.heads").Heads.of
EPS, HIDDEN = 1e-6, 2048
SIZES = (60, 128, 132, 300, 2052, 4096)
HEADS, KV_HEADS, HEAD, BASE = 32, 4, 128, 1e6


def equal(ours: list[mx.array], theirs: list[mx.array]) -> None:
    assert [differing(a, b) for a, b in zip(ours, theirs, strict=True)] == [0] * len(theirs)


@pytest.mark.parametrize("kind", KINDS)
@dtypes
def test_residual_norm(either: Mac, dtype: mx.Dtype, kind: str) -> None:
    x, r = (values(kind, 1, 3, HIDDEN, dtype=dtype, seed=seed) for seed in (1, 2))
    weight = values("spread", HIDDEN, dtype=dtype, seed=3)
    h = stock.binary(either, "Add", x, r)
    equal(run_ours(residual.plan_stock(x, r, weight, EPS, "metal")), [h, stock.rms_norm(either, h, weight, EPS)])


@pytest.mark.parametrize("size", [HIDDEN, *(pytest.param(n, marks=pytest.mark.slow) for n in SIZES)])
@dtypes
def test_residual_norm_of_rows_at_an_edge(either: Mac, dtype: mx.Dtype, size: int) -> None:
    """Of which a result lies between two roundings: sizes of whole and of partial simdgroups."""
    x, weight = norm_edges(4, size, EPS, dtype=dtype)[None], values("spread", size, dtype=dtype, seed=3)
    launch = residual.plan_stock(x, mx.zeros_like(x), weight, EPS, "metal")
    equal(run_ours(launch), [x, stock.rms_norm(either, x, weight, EPS)])


def attention(dtype: mx.Dtype, head: int = HEAD, heads: int = HEADS, kv_heads: int = KV_HEADS) -> Any:
    """What norm and rotation ask of Qwen's attention."""
    norms = [nn.RMSNorm(head, eps=EPS) for _ in range(2)]
    for seed, norm in enumerate(norms):
        norm.weight = values("spread", head, dtype=dtype, seed=seed + 7)
    rope = nn.RoPE(head, traditional=False, base=BASE)
    return SimpleNamespace(q_norm=norms[0], k_norm=norms[1], rope=rope, n_heads=heads, n_kv_heads=kv_heads)


def turned(mac: Mac, x: mx.array, weight: mx.array, heads: int, offsets: mx.array) -> mx.array:
    """x (B, L, heads * D), raw -> (B, heads, L, D): the model's reshape, norm, transposition and rotation."""
    b, length, _ = x.shape
    normed = stock.rms_norm(mac, x.reshape(b, length, heads, -1), weight, EPS)
    size = normed.shape[-1]
    # With one token the transposition moves nothing.
    view = normed.reshape(b, heads, length, size)
    strides = (size, heads * size) if length > 1 else None
    return stock.rope(mac, view, offsets, traditional=False, base=BASE, strides=strides)


ROTATED = [(1, 1, [0]), (1, 1, [1500]), (2, 1, [77]), (1, 4, [20000]), (2, 2, [5]), (3, 1, [3, 0, 8000])]


@pytest.mark.parametrize(("batch", "length", "offsets"), ROTATED)
@dtypes
def test_norm_and_rotation_of_q_and_k(mac: Mac, dtype: mx.Dtype, batch: int, length: int, offsets: list[int]) -> None:
    module, at = attention(dtype), mx.array(offsets, mx.int32)
    q, k = (values("spread", batch, length, heads * HEAD, dtype=dtype, seed=heads) for heads in (HEADS, KV_HEADS))
    theirs = [
        turned(mac, q, module.q_norm.weight, HEADS, at),
        turned(mac, k, module.k_norm.weight, KV_HEADS, at),
    ]
    equal(run_ours(rotate.plan_stock(heads_of(module, "metal"), q, k, at)), theirs)


@pytest.mark.parametrize("kind", ["edges", "cancelling"])
@dtypes
def test_norm_and_rotation_of_heads_at_an_edge(mac: Mac, dtype: mx.Dtype, kind: str) -> None:
    """Heads whose norm lies between two roundings, and heads whose rotation nearly cancels."""
    module, at = attention(dtype), mx.array([777], mx.int32)
    ones = mx.ones((HEAD,), dtype)
    module.q_norm.weight = module.k_norm.weight = ones

    def drawn(heads: int) -> mx.array:
        if kind == "edges":
            return norm_edges(heads, HEAD, EPS, dtype=dtype).reshape(1, 1, -1)
        return cancelling_pairs(heads, HEAD, 777, BASE, traditional=False, dtype=dtype).reshape(1, 1, -1)

    q, k = drawn(HEADS), drawn(KV_HEADS)
    theirs = [turned(mac, q, ones, HEADS, at), turned(mac, k, ones, KV_HEADS, at)]
    equal(run_ours(rotate.plan_stock(heads_of(module, "metal"), q, k, at)), theirs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", [32, 64, 96, 128])
@dtypes
def test_norm_and_rotation_of_other_heads(mac: Mac, dtype: mx.Dtype, head: int, kind: str) -> None:
    module, at = attention(dtype, head, 5, 2), mx.array([321], mx.int32)
    q, k = (values(kind, 1, 1, heads * head, dtype=dtype, seed=heads) for heads in (5, 2))
    theirs = [turned(mac, q, module.q_norm.weight, 5, at), turned(mac, k, module.k_norm.weight, 2, at)]
    equal(run_ours(rotate.plan_stock(heads_of(module, "metal"), q, k, at)), theirs)


@pytest.mark.parametrize(("batch", "length", "offsets"), ROTATED[1:2] + ROTATED[3:4])
@dtypes
def test_norm_rotation_and_layout_of_a_joined_projection(
    mac: Mac, dtype: mx.Dtype, batch: int, length: int, offsets: list[int]
) -> None:
    module, at = attention(dtype), mx.array(offsets, mx.int32)
    x = values("spread", batch, length, (HEADS + 2 * KV_HEADS) * HEAD, dtype=dtype)
    q, k, v = mx.split(x, [HEADS * HEAD, (HEADS + KV_HEADS) * HEAD], axis=-1)
    q, k, v = (mx.contiguous(part) for part in (q, k, v))
    theirs = [
        turned(mac, q, module.q_norm.weight, HEADS, at),
        turned(mac, k, module.k_norm.weight, KV_HEADS, at),
        mx.contiguous(v.reshape(batch, length, KV_HEADS, HEAD).transpose(0, 2, 1, 3)),
    ]
    equal(run_ours(joined.plan(heads_of(module, "metal"), x, at)), theirs)


def test_the_rotation_is_the_models_own() -> None:
    """The chain above against MLX on the CPU, which rounds elsewhere: the same quantity, not the same bits."""
    module, at = attention(mx.float16), mx.array([40], mx.int32)
    q = values("spread", 2, 3, HEADS * HEAD, dtype=mx.float16)
    normed = module.q_norm(q.reshape(2, 3, HEADS, HEAD)).transpose(0, 2, 1, 3)
    expected = np.array(module.rope(normed, offset=40).astype(mx.float32))
    got = np.array(turned(Mac(), q, module.q_norm.weight, HEADS, at).astype(mx.float32))
    np.testing.assert_allclose(got, expected, rtol=2**-6, atol=2**-4)
