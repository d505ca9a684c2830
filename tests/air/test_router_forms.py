"""The routers of `router_forms` beside MLX's shipped kernels: the same experts in order, scores of equal bits."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.air import chains
from tests.air.ours import differing, run_ours
from tests.air.run import Mac
from tests.air.test_router import KINDS, corrections, drawn
from tests.air.values import dtypes
from tests.kernels import gpu

router: Any = gpu.module("router_forms.gpu")
SCALE = 2.5
NONE = mx.zeros((1,), mx.bfloat16)


def compare(launch: Any, theirs: tuple[mx.array, mx.array]) -> list[int]:
    return [differing(a, b) for a, b in zip(run_ours(launch), theirs, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("experts", "k"), [(32, 4), pytest.param(128, 8, marks=pytest.mark.slow)])
@dtypes
def test_softmax_over_the_chosen(mac: Mac, dtype: mx.Dtype, experts: int, k: int, kind: str) -> None:
    logits = drawn(kind, 16, experts, dtype)
    launch = router.plan_top_k_softmax(logits, NONE, k, precise=True, scaled=False)
    assert compare(launch, chains.top_k_softmax_router(mac, logits, k, None)) == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
@dtypes
def test_softmax_over_the_chosen_that_rounds_every_step(mac: Mac, dtype: mx.Dtype, kind: str) -> None:
    logits = drawn(kind, 16, 128, dtype)
    scale = mx.array(np.random.default_rng(2).uniform(0.5, 2.0, size=128).astype(np.float32)).astype(dtype)
    launch = router.plan_top_k_softmax(logits, scale, 8, precise=False, scaled=True)
    assert compare(launch, chains.top_k_softmax_router(mac, logits, 8, scale)) == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("experts", "k", "groups", "kept"), [(256, 8, 8, 4), (64, 4, 1, 1), (40, 3, 4, 1)])
def test_sigmoid_among_groups(mac: Mac, kind: str, experts: int, k: int, groups: int, kept: int) -> None:
    logits, bias = drawn(kind, 8, experts, mx.bfloat16), corrections(kind, experts)
    how = {"normalize": True, "guarded": False, "groups": groups, "kept": kept}
    launch = router.plan_sigmoid_groups(logits, bias, mx.array([SCALE], mx.float32), k, mx.float32, **how)
    assert compare(launch, chains.grouped_router(mac, logits, bias, SCALE, k, groups, kept)) == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_sigmoid_in_float32(mac: Mac, kind: str) -> None:
    logits, bias = drawn(kind, 8, 256, mx.float32), corrections(kind, 256)
    how = {"normalize": True, "guarded": True}
    launch = router.plan_sigmoid_groups(logits, bias, mx.array([1.0]), 8, mx.bfloat16, **how)
    inds, scores = chains.sigmoid_router(mac, logits, bias, 1.0, 8, True)
    assert compare(launch, (inds, scores.astype(mx.bfloat16))) == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
@dtypes
def test_sigmoid_in_the_gates_own_type(mac: Mac, dtype: mx.Dtype, kind: str) -> None:
    logits, bias = drawn(kind, 16, 32, dtype), corrections(kind, 32)
    launch = router.plan_sigmoid_own(logits, bias, mx.array([1.0]), 4, normalize=True, corrected=True)
    assert compare(launch, chains.own_router(mac, logits, bias, 1.0, 4)) == [0, 0]


@pytest.mark.parametrize("special", [[np.nan], [np.inf], [-np.inf, -np.inf], [0.0, -0.0]])
def test_gates_that_are_no_numbers(mac: Mac, special: list[float]) -> None:
    values = np.array(drawn("spread", 4, 64, mx.bfloat16).astype(mx.float32))
    values[:, 0, 3 : 3 + len(special)] = special
    logits, bias = mx.array(values).astype(mx.bfloat16), corrections("spread", 64)
    launch = router.plan_top_k_softmax(logits, NONE, 4, precise=True, scaled=False)
    assert compare(launch, chains.top_k_softmax_router(mac, logits, 4, None)) == [0, 0]
    how = {"normalize": True, "guarded": False, "groups": 4, "kept": 2}
    launch = router.plan_sigmoid_groups(logits, bias, mx.array([SCALE], mx.float32), 4, mx.float32, **how)
    assert compare(launch, chains.grouped_router(mac, logits, bias, SCALE, 4, 4, 2)) == [0, 0]
