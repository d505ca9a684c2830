"""Every operation against stock mlx on the CPU, bit for bit, on every instruction set this machine has."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlx_lm.models.activations import swiglu, swiglu_oai

from .made import DTYPES, KINDS, PACKINGS, Packing, Weights, assert_same_bits, quantized, values

pytestmark = pytest.mark.usefixtures("as_found")
ISAS = ("avx512", "avx2", "portable")
relaxed = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
packings = st.sampled_from(PACKINGS)
kinds = st.sampled_from(KINDS)
dtypes = st.sampled_from(sorted(DTYPES))
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, native: ModuleType) -> str:
    if request.param not in native.isas():
        pytest.skip(f"this CPU has no {request.param}")
    native.set_isa(request.param)
    return str(request.param)


def stock_rows(
    x: mx.array, gate: Weights, up: Weights, inds: mx.array, packing: Packing, biases: Sequence[mx.array]
) -> list[mx.array]:
    """Return gate's and up's products, (..., k, 1, I), as mlx-lm's SwitchGLU has them before its activation."""
    expanded = mx.expand_dims(x, (-2, -3))
    products = [gather(expanded, weights, inds, packing) for weights in (gate, up)]
    added = [y + mx.expand_dims(bias[inds], -2) for y, bias in zip(products, biases, strict=False)]
    return added or products


def gather(x: mx.array, weights: Weights, inds: mx.array, packing: Packing) -> mx.array:
    return mx.gather_qmm(x, *weights, rhs_indices=inds, transpose=True, **packing)


@relaxed
@given(
    packing=packings,
    dtype=dtypes,
    kind=kinds,
    seed=seeds,
    tokens=st.integers(1, 9),
    top_k=st.integers(1, 4),
    rows=st.integers(1, 70),
    groups=st.integers(1, 3),
    clamped=st.sampled_from([None, (1.702, 7.0), (1.3, 2.9)]),
    biased=st.booleans(),
)
def test_gate_up_swiglu(native, isa, packing, dtype, kind, seed, tokens, top_k, rows, groups, clamped, biased) -> None:
    rng = np.random.default_rng(seed)
    inputs, experts = groups * packing["group_size"], 5
    x = values(rng, (1, tokens, inputs), DTYPES[dtype], kind)
    gate, up = (quantized(rng, (experts, rows), inputs, x.dtype, **packing, kind=kind) for _ in range(2))
    biases = [values(rng, (experts, rows), x.dtype, kind) for _ in range(2)] if biased else []
    inds = mx.array(rng.integers(0, experts, size=(1, tokens, top_k)).astype(np.uint32))
    g, u = stock_rows(x, gate, up, inds, packing, biases)
    stock = swiglu(g, u) if clamped is None else swiglu_oai(g, u, alpha=clamped[0], limit=clamped[1])
    got = native.gather_qmm_swiglu(x, gate, up, inds, **packing, biases=biases, clamped=clamped)
    assert_same_bits(got, stock.squeeze(-2))


@relaxed
@given(
    packing=packings,
    dtype=dtypes,
    kind=kinds,
    seed=seeds,
    scores_dtype=dtypes,
    tokens=st.integers(1, 9),
    top_k=st.integers(1, 8),
    rows=st.integers(1, 70),
    groups=st.integers(1, 3),
    biased=st.booleans(),
)
def test_down_combine(
    native, isa, packing, dtype, kind, seed, scores_dtype, tokens, top_k, rows, groups, biased
) -> None:
    rng = np.random.default_rng(seed)
    inputs, experts = groups * packing["group_size"], 5
    h = values(rng, (1, tokens, top_k, inputs), DTYPES[dtype], kind)
    down = quantized(rng, (experts, rows), inputs, h.dtype, **packing, kind=kind)
    inds = mx.array(rng.integers(0, experts, size=(1, tokens, top_k)).astype(np.uint32))
    scores = values(rng, (1, tokens, top_k), DTYPES[scores_dtype], kind)
    biases = [values(rng, (experts, rows), h.dtype, kind)] if biased else []
    y = gather(mx.expand_dims(h, -2), down, inds, packing)
    for bias in biases:
        y = y + mx.expand_dims(bias[inds], -2)
    stock = (y.squeeze(-2) * scores[..., None]).sum(axis=-2).astype(y.dtype)
    assert_same_bits(native.gather_qmm_down_combine(h, down, inds, scores, **packing, biases=biases), stock)


@relaxed
@given(
    packed=st.tuples(packings, packings, packings),
    dtype=dtypes,
    kind=kinds,
    seed=seeds,
    tokens=st.integers(1, 5),
    top_k=st.integers(1, 4),
    biased=st.booleans(),
)
def test_whole_moe_equals_its_halves(native, isa, packed, dtype, kind, seed, tokens, top_k, biased) -> None:
    """Gate, up and down each in a packing of its own."""
    rng = np.random.default_rng(seed)
    hidden, inner, experts = 128, 256, 4
    x = values(rng, (tokens, hidden), DTYPES[dtype], kind)
    gate, up = (quantized(rng, (experts, inner), hidden, x.dtype, **packing) for packing in packed[:2])
    down = quantized(rng, (experts, hidden), inner, x.dtype, **packed[2])
    inds = mx.array(rng.integers(0, experts, size=(tokens, top_k)).astype(np.uint32))
    scores = values(rng, (tokens, top_k), x.dtype, "ordinary")
    rows = (inner, inner, hidden)
    biases = [values(rng, (experts, n), x.dtype, "ordinary") for n in rows] if biased else []
    up_packing, down_packing = (tuple(packing.values()) for packing in packed[1:])
    h = native.gather_qmm_swiglu(x, gate, up, inds, **packed[0], up_packing=up_packing, biases=biases[:2])
    halves = native.gather_qmm_down_combine(h, down, inds, scores, **packed[2], biases=biases[2:])
    how = {**packed[0], "up_packing": up_packing, "down_packing": down_packing, "biases": biases}
    whole = native.moe_gather_qmm_swiglu_downproj_combine(x, gate, up, down, inds, scores, **how)
    assert_same_bits(whole, halves)


