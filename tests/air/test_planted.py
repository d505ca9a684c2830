"""Errors planted in our texts, and in the sizes of launches, are found by the comparisons with the shipped kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

from tests.air import chains, stock
from tests.air.chains import chosen
from tests.air.ours import changed, differing, run_ours
from tests.air.run import Mac, Out, run_stock
from tests.air.test_latent import latent_case
from tests.air.test_norms import BASE, EPS, HEAD, HEADS, KV_HEADS, attention, heads_of, turned
from tests.air.test_router import corrections, drawn
from tests.air.values import cancelling_pairs, cancelling_terms, norm_edges, same_direction, softmax_edges, values
from tests.kernels import experts, gpu, mla
from tests.shim.run import ShimError

MAC = Mac()
Case = tuple[Any, list[mx.array]]
"""A launch of ours and what stock gives."""


def found(launch: Any, stock_outputs: list[mx.array]) -> bool:
    """Whether the launch fails or gives other bits."""
    try:
        ours = run_ours(launch)
    except ShimError:
        return True
    return any(differing(a, b) for a, b in zip(ours, stock_outputs, strict=True))


def with_template(launch: Any, **constants: Any) -> Any:
    assert set(constants) <= {name for name, _ in launch.template}
    return launch._replace(template=[(name, constants.get(name, value)) for name, value in launch.template])


@functools.cache
def swiglu(inner: int = 301, hidden: int = 1024) -> Case:
    along = values("wide", hidden)
    switch = chains.switch(inner, hidden, dtype=mx.bfloat16, against=along)
    x, inds = same_direction(along, 1, 2), chosen((1, 2), 3)
    launch = gpu.module("gather_qmm_swiglu.gpu").plan("stock", x, inds, *switch.gate, *switch.up)
    return launch, [chains.swiglu(MAC, switch, x, inds)]


@functools.cache
def plain_swiglu() -> Case:
    switch = chains.switch(301, 512, dtype=mx.bfloat16)
    x, inds = values("spread", 1, 2, 512), chosen((1, 2), 3)
    launch = gpu.module("gather_qmm_swiglu.gpu").plan("stock", x, inds, *switch.gate, *switch.up)
    return launch, [chains.swiglu(MAC, switch, x, inds)]


@functools.cache
def down() -> Case:
    along = values("spread", 512)
    rows = chains.rows_of(400, 512, dtype=mx.bfloat16, against=along)
    h, inds, weights = same_direction(along, 1, 2, 8), chosen((1, 2), 8), experts.weights((1, 2), 8, mx.bfloat16)
    launch = gpu.module("gather_qmm_down_combine.gpu").plan("stock", h, inds, weights, *rows)
    return launch, [chains.down(MAC, rows, h, inds, weights)]


@functools.cache
def combine(scores: mx.Dtype = mx.float32) -> Case:
    weights = experts.weights((1, 8), 4, scores)
    y = cancelling_terms(weights, 256, mx.bfloat16)
    return gpu.module("moe_combine.gpu").plan("stock", y, weights), [chains.combine(MAC, y, weights)]


@functools.cache
def shared(tokens: int = 3) -> Case:
    along = values("spread", 512)
    mlp = chains.switch(400, 512, dtype=mx.bfloat16, few=0, against=along)
    x = same_direction(along, tokens, 1)
    launch = gpu.module("shared_experts.gpu").plan("stock", "applegpu_g16s", x, *mlp.gate, *mlp.up)
    return launch, [chains.dense_swiglu(MAC, mlp, x, 16)]


@functools.cache
def residual() -> Case:
    x, weight = norm_edges(12, 2048, EPS, dtype=mx.bfloat16)[None], values("spread", 2048, seed=3)
    r = mx.zeros_like(x)
    launch = gpu.module("residual_norm.gpu").plan_stock(x, r, weight, EPS, "metal")
    return launch, [x, stock.rms_norm(MAC, x, weight, EPS)]


@functools.cache
def plain_residual() -> Case:
    x, r, weight = (values("spread", *shape, seed=seed) for seed, shape in enumerate(((1, 8, 2048),) * 2 + ((2048,),)))
    h = stock.binary(MAC, "Add", x, r)
    launch = gpu.module("residual_norm.gpu").plan_stock(x, r, weight, EPS, "metal")
    return launch, [h, stock.rms_norm(MAC, h, weight, EPS)]


def turned_heads(q: mx.array, k: mx.array, at: mx.array) -> Case:
    module = attention(mx.bfloat16)
    for norm in (module.q_norm, module.k_norm):
        norm.weight = mx.ones_like(norm.weight)
    theirs = [turned(MAC, x, mx.ones((HEAD,), mx.bfloat16), n, at) for x, n in ((q, HEADS), (k, KV_HEADS))]
    return gpu.module("qk_norm_rope.gpu").plan_stock(heads_of(module, "metal"), q, k, at), theirs


@functools.cache
def rotation() -> Case:
    q, k = (
        cancelling_pairs(heads, HEAD, 777, BASE, traditional=False, dtype=mx.bfloat16).reshape(1, 1, -1)
        for heads in (HEADS, KV_HEADS)
    )
    return turned_heads(q, k, mx.array([777], mx.int32))


@functools.cache
def normed_heads() -> Case:
    q, k = (norm_edges(3 * heads, HEAD, EPS, dtype=mx.bfloat16).reshape(3, 1, -1) for heads in (HEADS, KV_HEADS))
    return turned_heads(q, k, mx.array([0], mx.int32))


@functools.cache
def latent_norms() -> Case:
    q_a, latent = (norm_edges(8, size, mla.EPS, dtype=mx.bfloat16) for size in (mla.Q_RANK, mla.RANK))
    k_pe = cancelling_pairs(8, mla.ROPE, 777, mla.BASE, traditional=True, dtype=mx.bfloat16)
    return latent_case(mx.concatenate([q_a, latent, k_pe], axis=-1)[:, None], mx.full((8,), 777, mx.int32))


@functools.cache
def router() -> Case:
    logits = drawn("flat", 64, 128, mx.bfloat16)
    launch = gpu.module("moe_router.gpu").plan_softmax(logits, 8, True, "metal")
    return launch, list(chains.softmax_router(MAC, logits, 8, True))


@functools.cache
def router_edges() -> Case:
    logits = softmax_edges(6, 128, dtype=mx.bfloat16, greatest=8, candidates=25_000)[:, None]
    launch = gpu.module("moe_router.gpu").plan_softmax(logits, 8, True, "metal")
    return launch, list(chains.softmax_router(MAC, logits, 8, True))


@functools.cache
def sigmoid_router() -> Case:
    logits, correction = drawn("flat", 64, 64, mx.bfloat16), corrections("flat", 64)
    launch = gpu.module("moe_router.gpu").plan_sigmoid(logits, correction, mx.array([1.8], mx.float32), 4, True)
    return launch, list(chains.sigmoid_router(MAC, logits, correction, 1.8, 4, True))


@functools.cache
def softmax() -> Case:
    by_latent = softmax_edges(mla.HEADS, 700, dtype=mx.bfloat16).reshape(1, mla.HEADS, 1, 700)
    by_place = mx.zeros_like(by_latent)
    launch = gpu.module("mla_decode.gpu").softmax(by_latent.shape, mx.bfloat16, "metal")
    return launch._replace(inputs=[by_latent, by_place]), [stock.softmax(MAC, by_latent)]


@functools.cache
def plain_softmax() -> Case:
    by_latent, by_place = (values("spread", 1, mla.HEADS, 1, 700, seed=seed) for seed in (1, 2))
    launch = gpu.module("mla_decode.gpu").softmax(by_latent.shape, mx.bfloat16, "metal")
    theirs = stock.softmax(MAC, stock.binary(MAC, "Add", by_latent, by_place))
    return launch._replace(inputs=[by_latent, by_place]), [theirs]


CASES = (
    swiglu,
    plain_swiglu,
    down,
    combine,
    shared,
    residual,
    plain_residual,
    rotation,
    normed_heads,
    latent_norms,
    router,
    router_edges,
    sigmoid_router,
    softmax,
    plain_softmax,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_without_a_planted_error_nothing_is_found(case: Callable[[], Case]) -> None:
    assert not found(*case())


TEXTS: dict[str, tuple[Callable[[], Case], str, str]] = {
    "order of the sum of x": (
        swiglu,
        "add_rn(add_rn(add_rn(a, b), c), d)",
        "add_rn(add_rn(a, b), add_rn(c, d))",
    ),
    "order of the nibbles": (
        swiglu,
        "return x[0] * first + x[1] * second + x[2] * third + x[3] * fourth;",
        "return fused(x[0], first, fused(x[1], second, fused(x[2], third, mul_rn(x[3], fourth))));",
    ),
    "the product with the scale not fused": (
        swiglu,
        "return scale * dot + sum * bias;",
        "return add_rn(mul_rn(scale, dot), mul_rn(sum, bias));",
    ),
    "the other product fused": (
        swiglu,
        "return scale * dot + sum * bias;",
        "return fused(sum, bias, mul_rn(scale, dot));",
    ),
    "silu not rounded": (plain_swiglu, "float(T(mul_rn(g, sigmoid)))", "mul_rn(g, sigmoid)"),
    "gate not rounded": (plain_swiglu, "const float g = float(T(gate));", "const float g = gate;"),
    "sigmoid of the number, not of its size": (plain_swiglu, "exp_precise(g < 0.0f ? -g : g)", "exp_precise(g)"),
    "fast exp in the sigmoid": (plain_swiglu, "S(exp_precise(", "S(exp_fast("),
    "the tail of k": (lambda: swiglu(301, 192), "k < K; k += 32 * VALUES", "k + 31 * VALUES < K; k += 32 * VALUES"),
    "a partial row": (swiglu, "lane == row && first + row < N", "lane == row && first + row < N / 4 * 4"),
    "a scale with the bias of another group": (swiglu, "float(biases[group])", "float(biases[group - k / 64 % 2])"),
    "an expert's rows": (swiglu, "size_t(inds[slot]) * N * (K / 64)", "size_t(inds[0]) * N * (K / 64)"),
    "y not rounded": (down, "STOCK ? float(T(total)) : total", "total"),
    "weighted product not rounded": (
        down,
        "float(P(add_rn(total, float(P(mul_rn(value, weight))))))",
        "float(P(add_rn(total, mul_rn(value, weight))))",
    ),
    "order of the places": (
        down,
        "for (int e = 0; e < PLACES; ++e) {",
        "for (int e = PLACES - 1; e >= 0; --e) {",
    ),
    "weights of float32 rounded": (combine, "float(P(float(scores", "float(T(float(scores"),
    "several tokens: order of the lanes": (
        shared,
        "for (int lanes = 4; lanes > 0; lanes /= 2)",
        "for (int lanes = 1; lanes < 8; lanes *= 2)",
    ),
    "norm: one rounding for two": (
        plain_residual,
        "T(mul_rn(float(weights[c].at[i]), float(T(mul_rn(values[c * READS + i], scale)))))",
        "T(mul_rn(float(weights[c].at[i]), mul_rn(values[c * READS + i], scale)))",
    ),
    "norm: the sum before it not rounded": (
        plain_residual,
        "const float value = first < D ? float(sum.at[i]) : 0.0f;",
        "const float value = first < D ? add_rn(float(x[row + first + i]), float(r[row + first + i])) : 0.0f;",
    ),
    "rotation: nothing fused": (
        rotation,
        "fused(a, cosine[p], -mul_rn(b, sine[p]))",
        "add_rn(mul_rn(a, cosine[p]), -mul_rn(b, sine[p]))",
    ),
    "rotation: the other product fused": (
        rotation,
        "fused(a, sine[p], mul_rn(b, cosine[p]))",
        "fused(b, cosine[p], mul_rn(a, sine[p]))",
    ),
    "rotation: a precise sine": (rotation, "sine[p] = sin_of_rope(angle)", "sine[p] = metal::precise::sin(angle)"),
    "order of a head's squares": (normed_heads, "float(own.at[i])", "float(own.at[READS - 1 - i])"),
    "order of a latent's squares": (
        latent_norms,
        "own = fused(values[i], values[i], own);",
        "own = i == 3 ? fused(values[2], values[2], own) : i == 2 ? fused(values[3], values[3], own) : "
        "fused(values[i], values[i], own);",
    ),
    "of equal probabilities the first": (router, "pick<READS, true>", "pick<READS, false>"),
    "probabilities not rounded": (
        router,
        "float(T(mul_rn(exp_fast(values[i] - top), scale)))",
        "mul_rn(exp_fast(values[i] - top), scale)",
    ),
    "precise exp in the softmax": (
        router,
        "float(T(mul_rn(exp_fast(values[i] - top), scale)))",
        "float(T(mul_rn(exp_precise(values[i] - top), scale)))",
    ),
    "of equal scores the last": (sigmoid_router, "pick<READS, false>", "pick<READS, true>"),
    "order of the chosen": (
        sigmoid_router,
        "for (int r = 0; r < K; ++r) {\n  const",
        "for (int r = K - 1; r >= 0; --r) {\n  const",
    ),
    "softmax: a quotient for a product": (
        softmax,
        "T(mul_rn(values[i], factor))",
        "T(div_rn(values[i], div_rn(1.0f, factor)))",
    ),
    "softmax: the scores' sum not rounded": (
        plain_softmax,
        "float(T(add_rn(float(by_latent[at]), float(by_place[at]))))",
        "add_rn(float(by_latent[at]), float(by_place[at]))",
    ),
}


@pytest.mark.parametrize("planted", TEXTS)
def test_an_error_in_a_text_is_found(planted: str) -> None:
    case, right, wrong = TEXTS[planted]
    launch, theirs = case()
    assert found(changed(launch, right, wrong), theirs)


def _fewer_threads(launch: Any, axis: int, by: int) -> Any:
    grid = list(launch.grid)
    grid[axis] -= by
    return launch._replace(grid=tuple(grid))


SIZES: dict[str, tuple[Callable[[], Case], Callable[[Any], Any]]] = {
    "loop width": (lambda: swiglu(304, 1024), lambda launch: with_template(launch, VALUES=8)),
    "fma for a product and a sum": (combine, lambda launch: with_template(launch, FUSED=True)),
    "the type of the combine": (lambda: combine(mx.bfloat16), lambda launch: with_template(launch, P=mx.float32)),
    "block of a norm": (
        residual,
        lambda launch: with_template(launch, CHUNKS=2, THREADS=256)._replace(
            grid=(256, 12, 1), threadgroup=(256, 1, 1)
        ),
    ),
    "reads of the softmax": (router_edges, lambda launch: with_template(launch, READS=8)),
    "a tile of rows": (swiglu, lambda launch: _fewer_threads(launch, 1, 2)),
    "a place": (swiglu, lambda launch: _fewer_threads(launch, 2, 1)),
    "a token": (residual, lambda launch: _fewer_threads(launch, 1, 1)),
    "a simdgroup of the norm": (
        residual,
        lambda launch: launch._replace(grid=(480, 12, 1), threadgroup=(480, 1, 1)),
    ),
    "a head": (rotation, lambda launch: _fewer_threads(launch, 1, 1)),
    "one simdgroup for two": (swiglu, lambda launch: launch._replace(threadgroup=(32, 1, 1))),
}


@pytest.mark.parametrize("planted", SIZES)
def test_a_wrong_size_is_found(planted: str) -> None:
    case, planting = SIZES[planted]
    launch, theirs = case()
    assert found(planting(launch), theirs)


def test_a_shipped_kernel_in_a_wrong_grid_is_found() -> None:
    """The launches of stock are held to as ours are: here four rows of threads for eight change the order of a sum."""
    y = values("spread", 1, 1, 8, 2048)
    right = stock.sum_column(MAC, y)
    buffers: dict[int, mx.array | Out] = {
        0: y,
        1: Out((1, 1, 2048), mx.bfloat16),
        2: stock.int64(8),
        3: stock.int64(2048),
        4: stock.int32(1),
        5: stock.int64(8 * 2048),
        6: stock.int32(1),
        7: stock.int32(8),
        8: stock.int64(2048),
        9: stock.int32(1),
        10: stock.int64(1),
    }
    name = "col_reduce_small_1_reduce_sumbfloat16"
    for rows, expected in ((8, False), (4, True)):
        got = run_stock(MAC, name, buffers, grid=(512, rows, 1), threadgroup=(32, rows, 1))[0]
        assert (differing(got, right) > 0) == expected
    with pytest.raises(ShimError, match="was never written"):
        run_stock(MAC, name, buffers, grid=(480, 8, 1), threadgroup=(32, 8, 1))
