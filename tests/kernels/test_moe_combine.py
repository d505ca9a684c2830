"""Each mode of the combine against a NumPy reference with the same roundings, and `stock` against the model."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.bf16 import Floats, read, rounded
from zmlx_bench.measured import loader
from zmlx_bench.measured.contract import BindRequest
from zmlx_bench.measured.families import moe

FLOAT32_STEP = 2.0**-23

loader.open_kernels(Path(__file__).resolve().parents[2] / "kernels")
kernel: Any = importlib.import_module("zmlx_kernels.moe_combine.kernel")

cases = st.tuples(
    st.integers(0, 2**31), st.integers(1, 2), st.integers(1, 3), st.sampled_from([1, 2, 4, 8]), st.integers(1, 70)
)


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def draw(case: tuple[int, ...], score_dtype: mx.Dtype) -> tuple[mx.array, mx.array]:
    seed, b, length, k, d = case
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(b, length, k, d)) * 2.0 ** rng.integers(-4, 5, size=(b, length, k, 1))
    scores = rng.random((b, length, k))
    return mx.array(y.astype(np.float32)).astype(mx.bfloat16), mx.array(scores.astype(np.float32)).astype(score_dtype)


def bound(mode: str, family: str) -> Callable[..., mx.array]:
    call: Callable[..., mx.array] = kernel.bind(None, BindRequest(("combine",), mode, "cpu")).call
    return call


families = pytest.mark.parametrize(("family", "dtype"), [("qwen3", mx.bfloat16), ("glm47", mx.float32)])


@families
@settings(max_examples=20, deadline=None)
@given(case=cases)
def test_stock_is_the_models_own_sum_bit_for_bit(family: str, dtype: mx.Dtype, case: tuple[int, ...]) -> None:
    y, scores = draw(case, dtype)
    assert mx.array_equal(bound("stock", family)(y=y, scores=scores), moe.stock_combine(y, scores)).item()


@families
@settings(max_examples=20, deadline=None)
@given(case=cases)
def test_bf16_rounded_rounds_scores_products_and_partial_sums(
    family: str, dtype: mx.Dtype, case: tuple[int, ...]
) -> None:
    y, scores = draw(case, dtype)
    products = rounded(read(y) * rounded(read(scores))[..., None])
    total = products[..., 0, :]
    for expert in range(1, y.shape[2]):
        total = rounded(total + products[..., expert, :])
    np.testing.assert_array_equal(read(bound("bf16_rounded", family)(y=y, scores=scores)), total)


@families
@settings(max_examples=20, deadline=None)
@given(case=cases)
def test_fp32_no_fma_adds_uncontracted_in_order_and_rounds_once(
    family: str, dtype: mx.Dtype, case: tuple[int, ...]
) -> None:
    y, scores = draw(case, dtype)
    products: Floats = read(y) * read(scores)[..., None]
    total = products[..., 0, :]
    for expert in range(1, y.shape[2]):
        total = total + products[..., expert, :]
    assert products.dtype == np.float32
    np.testing.assert_array_equal(read(bound("fp32_no_fma", family)(y=y, scores=scores)), rounded(total))


@families
@settings(max_examples=20, deadline=None)
@given(case=cases)
def test_fp32_is_the_exact_sum_but_for_float32_steps_and_one_rounding(
    family: str, dtype: mx.Dtype, case: tuple[int, ...]
) -> None:
    y, scores = draw(case, dtype)
    products = read(y).astype(np.float64) * read(scores).astype(np.float64)[..., None]
    exact, size = products.sum(axis=2), np.abs(products).sum(axis=2)
    error = np.abs(read(bound("fp32", family)(y=y, scores=scores)) - exact)
    # k products and k - 1 additions in float32, then half a step of bfloat16's 8 bits.
    assert np.all(error <= 2 * y.shape[2] * FLOAT32_STEP * size + 2.0**-8 * np.abs(exact) + 1e-37)


@families
def test_shape_and_dtype_are_the_models(family: str, dtype: mx.Dtype) -> None:
    y, scores = draw((0, 2, 3, 4, 16), dtype)
    for mode in kernel.MODES:
        out = bound(mode, family)(y=y, scores=scores)
        assert (out.shape, out.dtype) == ((2, 3, 16), mx.bfloat16)


def test_the_modes_differ_where_they_say_so() -> None:
    y, scores = draw((1, 1, 4, 8, 512), mx.float32)
    stock = bound("stock", "glm47")(y=y, scores=scores)
    assert not mx.array_equal(bound("bf16_rounded", "glm47")(y=y, scores=scores), stock).item()
