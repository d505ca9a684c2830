"""The router against stock: the same experts in the same order, the same scores, bit for bit."""

from __future__ import annotations

from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlx_lm.models.glm4_moe_lite import group_expert_select

from .made import DTYPES, KINDS, assert_same_bits, values

pytestmark = pytest.mark.usefixtures("as_found")
shapes = st.integers(1, 256).flatmap(lambda e: st.tuples(st.just(e), st.integers(1, min(e, 12)), st.integers(1, 9)))
kinds = st.sampled_from(KINDS)
dtypes = st.sampled_from(sorted(DTYPES))
seeds = st.integers(0, 2**32 - 1)
relaxed = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=["avx512", "avx2", "portable"])
def isa(request: pytest.FixtureRequest, native: ModuleType) -> str:
    if request.param not in native.isas():
        pytest.skip(f"this CPU has no {request.param}")
    native.set_isa(request.param)
    return str(request.param)


@relaxed
@given(shape=shapes, dtype=dtypes, kind=kinds, seed=seeds, normalize=st.booleans())
def test_softmax_router(native, isa, shape, dtype, kind, seed, normalize) -> None:
    experts, top_k, tokens = shape
    gates = values(np.random.default_rng(seed), (1, tokens, experts), DTYPES[dtype], kind)
    p = mx.softmax(gates, axis=-1, precise=True)
    stock_inds = mx.argpartition(p, kth=-top_k, axis=-1)[..., -top_k:]
    stock_scores = mx.take_along_axis(p, stock_inds, axis=-1)
    if normalize:
        stock_scores /= mx.sum(stock_scores, axis=-1, keepdims=True)
    inds, scores = native.moe_router(gates, top_k, normalize)
    np.testing.assert_array_equal(np.array(inds), np.array(stock_inds))
    assert_same_bits(scores, stock_scores)


@relaxed
@given(
    shape=shapes,
    dtype=dtypes,
    kind=kinds,
    seed=seeds,
    normalize=st.booleans(),
    float_bias=st.booleans(),
    scale=st.sampled_from([1.0, 1.8, 2.5]),
)
def test_sigmoid_router(native, isa, shape, dtype, kind, seed, normalize, float_bias, scale) -> None:
    experts, top_k, tokens = shape
    rng = np.random.default_rng(seed)
    gates = values(rng, (1, tokens, experts), DTYPES[dtype], kind)
    bias = values(rng, (experts,), mx.float32 if float_bias else gates.dtype, "few" if kind == "few" else "ordinary")
    stock_inds, stock_scores = group_expert_select(gates, bias, top_k, 1, 1, scale, normalize)
    inds, scores = native.moe_router(gates, top_k, normalize, correction_bias=bias, scale=scale)
    np.testing.assert_array_equal(np.array(inds), np.array(stock_inds))
    assert_same_bits(scores, stock_scores)
