"""The combine's GPU source in the shim: roundings against NumPy, at both models' shapes and at odd ones."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels import gpu
from tests.kernels.bf16 import read
from tests.kernels.draws import EXPERTS, HIDDEN, combine_inputs, combined
from tests.shim.source import Words
from zmlx_bench.measured.contract import BindRequest, Unavailable

pytestmark = pytest.mark.process

combine: Any = gpu.module("moe_combine.gpu")
kernel: Any = gpu.module("moe_combine.kernel")


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


@pytest.mark.parametrize("words", gpu.FORMS)
@pytest.mark.parametrize("family", EXPERTS)
@pytest.mark.parametrize("mode", combine.MODES)
def test_every_mode_has_its_roundings_at_the_models_shapes(mode: str, family: str, words: Words) -> None:
    for batch in (1, 4):
        y, scores = combine_inputs(family, batch)
        (out,) = gpu.run(combine.plan(mode, y, scores), words)
        assert (out.shape, out.dtype) == ((batch, 1, HIDDEN), mx.bfloat16)
        np.testing.assert_array_equal(read(out), combined(mode, y, scores))


@pytest.mark.parametrize("words", gpu.FORMS)
@pytest.mark.parametrize("mode", ["stock", "fp32_no_fma_staged"])
def test_hidden_sizes_that_do_not_fill_the_last_group_and_sequences(mode: str, words: Words) -> None:
    y, scores = combine_inputs("glm47", 2, length=3, d=300)
    (out,) = gpu.run(combine.plan(mode, y, scores), words)
    np.testing.assert_array_equal(read(out), combined(mode, y, scores))


def test_other_dtypes_keep_theirs() -> None:
    y, scores = combine_inputs("glm47", 1, d=64)
    for dtype in (mx.float32, mx.float16):
        (out,) = gpu.run(combine.plan("stock", y.astype(dtype), scores.astype(dtype)), "metal")
        assert out.dtype == dtype


def test_the_modes_are_told_apart_at_the_models_shapes() -> None:
    y, scores = combine_inputs("glm47", 4)
    results = {mode: combined(mode, y, scores) for mode in ("stock", "bf16_rounded", "fp32")}
    assert (results["stock"] != results["bf16_rounded"]).any()
    q, weights = combine_inputs("qwen3", 4)
    assert (combined("stock", q, weights) != combined("fp32_no_fma", q, weights)).any()


def test_infinities_and_zeros_come_through() -> None:
    y, scores = combine_inputs("qwen3", 1)
    y[..., 0, :4] = mx.array([float("inf"), float("-inf"), 0.0, 3e38])
    (out,) = gpu.run(combine.plan("stock", y, scores), "metal")
    np.testing.assert_array_equal(read(out), combined("stock", y, scores))
    (zero,) = gpu.run(combine.plan("stock", mx.zeros_like(y), scores), "metal")
    assert not read(zero).any()


PLANTED = {
    "index of the expert": ("combine", "stock", "y[(t * K + e) * D + d]", "y[(t * K + K - 1 - e) * D + d]"),
    "index of the token": ("combine", "stock", "out[t * D + d]", "out[d]"),
    "last expert left out": ("combine", "stock", "e < K;", "e < K - 1;"),
    "product not rounded": ("combine", "stock", "float(P(mul_rn(value, weight)))", "mul_rn(value, weight)"),
    "sum not rounded": ("combine", "stock", "float(P(add_rn(total, product)))", "add_rn(total, product)"),
    "contracted": ("combine", "fp32_no_fma", "float(P(add_rn(total, product)))", "fused(value, weight, total)"),
    "no bound": ("combine", "short", "if (d < D)", "if (d <= D)"),
    "no barrier": ("combine_staged", "fp32_no_fma_staged", "threadgroup_barrier(mem_flags::mem_threadgroup);", ""),
    "weights not all staged": ("combine_staged", "fp32_no_fma_staged", "lane < K", "lane < K - 1"),
}


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_is_found(error: str) -> None:
    source, mode, right, wrong = PLANTED[error]
    # Contraction shows in few elements of bfloat16: the float32 dtype keeps every bit.
    y, scores = combine_inputs("qwen3", 4, d=300 if mode == "short" else HIDDEN)
    if error == "contracted":
        y, scores = y.astype(mx.float32) * 1.1, scores.astype(mx.float32) * 1.1
    launch = combine.plan("stock" if mode == "short" else mode, y, scores)
    assert launch.source.name == source
    (good,) = gpu.run(launch, "metal")
    assert not gpu.passes(gpu.mutated(launch, right, wrong), [good], "metal")


def test_binding_on_a_machine_without_the_gpu_says_what_is_missing() -> None:
    for backend, available in (("metal", mx.metal.is_available()), ("cuda", mx.cuda.is_available())):
        if not available:
            with pytest.raises(Unavailable, match="needs"):
                kernel.bind(None, BindRequest(("combine",), "stock", backend))
            assert "needs" in kernel.probe("stock", backend)
    assert kernel.probe("stock", "cpu") is None


def test_the_declaration_names_the_modes_that_there_are(repository: Any) -> None:
    from zmlx_bench.catalog import kernels as catalog

    modes = catalog.load(repository)["moe_combine"].declaration.mode
    assert {name for name, mode in modes.items() if "cpu" in mode.backends} == set(kernel.MODES)
    for backend in gpu.FORMS:
        assert {name for name, mode in modes.items() if backend in mode.backends} == set(combine.MODES)
