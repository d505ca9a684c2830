"""The router against stock: the same experts in the same order, the same scores, bit for bit."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlx_lm.models import deepseek_v3
from mlx_lm.models.glm4_moe_lite import group_expert_select

from zmlx_bench.measured.api import SIGMOID_OWN

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


@relaxed
@given(shape=shapes, dtype=dtypes, kind=kinds, seed=seeds, scaled=st.booleans(), precise=st.booleans())
def test_softmax_over_the_chosen(native, isa, shape, dtype, kind, seed, scaled, precise) -> None:
    experts, top_k, tokens = shape
    rng = np.random.default_rng(seed)
    gates = values(rng, (1, tokens, experts), DTYPES[dtype], kind)
    scale = values(rng, (experts,), gates.dtype, "ordinary") if scaled else None
    stock_inds = mx.argpartition(gates, kth=-top_k, axis=-1)[..., -top_k:]
    stock_scores = mx.softmax(mx.take_along_axis(gates, stock_inds, axis=-1), axis=-1, precise=precise)
    if scale is not None:
        stock_scores = stock_scores * scale[stock_inds]
    inds, scores = native.moe_router_form(gates, "top_k_softmax", top_k, of_expert=scale, precise=precise)
    np.testing.assert_array_equal(np.array(inds), np.array(stock_inds))
    assert_same_bits(scores, stock_scores)


grouped = st.tuples(st.sampled_from([1, 2, 4, 8]), st.integers(2, 32)).flatmap(
    lambda of: st.tuples(
        st.just(of[0]), st.integers(1, of[0]), st.just(of[0] * of[1]), st.integers(1, 8), st.integers(1, 9)
    )
)


@relaxed
@given(shape=grouped, dtype=dtypes, kind=kinds, seed=seeds, normalize=st.booleans(), scale=st.sampled_from([1.0, 2.5]))
def test_sigmoid_among_groups(native, isa, shape, dtype, kind, seed, normalize, scale) -> None:
    groups, kept, experts, wanted, tokens = shape
    top_k = min(wanted, experts)
    rng = np.random.default_rng(seed)
    gates = values(rng, (1, tokens, experts), DTYPES[dtype], kind)
    bias = values(rng, (experts,), mx.float32, "few" if kind == "few" else "ordinary")
    stock_inds, stock_scores = deepseek_v3.group_expert_select(gates, bias, top_k, groups, kept, scale, normalize)
    how = {"of_expert": bias, "normalize": normalize, "scale": scale, "groups": groups, "kept": kept}
    inds, scores = native.moe_router_form(gates, "sigmoid_groups", top_k, **how)
    np.testing.assert_array_equal(np.array(inds), np.array(stock_inds))
    assert_same_bits(scores, stock_scores)


@relaxed
@given(shape=shapes, dtype=dtypes, kind=kinds, seed=seeds, normalize=st.booleans(), corrected=st.booleans())
def test_sigmoid_in_the_gates_own_type(native, isa, shape, dtype, kind, seed, normalize, corrected) -> None:
    experts, top_k, tokens = shape
    rng = np.random.default_rng(seed)
    gates = values(rng, (1, tokens, experts), DTYPES[dtype], kind)
    bias = values(rng, (experts,), mx.float32, "ordinary") if corrected else None
    block = SimpleNamespace(
        gate=lambda x: x, top_k=top_k, norm_topk_prob=normalize, routed_scaling_factor=1.5, expert_bias=bias,
        use_expert_bias=corrected,
    )  # fmt: skip
    stock_inds, stock_scores = SIGMOID_OWN.stock(block)(gates)
    how = {"of_expert": bias, "normalize": normalize, "scale": 1.5}
    inds, scores = native.moe_router_form(gates, "sigmoid_own", top_k, **how)
    np.testing.assert_array_equal(np.array(inds), np.array(stock_inds))
    assert_same_bits(scores, stock_scores)
