"""The experts in one launch: the Metal source in the shim against MLX's Metal algorithm and against float64."""

from __future__ import annotations

import functools
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from tests.kernels import experts, gpu, qmv
from tests.kernels.bf16 import read
from tests.kernels.experts import SHAPES
from tests.kernels.rows import serial_sum
from tests.shim.run import run_kernel
from zmlx_bench.measured.contract import BindRequest, Unavailable

pytestmark = pytest.mark.process

kernel: Any = gpu.module("gather_qmm_swiglu.kernel")
metal: Any = gpu.module("gather_qmm_swiglu.gpu")
reference: Any = gpu.module("gather_qmm_swiglu.reference")
MODES = ("stock", "fp32", "fp32_no_fma")
FEW = 5
"""Experts in the tests: they differ from each other, which is what the gather is about."""


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def planned(block: Any, x: mx.array, inds: mx.array, mode: str) -> Any:
    """The launch as the kernel's call would run it."""
    run = functools.partial(metal.plan, mode)
    return kernel.experts(block, lambda *inputs: [run(*inputs)])(x=x, inds=inds)


def projections(block: Any) -> tuple[Any, Any]:
    return block.switch_mlp.gate_proj, block.switch_mlp.up_proj


def expected(block: Any, x: mx.array, inds: mx.array, mode: str) -> mx.array:
    rows = read(x)
    h = [
        qmv.swiglu(*(qmv.qmv(rows[b, t], layer, int(e)) for layer in projections(block)), mode, x.dtype)
        for b, t in np.ndindex(*x.shape[:2])
        for e in np.array(inds)[b, t]
    ]
    return mx.array(np.stack(h)).reshape(*inds.shape, -1).astype(x.dtype)


def check(block: Any, x: mx.array, inds: mx.array, mode: str) -> None:
    (h,) = gpu.run(planned(block, x, inds, mode), "metal")
    assert gpu.same(h, expected(block, x, inds, mode))


def published(family: str) -> tuple[Any, mx.array, mx.array]:
    """A block of the published sizes, and what it is given; the same each time."""
    _, _, inner = SHAPES[family]
    x, inds = experts.activations("normal", 1, 1, experts.HIDDEN), experts.routes((1, 1), FEW, 2)
    return experts.block(FEW, inner), x, inds


@functools.cache
def ran(family: str, mode: str) -> mx.array:
    """What the launch makes of these."""
    (h,) = gpu.run(planned(*published(family), mode), "metal")
    return h


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", SHAPES)
def test_published_sizes_bit_for_bit(family: str, mode: str) -> None:
    assert gpu.same(ran(family, mode), expected(*published(family), mode))


@pytest.mark.parametrize(
    ("tokens", "inner", "hidden", "dtype"),
    [
        ((4, 1), 64, 512, mx.bfloat16),
        ((2, 2), 44, 512, mx.float16),
        ((3, 1), 24, 768, mx.float16),
        ((1, 1), 5, 192, mx.bfloat16),
        ((1, 3), 9, 64, mx.bfloat16),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_tokens_loops_and_odd_sizes(
    tokens: tuple[int, int], inner: int, hidden: int, dtype: mx.Dtype, mode: str
) -> None:
    block = experts.block(FEW, inner, hidden=hidden, dtype=dtype)
    x = experts.activations("normal", *tokens, hidden, dtype=dtype)
    check(block, x, experts.routes(tokens, FEW, 3), mode)


@pytest.mark.parametrize("kind", ["saturating", "tiny", "zero", "one"])
@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16], ids=["bf16", "fp16"])
def test_extreme_values_bit_for_bit(kind: str, dtype: mx.Dtype) -> None:
    block = experts.block(FEW, 64, hidden=512, dtype=dtype)
    check(block, experts.activations(kind, 2, 1, 512, dtype=dtype), experts.routes((2, 1), FEW, 3), "stock")


def test_values_that_are_not_finite_reach_every_row() -> None:
    block = experts.block(FEW, 64, hidden=512)
    x, inds = experts.activations("not finite", 1, 1, 512), experts.routes((1, 1), FEW, 2)
    (h,) = gpu.run(planned(block, x, inds, "stock"), "metal")
    assert np.isnan(read(h)).all()