@relaxed
@given(
    packing=packings,
    dtype=dtypes,
    scales_dtype=dtypes,
    kind=kinds,
    seed=seeds,
    tokens=st.integers(1, 11),
    rows=st.integers(1, 200),
    groups=st.integers(1, 6),
)
def test_dense(native, isa, packing, dtype, scales_dtype, kind, seed, tokens, rows, groups) -> None:
    """Scales of another dtype than the inputs promote the product, as MLX promotes it."""
    rng = np.random.default_rng(seed)
    inputs = groups * packing["group_size"]
    x = values(rng, (1, tokens, inputs), DTYPES[dtype], kind)
    weight = quantized(rng, (rows,), inputs, DTYPES[scales_dtype], **packing, kind=kind)
    stock = mx.quantized_matmul(x, *weight, transpose=True, **packing)
    assert_same_bits(native.quantized_matvec(x, weight, **packing), stock)


@relaxed
@given(
    packing=packings,
    dtype=dtypes,
    seed=seeds,
    batch=st.integers(1, 2),
    heads=st.integers(2, 5),
    length=st.integers(1, 6),
)
def test_one_matrix_a_head(native, isa, packing, dtype, seed, batch, heads, length) -> None:
    rng = np.random.default_rng(seed)
    x = values(rng, (batch, heads, length, 128), DTYPES[dtype], "ordinary")
    weight = quantized(rng, (heads, 40), 128, x.dtype, **packing)
    stock = mx.quantized_matmul(x, *weight, transpose=True, **packing)
    assert_same_bits(native.quantized_matvec(x, weight, **packing), stock)


def test_every_16_bit_gate_through_swiglu(native, isa) -> None:
    """All 65,536 gate values: a bias with no codes makes the projection hand any value through."""
    every = np.arange(2**16, dtype=np.uint16)
    one_hot = np.zeros(32, dtype=np.float32)
    one_hot[0] = 1.0
    for dtype in (mx.bfloat16, mx.float16):
        x = mx.array(one_hot).astype(dtype)[None]
        biases = mx.array(every).view(dtype).reshape(1, -1, 1)
        finite = mx.where(mx.isinf(biases), mx.zeros_like(biases), biases)  # an infinity times the zeros of x is a NaN
        codes = mx.zeros((1, 2**16, 4), mx.uint32)
        gate = (codes, mx.zeros_like(finite), finite)
        up = (codes, mx.zeros_like(finite), mx.full(finite.shape, 0.7, dtype))
        inds = mx.zeros((1, 1), mx.uint32)
        packing = {"group_size": 32, "bits": 4}
        expanded = mx.expand_dims(x, (-2, -3))
        stock = swiglu(gather(expanded, gate, inds, packing), gather(expanded, up, inds, packing)).squeeze(-2)
        assert_same_bits(native.gather_qmm_swiglu(x, gate, up, inds, **packing), stock)


@settings(relaxed, max_examples=20)
@given(dtype=dtypes, seed=seeds, threads=st.integers(1, 4))
def test_threads_and_strides_change_nothing(native, isa, dtype, seed, threads) -> None:
    rng = np.random.default_rng(seed)
    packing = {"group_size": 64, "bits": 4}
    weight = quantized(rng, (300,), 256, DTYPES[dtype], **packing)
    x = values(rng, (256, 6), DTYPES[dtype], "ordinary").T
    native.set_threads(threads)
    stock = mx.quantized_matmul(x, *weight, transpose=True, **packing)
    assert_same_bits(native.quantized_matvec(x, weight, **packing), stock)
    views = tuple(mx.concatenate([a, a], axis=1)[:, : a.shape[1]] for a in weight)
    assert_same_bits(native.quantized_matvec(x, views, **packing), stock)


def test_two_streams_at_once(native) -> None:
    """The pool serves one stream at a time; the other works alone meanwhile."""
    rng = np.random.default_rng(0)
    packing = {"group_size": 64, "bits": 4}
    weight = quantized(rng, (2048,), 1024, mx.bfloat16, **packing)
    inputs = [values(rng, (4, 1024), mx.bfloat16, "ordinary") for _ in range(16)]
    streams = [mx.new_stream(mx.cpu) for _ in range(2)]
    native.set_threads(2)
    outputs = [native.quantized_matvec(x, weight, **packing, stream=streams[i % 2]) for i, x in enumerate(inputs)]
    mx.eval(outputs)
    for x, y in zip(inputs, outputs, strict=True):
        assert_same_bits(y, mx.quantized_matmul(x, *weight, transpose=True, **packing))
