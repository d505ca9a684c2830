"""The quantised products of `stock` modes, with SwiGLU and the combine, beside MLX's shipped kernels: equal bits,
whether `fmuladd` is lowered to one rounding or to two, if only it is lowered alike."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from tests.air import chains, stock
from tests.air.chains import Switch, chosen
from tests.air.ours import differing, run_ours
from tests.air.run import Mac
from tests.air.stock_qmv import Packed
from tests.air.values import dtypes, same_direction, values
from tests.kernels import experts, gpu

swiglu: Any = gpu.module("gather_qmm_swiglu.gpu")
down: Any = gpu.module("gather_qmm_down_combine.gpu")
together: Any = gpu.module("gather_qmm_moe.gpu")

families = pytest.mark.parametrize("family", experts.SHAPES)
FLOAT32_SCORES = {"glm47"}
SLOW_KINDS = ("saturating", "tiny", "zero", "one")
SMALL = [
    ((1, 1), 200, 512),
    ((2, 2), 76, 512),
    ((3, 1), 104, 768),
    ((1, 1), 301, 192),
    ((1, 3), 105, 64),
    ((4, 1), 72, 1024),
]
"""Tokens, rows and columns: both loops of the product, partial tiles of rows, tails of k."""
COLUMNS = [((4, 1), 2, 512, 132), ((1, 2), 8, 192, 301), ((1, 1), 1, 64, 700), ((2, 1), 3, 1088, 405)]
"""Tokens, places, columns and rows of a down projection."""


def scores_of(family: str, tokens: tuple[int, int], k: int, dtype: mx.Dtype) -> mx.array:
    return experts.weights(tokens, k, mx.float32 if family in FLOAT32_SCORES else dtype, seed=4)


def compare_experts(mac: Mac, switch: Switch, x: mx.array, inds: mx.array) -> int:
    (ours,) = run_ours(swiglu.plan("stock", x, inds, *switch.gate, *switch.up), mac.contraction)
    return differing(ours, chains.swiglu(mac, switch, x, inds))


def compare_down(mac: Mac, rows: Packed, h: mx.array, inds: mx.array, weights: mx.array) -> int:
    (ours,) = run_ours(down.plan("stock", h, inds, weights, *rows), mac.contraction)
    return differing(ours, chains.down(mac, rows, h, inds, weights))


def cancelling_experts(
    tokens: tuple[int, int], k: int, inner: int, hidden: int, dtype: mx.Dtype
) -> tuple[Switch, mx.array, mx.array]:
    """Experts, x (B, L, hidden) and k experts of each token, of which gate and up nearly cancel."""
    along = values("wide", hidden, dtype=dtype)
    switch = chains.switch(inner, hidden, dtype=dtype, seed=1, against=along)
    return switch, same_direction(along, *tokens), chosen(tokens, k)


def cancelling_down(
    tokens: tuple[int, int], k: int, inner: int, hidden: int, dtype: mx.Dtype
) -> tuple[Packed, mx.array, mx.array]:
    """Rows of down, h (B, L, k, inner) and k experts of each token, of which the products nearly cancel."""
    along = values("wide", inner, dtype=dtype)
    rows = chains.rows_of(hidden, inner, dtype=dtype, seed=1, against=along)
    return rows, same_direction(along, *tokens, k), chosen(tokens, k)


@families
@dtypes
def test_published_experts(either: Mac, dtype: mx.Dtype, family: str) -> None:
    _, k, inner = experts.SHAPES[family]
    assert compare_experts(either, *cancelling_experts((1, 1), k, inner, experts.HIDDEN, dtype)) == 0


@families
@dtypes
def test_published_down_and_combine(either: Mac, dtype: mx.Dtype, family: str) -> None:
    _, k, inner = experts.SHAPES[family]
    given = cancelling_down((1, 1), k, inner, experts.HIDDEN, dtype)
    assert compare_down(either, *given, scores_of(family, (1, 1), k, dtype)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [(4, 1), (1, 4)])
@families
def test_published_experts_of_several_tokens(either: Mac, family: str, tokens: tuple[int, int]) -> None:
    _, k, inner = experts.SHAPES[family]
    assert compare_experts(either, *cancelling_experts(tokens, k, inner, experts.HIDDEN, mx.bfloat16)) == 0
    given = cancelling_down(tokens, k, inner, experts.HIDDEN, mx.bfloat16)
    assert compare_down(either, *given, scores_of(family, tokens, k, mx.bfloat16)) == 0


@pytest.mark.parametrize(("tokens", "inner", "hidden"), SMALL)
@dtypes
def test_experts_of_other_sizes(either: Mac, dtype: mx.Dtype, tokens: tuple[int, int], inner: int, hidden: int) -> None:
    assert compare_experts(either, *cancelling_experts(tokens, 3, inner, hidden, dtype)) == 0


@pytest.mark.parametrize(("tokens", "k", "inner", "hidden"), COLUMNS)
@pytest.mark.parametrize("family", ["qwen3", pytest.param("glm47", marks=pytest.mark.slow)])
@dtypes
def test_down_and_combine_of_other_sizes(
    either: Mac, dtype: mx.Dtype, family: str, tokens: tuple[int, int], k: int, inner: int, hidden: int
) -> None:
    given = cancelling_down(tokens, k, inner, hidden, dtype)
    assert compare_down(either, *given, scores_of(family, tokens, k, dtype)) == 0


@pytest.mark.parametrize(
    "kind", ["normal", "huge", "not finite", *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW_KINDS)]
)
@dtypes
def test_experts_and_down_of_other_values(mac: Mac, dtype: mx.Dtype, kind: str) -> None:
    switch = chains.switch(200, 512, dtype=dtype, seed=1)
    x, inds = experts.activations(kind, 1, 2, 512, dtype=dtype), chosen((1, 2), 4)
    assert compare_experts(mac, switch, x, inds) == 0
    h = experts.activations(kind, 1, 2, 4, 512, dtype=dtype)
    rows = chains.switch(512, 132, dtype=dtype, seed=2).down
    assert compare_down(mac, rows, h, inds, scores_of("qwen3", (1, 2), 4, dtype)) == 0


@pytest.mark.parametrize(("inner", "hidden", "k"), [(192, 512, 2), pytest.param(1536, 2048, 4, marks=pytest.mark.slow)])
@dtypes
def test_routed_and_shared_experts_together(either: Mac, dtype: mx.Dtype, inner: int, hidden: int, k: int) -> None:
    along = values("wide", hidden, dtype=dtype)
    routed, shared = (chains.switch(inner, hidden, dtype=dtype, few=n, against=along) for n in (chains.FEW, 0))
    x, inds = along.reshape(1, 1, hidden), chosen((1, 1), k)
    launch = together.plan_experts(x, inds, *routed.gate, *routed.up, *shared.gate, *shared.up)
    of_routed, of_shared = chains.swiglu(either, routed, x, inds), chains.dense_swiglu(either, shared, x, 14)
    h = mx.concatenate([of_routed.reshape(k, inner), of_shared.reshape(1, inner)])
    assert differing(run_ours(launch, either.contraction)[0], h) == 0

    along, weights = values("wide", inner, dtype=dtype), scores_of("glm47", (1, 1), k, dtype)
    rows, of_one = (chains.rows_of(hidden, inner, dtype=dtype, few=n, against=along) for n in (chains.FEW, 0))
    h = same_direction(along, k + 1)
    launch = together.plan_downs(h, inds, weights, *rows, *of_one)
    combined = chains.down(either, rows, h[:k].reshape(1, 1, k, inner), inds, weights)
    total = stock.binary(either, "Add", combined, chains.dense(either, h[k:].reshape(1, 1, inner), of_one, 14))
    assert differing(run_ours(launch, either.contraction)[0], total) == 0


def test_the_chain_is_the_models_own() -> None:
    """The chain against MLX on the CPU in float32: the same quantity, not the same bits."""
    switch = chains.switch(128, 512, dtype=mx.bfloat16)
    x, inds = values("spread", 1, 2, 512), chosen((1, 2), 3)
    wide = mx.expand_dims(x.astype(mx.float32), (-2, -3))
    scaled = [(part.w, *(given.astype(mx.float32) for given in part[1:])) for part in (switch.gate, switch.up)]
    gate, up = (mx.gather_qmm(wide, *part, rhs_indices=inds, transpose=True, group_size=64, bits=4) for part in scaled)
    expected = np.array((nn.silu(gate) * up).squeeze(-2))
    got = np.array(chains.swiglu(Mac(), switch, x, inds).astype(mx.float32))
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()