@pytest.mark.parametrize("mode", MODES)
def test_errors_against_float64(mode: str) -> None:
    (block, x, inds), h = published("qwen3"), ran("qwen3", mode)
    for place, expert in enumerate(np.array(inds)[0, 0]):
        right, size = experts.exact_swiglu(experts.doubles(x)[0, 0], block.switch_mlp, int(expert))
        error = np.abs(experts.doubles(h)[0, 0, place] - right)
        if mode == "stock":
            # Roundings of gate and up, four of the sigmoid, two of products: each 2**-8 of at most |gate * up|.
            gate, up = (experts.exact(experts.doubles(x)[0, 0], layer, int(expert))[0] for layer in projections(block))
            assert (error <= 9 * 2.0**-8 * np.abs(gate * up) + 2.0**-18 * size).all()
        else:
            assert (error <= 2.0**-8 * np.abs(right) + 2.0**-18 * size).all()


def test_the_references_are_near_each_other() -> None:
    block = experts.block(FEW, 64, hidden=512)
    x, inds = experts.activations("normal", 2, 1, 512), experts.routes((2, 1), FEW, 3)
    one, other = (read(step(block.switch_mlp, x, inds)) for step in (reference.stock, reference.fp32))
    assert np.abs(one - other).max() < 0.1 * np.abs(other).max()
    (h,) = gpu.run(planned(block, x, inds, "fp32_no_fma"), "metal")
    np.testing.assert_allclose(read(h), other, rtol=2.0**-7, atol=1e-4)


PLANTED = {
    "another token's x": ("slot / PLACES * K", "slot % PLACES * K"),
    "expert of another slot": ("size_t(inds[slot]) * N * (K / 8)", "size_t(inds[slot / PLACES]) * N * (K / 8)"),
    "scales of another expert": ("size_t(inds[slot]) * N * (K / 64)", "size_t(inds[0]) * N * (K / 64)"),
    "gate for up": ("    up_w + words, up_s", "    gate_w + words, up_s"),
    "gate's scales for up's": ("up_s + groups, up_b", "gate_s + groups, up_b"),
    "biases of gate in up": ("up_s + groups, up_b + groups", "up_s + groups, gate_b + groups"),
    "gate and up exchanged": ("swiglu<T, S, STOCK>(g, u)", "swiglu<T, S, STOCK>(u, g)"),
    "one simdgroup's rows twice": ("* SIMDGROUPS + simdgroup_index_in_threadgroup", "* SIMDGROUPS"),
    "row of another token": ("h[slot * N + first + row]", "h[first + row]"),
    "no bound": ("lane == row && first + row < N", "lane == row"),
    "sum of one lane": ("simd_sum(gate[row])", "gate[row]"),
    "order of the nibbles": ("word & 0xffffu", "word >> 16"),
    "x not divided": ("values[i + 2] = c / 256.0f", "values[i + 2] = c"),
    "nibble's mask": ("q & 0x0f00u", "q & 0x0700u"),
    "group of the scale": ("at * (K / 64) + k / 64", "at * (K / 64) + k / 128"),
    "scale for bias": ("dot, float(biases[group])", "dot, float(scales[group])"),
    "last block left out": ("k < K; k += 32 * VALUES", "k + 32 * VALUES < K; k += 32 * VALUES"),
    "gate not rounded": ("const float g = float(T(gate))", "const float g = gate"),
    "up not rounded": ("mul_rn(silu, float(T(up)))", "mul_rn(silu, up)"),
    "exp not rounded": ("float(S(exp_precise(g < 0.0f ? -g : g)))", "exp_precise(g < 0.0f ? -g : g)"),
    "denominator not rounded": ("float(S(add_rn(1.0f, raised)))", "add_rn(1.0f, raised)"),
    "silu not rounded": ("float(T(mul_rn(g, sigmoid)))", "mul_rn(g, sigmoid)"),
    "sigmoid of the other sign": ("g < 0.0f ? below :", "g > 0.0f ? below :"),
}


