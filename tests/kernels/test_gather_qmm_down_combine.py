"""Down projection and combine in one launch: the Metal source in the shim against MLX's Metal algorithm and float64."""

from __future__ import annotations

import functools
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels import experts, gpu, qmv
from tests.kernels.bf16 import read
from tests.kernels.experts import SHAPES
from zmlx_bench.measured.contract import BindRequest, Unavailable

pytestmark = pytest.mark.process

kernel: Any = gpu.module("gather_qmm_down_combine.kernel")
metal: Any = gpu.module("gather_qmm_down_combine.gpu")
reference: Any = gpu.module("gather_qmm_down_combine.reference")
MODES = ("stock", "fp32", "fp32_no_fma")
SCORES = {"qwen3": mx.bfloat16, "glm47": mx.float32}
FEW = 9
"""Experts in the tests, one more than a token of Qwen takes."""
Given = dict[str, mx.array]


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def given(
    tokens: tuple[int, int], k: int, inner: int, scores: mx.Dtype, dtype: mx.Dtype = mx.bfloat16, kind: str = "normal"
) -> Given:
    return {
        "h": experts.activations(kind, *tokens, k, inner, dtype=dtype),
        "inds": experts.routes(tokens, FEW, k),
        "scores": experts.weights(tokens, k, scores),
    }


def planned(block: Any, arrays: Given, mode: str) -> Any:
    """The launch as the kernel's call would run it."""
    run = functools.partial(metal.plan, mode)
    return kernel.down_combine(block, lambda *inputs: [run(*inputs)])(**arrays)


def expected(block: Any, arrays: Given, mode: str) -> mx.array:
    h, inds, scores = read(arrays["h"]), np.array(arrays["inds"]), read(arrays["scores"])
    dtype, layer = arrays["h"].dtype, block.switch_mlp.down_proj
    step = qmv.ROUND[arrays["scores"].dtype] if mode == "stock" else qmv.float32
    out = []
    for token in np.ndindex(*inds.shape[:2]):
        y = np.stack([qmv.qmv(row, layer, int(e)) for row, e in zip(h[token], inds[token], strict=True)])
        if mode == "stock":
            y = qmv.ROUND[dtype](y)
        out.append(qmv.combine(y, scores[token], mode, step))
    return mx.array(np.stack(out)).reshape(*inds.shape[:2], -1).astype(dtype)


def check(block: Any, arrays: Given, mode: str) -> None:
    (out,) = gpu.run(planned(block, arrays, mode), "metal")
    assert gpu.same(out, expected(block, arrays, mode))


def published(family: str) -> tuple[Any, Given]:
    """A block of the published sizes, and what it is given; the same each time."""
    _, k, inner = SHAPES[family]
    return experts.block(FEW, inner), given((1, 1), k, inner, SCORES[family])


@functools.cache
def ran(family: str, mode: str) -> mx.array:
    """What the launch makes of these."""
    (out,) = gpu.run(planned(*published(family), mode), "metal")
    return out


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", SHAPES)
def test_published_sizes_bit_for_bit(family: str, mode: str) -> None:
    assert gpu.same(ran(family, mode), expected(*published(family), mode))


@pytest.mark.parametrize(
    ("tokens", "k", "inner", "hidden", "dtype"),
    [
        ((4, 1), 8, 768, 64, mx.bfloat16),
        ((2, 2), 3, 512, 44, mx.float16),
        ((3, 1), 4, 512, 24, mx.float16),
        ((1, 1), 1, 192, 5, mx.bfloat16),
        ((1, 3), 2, 64, 9, mx.bfloat16),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_tokens_loops_and_odd_sizes(
    tokens: tuple[int, int], k: int, inner: int, hidden: int, dtype: mx.Dtype, mode: str
) -> None:
    block = experts.block(FEW, inner, hidden=hidden, dtype=dtype)
    check(block, given(tokens, k, inner, dtype if k != 4 else mx.float32, dtype), mode)


@pytest.mark.parametrize("kind", ["saturating", "tiny", "zero", "one"])
@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16], ids=["bf16", "fp16"])
def test_extreme_values_bit_for_bit(kind: str, dtype: mx.Dtype) -> None:
    block = experts.block(FEW, 192, hidden=64, dtype=dtype)
    check(block, given((2, 1), 8, 192, dtype, dtype, kind), "stock")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", SHAPES)
def test_errors_against_float64(family: str, mode: str) -> None:
    _, k, _ = SHAPES[family]
    (block, arrays), out = published(family), ran(family, mode)
    h, scores = (experts.doubles(arrays[name])[0, 0] for name in ("h", "scores"))
    right = terms = sums = np.zeros(experts.HIDDEN)
    for place, expert in enumerate(np.array(arrays["inds"])[0, 0]):
        y, size = experts.exact(h[place], block.switch_mlp.down_proj, int(expert))
        right = right + scores[place] * y
        terms, sums = terms + scores[place] * np.abs(y), sums + scores[place] * size
    # Stock rounds y, and Qwen's also each product and each partial sum of at most k terms.
    rounded = {"qwen3": k + 2, "glm47": 2}[family] * terms if mode == "stock" else np.abs(right)
    assert (np.abs(experts.doubles(out)[0, 0] - right) <= 2.0**-8 * rounded + 2.0**-18 * sums).all()


