"""Shared experts, joined projections and combines of `stock` modes beside MLX's shipped kernels, by the generation of
Apple's GPU where MLX chooses by it: equal bits."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from tests.air import chains, stock, stock_qmv
from tests.air.ours import differing, run_ours
from tests.air.run import Mac
from tests.air.stock_qmv import Packed
from tests.air.values import KINDS, cancelling_terms, dtypes, same_direction, values
from tests.kernels import experts, gpu

shared: Any = gpu.module("shared_experts.gpu")
combine: Any = gpu.module("moe_combine.gpu")

families = pytest.mark.parametrize("family", experts.SHAPES)
GENERATIONS = {14: "applegpu_g14g", 15: "applegpu_g15s", 17: "applegpu_g17s"}
QKV = {"qwen3": (4096, 512, 512), "glm47": (768, 576)}
"""Rows of attention's input projections, which are joined."""


def compare_shared(
    mac: Mac, tokens: tuple[int, int], inner: int, hidden: int, generation: int, dtype: mx.Dtype = mx.bfloat16
) -> int:
    """Compare a dense MLP whose gate and up nearly cancel against x (B, L, hidden)."""
    along = values("wide", hidden, dtype=dtype)
    mlp, x = chains.switch(inner, hidden, dtype=dtype, few=0, against=along), same_direction(along, *tokens)
    launch = shared.plan("stock", GENERATIONS[generation], x, *mlp.gate, *mlp.up)
    return differing(run_ours(launch, mac.contraction)[0], chains.dense_swiglu(mac, mlp, x, generation))


@pytest.mark.parametrize(
    ("tokens", "generation"),
    [
        ((1, 1), 14),
        ((3, 1), 14),
        ((2, 1), 15),
        ((1, 4), 17),
        *(
            pytest.param(tokens, generation, marks=pytest.mark.slow)
            for tokens in ((1, 1), (2, 1), (1, 3), (4, 1))
            for generation in GENERATIONS
        ),
    ],
)
@dtypes
def test_published_shared_experts(either: Mac, dtype: mx.Dtype, tokens: tuple[int, int], generation: int) -> None:
    assert compare_shared(either, tokens, 1536, experts.HIDDEN, generation, dtype) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("inner", "hidden"), [(128, 192), (1200, 576), (200, 512), (1000, 1088)])
@pytest.mark.parametrize("generation", [14, 15])
@pytest.mark.parametrize("tokens", [(1, 1), (3, 1)])
@dtypes
def test_shared_experts_of_other_sizes(
    either: Mac, dtype: mx.Dtype, tokens: tuple[int, int], generation: int, inner: int, hidden: int
) -> None:
    assert compare_shared(either, tokens, inner, hidden, generation, dtype) == 0


def test_partial_tiles_of_a_dense_product_go_to_another_loop(mac: Mac) -> None:
    """Why `dense_as_gathered` refuses them: MLX takes its fast loop by the columns alone."""
    assert compare_shared(mac, (1, 1), 121, 1024, 14) > 0


@pytest.mark.parametrize("kind", [*KINDS, "cancelling"])
@pytest.mark.parametrize(
    ("tokens", "size"), [((1, 1), 2048), pytest.param((2, 2), 128, marks=pytest.mark.slow), ((1, 3), 44)]
)
@families
@dtypes
def test_combine(mac: Mac, dtype: mx.Dtype, family: str, tokens: tuple[int, int], size: int, kind: str) -> None:
    k = experts.SHAPES[family][1]
    weights = experts.weights(tokens, k, mx.float32 if family == "glm47" else dtype, seed=4)
    cancelling = kind == "cancelling"
    y = cancelling_terms(weights, size, dtype) if cancelling else values(kind, *tokens, k, size, dtype=dtype)
    (ours,) = run_ours(combine.plan("stock", y, weights))
    assert differing(ours, chains.combine(mac, y, weights)) == 0


def test_more_than_eight_experts_are_added_in_another_order(mac: Mac) -> None:
    """Why `check_order` refuses them."""
    y, weights = values("spread", 1, 1, 9, 2048), experts.weights((1, 1), 9, mx.bfloat16)
    (ours,) = run_ours(combine.plan("stock", y, weights))
    assert differing(ours, chains.combine(mac, y, weights)) > 0


@pytest.mark.parametrize("generation", [14, 15])
@pytest.mark.parametrize("tokens", [1, 4])
@families
def test_joined_projections(mac: Mac, family: str, tokens: int, generation: int) -> None:
    """Up to 4 tokens the loop depends on K and the tokens alone, so joining rows changes no bit."""
    along = values("wide", 512)
    parts = [chains.rows_of(rows // 4, 512, dtype=mx.bfloat16, seed=rows, few=0, against=along) for rows in QKV[family]]
    x = same_direction(along, tokens, 1)
    joined = Packed(*(mx.concatenate(columns) for columns in zip(*parts, strict=True)))
    apart = [chains.dense(mac, x, part, generation) for part in parts]
    together = chains.dense(mac, x, joined, generation)
    assert differing(together, mx.concatenate(apart, axis=-1)) == 0


def test_biases_of_joined_projections(mac: Mac) -> None:
    """A bias is added to each element by itself, whether the rows before it were joined or not."""
    rows = QKV["qwen3"]
    parts = [values("spread", 2, 1, count // 4, dtype=mx.bfloat16, seed=count) for count in rows]
    biases = [values("wide", count // 4, dtype=mx.bfloat16, seed=count) for count in rows]
    apart = [stock.binary(mac, "Add", part, bias) for part, bias in zip(parts, biases, strict=True)]
    together = stock.binary(mac, "Add", mx.concatenate(parts, axis=-1), mx.concatenate(biases))
    assert differing(together, mx.concatenate(apart, axis=-1)) == 0


def test_prompts_of_joined_projections_are_summed_in_other_parts(mac: Mac) -> None:
    """Why `qkv_joined` keeps to decode: the number of rows says in how many parts MLX sums over K in a prompt."""
    rows, tokens = QKV["glm47"], 20
    assert [stock_qmv.parts(tokens, n, experts.HIDDEN) for n in (*rows, sum(rows))] == [16, 16, 8]
    weights = chains.rows_of(32, experts.HIDDEN, dtype=mx.bfloat16, few=0)
    x = values("spread", tokens, experts.HIDDEN)
    apart, together = (stock_qmv.prompt(mac, x, weights, among) for among in (rows[0], sum(rows)))
    sums = [stock.sum_column(mac, part.reshape(len(part), -1)) for part in (apart, together)]
    assert differing(*sums) > 100
    wide = [x.astype(mx.float32), weights.w, *(part.astype(mx.float32) for part in weights[1:])]
    expected = mx.quantized_matmul(*wide, transpose=True, group_size=64, bits=4)
    # Weights are rounded to the model's type on their way into the matrices.
    assert all(mx.allclose(total.reshape(tokens, 32), expected, rtol=2**-6, atol=2**-3).item() for total in sums)
