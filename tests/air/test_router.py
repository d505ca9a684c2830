"""The routers of `stock` beside MLX's shipped softmax, sort, row sum and elementwise kernels: the same experts in the
same order, ties included, and scores of equal bits."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.air import chains
from tests.air.ours import differing, run_ours
from tests.air.run import Mac
from tests.air.values import dtypes, softmax_edges
from tests.kernels import gpu
from tests.kernels.draws import GLM, QWEN, gates

router: Any = gpu.module("moe_router.gpu")
KINDS = ("spread", "flat", "equal", "extreme")


def drawn(kind: str, tokens: int, experts: int, dtype: mx.Dtype, seed: int = 0) -> mx.array:
    limit = 6e4 if dtype == mx.float16 else 3e38
    return mx.clip(gates(kind, tokens, experts, seed), -limit, limit).astype(dtype)


def compare_softmax(mac: Mac, logits: mx.array, k: int, normalize: bool) -> list[int]:
    ours = run_ours(router.plan_softmax(logits, k, normalize, "metal"))
    theirs = chains.softmax_router(mac, logits, k, normalize)
    return [differing(a, b) for a, b in zip(ours, theirs, strict=True)]


def compare_sigmoid(mac: Mac, logits: mx.array, correction: mx.array, k: int, normalize: bool) -> list[int]:
    scale = 1.8
    launch = router.plan_sigmoid(logits, correction, mx.array([scale], mx.float32), k, normalize)
    theirs = chains.sigmoid_router(mac, logits, correction, scale, k, normalize)
    return [differing(a, b) for a, b in zip(run_ours(launch), theirs, strict=True)]


def corrections(kind: str, experts: int) -> mx.array:
    """Random, or so coarse that the corrected scores tie."""
    drawn = np.random.default_rng(5).normal(size=experts) * 0.1
    return mx.array((np.round(drawn * 8) / 8 if kind == "flat" else drawn).astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [1, 64])
@dtypes
def test_softmax_router(mac: Mac, dtype: mx.Dtype, tokens: int, kind: str) -> None:
    experts, k = QWEN
    assert compare_softmax(mac, drawn(kind, tokens, experts, dtype), k, True) == [0, 0]


@dtypes
def test_softmax_router_of_scores_at_an_edge(mac: Mac, dtype: mx.Dtype) -> None:
    """Tokens of which a chosen expert's probability lies between two roundings."""
    experts, k = QWEN
    logits = softmax_edges(6, experts, dtype=dtype, greatest=k, candidates=25_000)
    assert compare_softmax(mac, logits[:, None], k, True) == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [1, 64])
@dtypes
def test_sigmoid_router(mac: Mac, dtype: mx.Dtype, tokens: int, kind: str) -> None:
    experts, k = GLM
    logits = drawn(kind, tokens, experts, dtype)
    assert compare_sigmoid(mac, logits, corrections(kind, experts), k, True) == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize(("experts", "k"), [(8, 2), (4, 1), (33, 8), (60, 4), (127, 6)])
@pytest.mark.parametrize("normalize", [True, False])
@dtypes
def test_routers_of_other_sizes(mac: Mac, dtype: mx.Dtype, normalize: bool, experts: int, k: int) -> None:
    logits = drawn("spread", 37, experts, dtype)
    assert compare_softmax(mac, logits, k, normalize) == [0, 0]
    assert compare_sigmoid(mac, logits, corrections("spread", experts), k, normalize) == [0, 0]


@pytest.mark.parametrize("special", [[np.nan], [np.inf], [-np.inf, -np.inf], [0.0, -0.0]])
def test_gates_that_are_no_numbers(mac: Mac, special: list[float]) -> None:
    logits = np.array(drawn("spread", 8, 64, mx.bfloat16).astype(mx.float32))
    logits[:, 0, 3 : 3 + len(special)] = special
    given = mx.array(logits).astype(mx.bfloat16)
    assert compare_sigmoid(mac, given, corrections("spread", 64), 4, True) == [0, 0]
    assert compare_softmax(mac, given, 4, True) == [0, 0]