def test_the_references_are_near_each_other() -> None:
    block, arrays = experts.block(FEW, 192, hidden=64), given((2, 1), 4, 192, mx.float32)
    one, other = (read(step(block.switch_mlp, **arrays)) for step in (reference.stock, reference.fp32))
    assert np.abs(one - other).max() < 0.1 * np.abs(other).max()
    (out,) = gpu.run(planned(block, arrays, "fp32_no_fma"), "metal")
    np.testing.assert_allclose(read(out), other, rtol=2.0**-7, atol=1e-4)


PLANTED = {
    "no barrier": ("threadgroup_barrier(mem_flags::mem_threadgroup);", ""),
    "expert of the first place": ("size_t(inds[slot]) * N * (K / 8)", "size_t(inds[t * PLACES]) * N * (K / 8)"),
    "scales of another token's expert": ("size_t(inds[slot]) * N * (K / 64)", "size_t(inds[place]) * N * (K / 64)"),
    "one place's h for all": ("h + slot * K + k", "h + t * PLACES * K + k"),
    "places exchanged": ("y[place * ROWS + row]", "y[(PLACES - 1 - place) * ROWS + row]"),
    "places added in another order": ("for (int e = 0; e < PLACES; ++e)", "for (int e = PLACES - 1; e >= 0; --e)"),
    "last place left out": ("e < PLACES; ++e", "e < PLACES - 1; ++e"),
    "another token's scores": ("scores[t * PLACES + e]", "scores[e]"),
    "y not rounded": ("STOCK ? float(T(total)) : total", "total"),
    "product not rounded": ("float(P(mul_rn(value, weight)))", "mul_rn(value, weight)"),
    "sum not rounded": ("float(P(add_rn(total, float(", "float((add_rn(total, float("),
    "contracted": ("if (FUSED)", "if (true)"),
    "row of another tile": ("out[t * N + first + lane]", "out[t * N + lane]"),
    "no bound": ("lane < ROWS && first + lane < N", "lane < ROWS"),
    "sum of one lane": ("simd_sum(totals[row])", "totals[row]"),
    "scales for biases": ("biases + groups", "scales + groups"),
    "order of the nibbles": ("word & 0xffffu", "word >> 16"),
    "x not divided": ("values[i + 3] = d / 4096.0f", "values[i + 3] = d / 256.0f"),
    "next group's scale": ("at * (K / 64) + k / 64", "at * (K / 64) + (k + 32) / 64"),
    "last row not repeated": ("first + row < N ? first + row : N - 1", "first + row"),
    "last block left out": ("k < K; k += 32 * VALUES) {\n  const float sum = load_slice<VALUES>(h", None),
}


@functools.cache
def case() -> tuple[Any, list[mx.array]]:
    # The last row of the last expert has nothing behind it.
    block, arrays = experts.block(FEW, 768, hidden=70), given((2, 2), 8, 768, mx.bfloat16)
    arrays["inds"] = mx.where(arrays["inds"] == 0, FEW - 1, mx.minimum(arrays["inds"], FEW - 2))
    launch, right = planned(block, arrays, "stock"), [expected(block, arrays, "stock")]
    assert gpu.passes(launch, right, "metal")
    return launch, right


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_is_found(error: str) -> None:
    launch, good = case()
    right, wrong = PLANTED[error]
    wrong = right.replace("k < K;", "k + 32 * VALUES < K;") if wrong is None else wrong
    assert not gpu.passes(experts.mutated(launch, right, wrong), good, "metal")


def test_what_is_not_served_says_so() -> None:
    block = experts.block(40, 64, hidden=8)
    inds = mx.arange(33, dtype=mx.uint32).reshape(1, 1, 33)
    with pytest.raises(ValueError, match="33 experts a token"):
        planned(block, {"h": mx.zeros((1, 1, 33, 64), mx.bfloat16), "inds": inds, "scores": inds}, "fp32")
    with pytest.raises(Unavailable, match="33 experts a token: MLX on Metal adds more than 8 in an order"):
        planned(block, {"h": mx.zeros((1, 1, 33, 64), mx.bfloat16), "inds": inds, "scores": inds}, "stock")
    if not mx.metal.is_available():
        with pytest.raises(Unavailable, match="needs a Mac"):
            kernel.bind(block, BindRequest(("down", "combine"), "stock", "metal"))
        assert "Mac" in kernel.probe("stock", "metal")