@functools.cache
def case(mode: str, dtype: mx.Dtype) -> tuple[Any, list[mx.array]]:
    """A launch of four tokens and what is right."""
    block = experts.block(FEW, 172, hidden=512, dtype=dtype)
    x, inds = experts.activations("normal", 2, 2, 512, dtype=dtype) * 2, experts.routes((2, 2), FEW, 3)
    launch, right = planned(block, x, inds, mode), [expected(block, x, inds, mode)]
    assert gpu.passes(launch, right, "metal")
    return launch, right


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_is_found(error: str) -> None:
    launch, right = case("stock", mx.bfloat16)
    assert not gpu.passes(experts.mutated(launch, *PLANTED[error]), right, "metal")


PLANTED_FLOAT32 = {
    "bias left out": ("mul_rn(scale, dot), mul_rn(sum, bias)", "mul_rn(scale, dot), 0.0f"),
    "contracted": ("add_rn(mul_rn(scale, dot), mul_rn(sum, bias))", "fused(scale, dot, mul_rn(sum, bias))"),
    "sigmoid of the other sign": ("exp_precise(-gate)", "exp_precise(gate)"),
    "a step rounded": ("add_rn(1.0f, exp_precise(-gate))", "float(T(add_rn(1.0f, exp_precise(-gate))))"),
    "gate rounded": ("div_rn(gate,", "div_rn(float(T(gate)),"),
}


@pytest.mark.parametrize("error", PLANTED_FLOAT32)
def test_a_planted_error_of_the_float32_modes_is_found(error: str) -> None:
    # Half shows more of a float32 than bfloat does.
    launch, right = case("fp32_no_fma", mx.float16)
    assert not gpu.passes(experts.mutated(launch, *PLANTED_FLOAT32[error]), right, "metal")


def test_x_is_added_up_in_fours_in_float32_and_divided_by_the_nibbles_places() -> None:
    def run(header: str) -> Any:
        (out,) = run_kernel(
            "const uint i = thread_position_in_grid.x; float values[16];"
            "const float sum = load_slice<16>(x + 16 * i, values);"
            "for (int j = 0; j < 16; ++j) out[17 * i + j] = values[j]; out[17 * i + 16] = sum;",
            header,
            inputs={"x": x},
            outputs={"out": ((64, 17), mx.float32)},
            grid=(64, 1, 1),
            threadgroup=(64, 1, 1),
        )
        return np.array(out)

    powers = mx.array(2.0 ** np.random.default_rng(1).integers(-20, 20, size=1024).astype(np.float32))
    x = (experts.activations("normal", 1024) * powers).astype(mx.bfloat16)
    fours = read(x).reshape(64, 4, 4)
    sums = serial_sum(serial_sum(fours))
    header = gpu.module("_lib.gpu.launch").WORDS["metal"] + metal.SOURCE.header
    right = np.concatenate([(fours / 16.0 ** np.arange(4, dtype=np.float32)).reshape(64, 16), sums[:, None]], 1)
    np.testing.assert_array_equal(run(header), right)
    other = run(header.replace("add_rn(add_rn(add_rn(a, b), c), d)", "add_rn(add_rn(a, b), add_rn(c, d))"))
    assert (other[:, 16] != sums).any()


def test_what_is_not_served_says_so() -> None:
    block = experts.block(2, 8, hidden=64)
    block.sharding_group = object()
    with pytest.raises(Unavailable, match="sharded"):
        kernel.check_block(block)
    block.sharding_group, block.switch_mlp.activation = None, nn.silu
    with pytest.raises(Unavailable, match="not SwiGLU"):
        kernel.check_block(block)
    block.switch_mlp.gate_proj.bits = 8
    with pytest.raises(Unavailable, match="8 bit"):
        kernel.weights_of(block.switch_mlp.gate_proj)
    if not mx.metal.is_available():
        with pytest.raises(Unavailable, match="needs a Mac"):
            kernel.bind(block, BindRequest(("experts",), "stock", "metal"))
        assert "Mac" in kernel.probe("stock", "metal")
