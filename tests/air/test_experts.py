"""Experts, shared experts, joined projections and combines of `stock` modes beside MLX's shipped kernels: equal bits,
whether `fmuladd` is lowered to one rounding or to two, if only it is lowered alike."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from tests.air import chains, stock_qmv
from tests.air.chains import Switch, chosen
from tests.air.ours import differing, run_ours
from tests.air.run import Mac
from tests.air.stock_qmv import Packed
from tests.air.values import values
from tests.kernels import experts, gpu

swiglu: Any = gpu.module("gather_qmm_swiglu.gpu")
down: Any = gpu.module("gather_qmm_down_combine.gpu")
shared: Any = gpu.module("shared_experts.gpu")
combine: Any = gpu.module("moe_combine.gpu")

dtypes = pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16], ids=["bf16", "fp16"])
families = pytest.mark.parametrize("family", experts.SHAPES)
KINDS = ("normal", "saturating", "tiny", "zero", "one", "huge", "not finite")
FLOAT32_SCORES = {"glm47"}
GENERATIONS = {14: "applegpu_g14g", 15: "applegpu_g15s", 17: "applegpu_g17s"}


@pytest.fixture(params=["fused", pytest.param("separate", marks=pytest.mark.slow)])
def either(mac: Mac, request: pytest.FixtureRequest) -> Mac:
    """Each wheel, with fmuladd as one rounding and as two."""
    return mac._replace(contraction=request.param)


def scores_of(family: str, tokens: tuple[int, int], k: int, dtype: mx.Dtype) -> mx.array:
    return experts.weights(tokens, k, mx.float32 if family in FLOAT32_SCORES else dtype, seed=4)


def compare_experts(mac: Mac, switch: Switch, x: mx.array, inds: mx.array) -> int:
    (ours,) = run_ours(swiglu.plan("stock", x, inds, *switch.gate, *switch.up), mac.contraction)
    return differing(ours, chains.swiglu(mac, switch, x, inds))


def compare_down(mac: Mac, rows: Packed, h: mx.array, inds: mx.array, weights: mx.array) -> int:
    (ours,) = run_ours(down.plan("stock", h, inds, weights, *rows), mac.contraction)
    return differing(ours, chains.down(mac, rows, h, inds, weights))


@families
@dtypes
def test_published_experts(either: Mac, dtype: mx.Dtype, family: str) -> None:
    _, k, inner = experts.SHAPES[family]
    switch = chains.switch(inner, experts.HIDDEN, dtype=dtype)
    x = values("spread", 1, 1, experts.HIDDEN, dtype=dtype)
    assert compare_experts(either, switch, x, chosen((1, 1), k)) == 0


@families
@dtypes
def test_published_down_and_combine(either: Mac, dtype: mx.Dtype, family: str) -> None:
    _, k, inner = experts.SHAPES[family]
    rows = chains.switch(inner, experts.HIDDEN, dtype=dtype).down
    h = values("spread", 1, 1, k, inner, dtype=dtype)
    assert compare_down(either, rows, h, chosen((1, 1), k), scores_of(family, (1, 1), k, dtype)) == 0


SMALL = [((1, 1), 64, 512), ((2, 2), 44, 512), ((3, 1), 24, 768), ((1, 1), 5, 192), ((1, 3), 9, 64), ((4, 1), 8, 1024)]
"""Tokens, rows and columns: both loops of the product, partial tiles of rows, tails of k."""


@pytest.mark.parametrize(("tokens", "inner", "hidden"), SMALL)
@dtypes
def test_experts_of_other_sizes(
    either: Mac, dtype: mx.Dtype, tokens: tuple[int, int], inner: int, hidden: int
) -> None:
    switch = chains.switch(inner, hidden, dtype=dtype, seed=1)
    x = values("spread", *tokens, hidden, dtype=dtype)
    assert compare_experts(either, switch, x, chosen(tokens, 3)) == 0


@pytest.mark.parametrize(("tokens", "k", "inner", "hidden"), [
    ((4, 1), 2, 512, 64), ((1, 2), 8, 192, 44), ((1, 1), 1, 64, 9), ((2, 1), 3, 1088, 20)
])  # fmt: skip
@families
@dtypes
def test_down_and_combine_of_other_sizes(
    either: Mac, dtype: mx.Dtype, family: str, tokens: tuple[int, int], k: int, inner: int, hidden: int
) -> None:
    rows = chains.switch(inner, hidden, dtype=dtype, seed=1).down
    h = values("spread", *tokens, k, inner, dtype=dtype)
    assert compare_down(either, rows, h, chosen(tokens, k), scores_of(family, tokens, k, dtype)) == 0


@pytest.mark.parametrize("kind", KINDS)
@dtypes
def test_experts_and_down_of_other_values(mac: Mac, dtype: mx.Dtype, kind: str) -> None:
    switch = chains.switch(64, 512, dtype=dtype, seed=1)
    x, inds = experts.activations(kind, 1, 2, 512, dtype=dtype), chosen((1, 2), 4)
    assert compare_experts(mac, switch, x, inds) == 0
    h = experts.activations(kind, 1, 2, 4, 512, dtype=dtype)
    rows = chains.switch(512, 64, dtype=dtype, seed=2).down
    assert compare_down(mac, rows, h, inds, scores_of("qwen3", (1, 2), 4, dtype)) == 0


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("tokens", [(1, 1), (2, 1), (1, 3), (4, 1)])
@dtypes
def test_shared_experts(either: Mac, dtype: mx.Dtype, tokens: tuple[int, int], generation: int) -> None:
    mlp = chains.switch(192, experts.HIDDEN, dtype=dtype, few=0)
    x = values("spread", *tokens, experts.HIDDEN, dtype=dtype)
    launch = shared.plan("stock", GENERATIONS[generation], x, *mlp.gate, *mlp.up)
    (ours,) = run_ours(launch, either.contraction)
    assert differing(ours, chains.dense_swiglu(either, mlp, x, generation)) == 0


@pytest.mark.parametrize(("inner", "hidden"), [(1536, 2048), (128, 192), (9, 512), (20, 576)])
@pytest.mark.parametrize("generation", [14, 15])
@pytest.mark.parametrize("tokens", [(1, 1), (3, 1)])
@dtypes
def test_shared_experts_of_published_and_other_sizes(
    either: Mac, dtype: mx.Dtype, tokens: tuple[int, int], generation: int, inner: int, hidden: int
) -> None:
    mlp = chains.switch(inner, hidden, dtype=dtype, few=0)
    x = values("spread", *tokens, hidden, dtype=dtype)
    launch = shared.plan("stock", GENERATIONS[generation], x, *mlp.gate, *mlp.up)
    (ours,) = run_ours(launch, either.contraction)
    assert differing(ours, chains.dense_swiglu(either, mlp, x, generation)) == 0


@pytest.mark.parametrize("kind", ["spread", "ties", "extreme"])
@pytest.mark.parametrize(("tokens", "k", "size"), [((1, 1), 8, 2048), ((1, 1), 4, 2048), ((2, 2), 1, 128), ((1, 3), 5, 44)])
@families
@dtypes
def test_combine(
    mac: Mac, dtype: mx.Dtype, family: str, tokens: tuple[int, int], k: int, size: int, kind: str
) -> None:
    y, weights = values(kind, *tokens, k, size, dtype=dtype), scores_of(family, tokens, k, dtype)
    (ours,) = run_ours(combine.plan("stock", y, weights))
    assert differing(ours, chains.combine(mac, y, weights)) == 0


QKV = {"qwen3": (4096, 512, 512), "glm47": (768, 576)}
"""Rows of attention's input projections, which are joined."""


@pytest.mark.parametrize("generation", [14, 15])
@pytest.mark.parametrize("tokens", [1, 4])
@families
def test_joined_projections(mac: Mac, family: str, tokens: int, generation: int) -> None:
    """Up to 4 tokens the loop depends on K and the tokens alone, so joining rows changes no bit."""
    x = values("spread", tokens, 1, 512)
    parts = [chains.switch(rows // 8, 512, dtype=mx.bfloat16, seed=rows, few=0).gate for rows in QKV[family]]
    joined = Packed(*(mx.concatenate(columns) for columns in zip(*parts, strict=True)))
    apart = [stock_qmv.dense(mac, x, part, generation=generation) for part in parts]
    together = stock_qmv.dense(mac, x, joined, generation=generation)
    assert differing(together, mx.concatenate(apart, axis=-1)) == 0
