"""GLM's shared expert: the Metal sources in the shim against MLX's Metal algorithms and against float64."""

from __future__ import annotations

import functools
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels import experts, gpu, qmv
from tests.kernels.bf16 import Floats, read
from zmlx_bench.measured.contract import BindRequest, Unavailable

pytestmark = pytest.mark.process

kernel: Any = gpu.module("shared_experts.kernel")
metal: Any = gpu.module("shared_experts.gpu")
reference: Any = gpu.module("shared_experts.reference")
MODES = ("stock", "fp32", "fp32_no_fma")
INNER = experts.SHAPES["glm47"][2]
OLD, NEW = "applegpu_g14s", "applegpu_g16s"
"""MLX has a loop of its own for 2 to 5 tokens since g15."""


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def planned(mlp: Any, x: mx.array, mode: str, architecture: str = OLD) -> Any:
    return metal.plan(mode, architecture, x, *kernel.weights_of(mlp.gate_proj), *kernel.weights_of(mlp.up_proj))


def expected(mlp: Any, x: mx.array, mode: str, architecture: str = OLD) -> mx.array:
    wide = mode == "stock" and architecture == NEW and x.shape[0] * x.shape[1] > 1

    def product(row: Floats, layer: Any) -> Floats:
        return qmv.qmv_wide(row, layer) if wide else qmv.qmv(row, layer)

    h = [
        qmv.swiglu(product(row, mlp.gate_proj), product(row, mlp.up_proj), mode, x.dtype)
        for row in read(x).reshape(-1, x.shape[-1])
    ]
    return mx.array(np.stack(h)).reshape(*x.shape[:2], -1).astype(x.dtype)


def check(mlp: Any, x: mx.array, mode: str, architecture: str = OLD) -> None:
    (h,) = gpu.run(planned(mlp, x, mode, architecture), "metal")
    assert gpu.same(h, expected(mlp, x, mode, architecture))


@pytest.mark.parametrize("mode", MODES)
def test_published_sizes_bit_for_bit(mode: str) -> None:
    check(experts.shared_mlp(INNER), experts.activations("normal", 1, 1, experts.HIDDEN), mode)


def test_published_sizes_of_several_tokens_on_a_new_gpu_bit_for_bit() -> None:
    check(experts.shared_mlp(INNER), experts.activations("normal", 2, 1, experts.HIDDEN), "stock", NEW)


@pytest.mark.parametrize("architecture", [OLD, NEW])
@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize(("tokens", "inner"), [((4, 1), 64), ((1, 3), 27), ((1, 1), 9)])
def test_tokens_and_odd_sizes(tokens: tuple[int, int], inner: int, dtype: mx.Dtype, architecture: str) -> None:
    mlp = experts.shared_mlp(inner, hidden=512, dtype=dtype)
    check(mlp, experts.activations("normal", *tokens, 512, dtype=dtype), "stock", architecture)


@pytest.mark.parametrize("architecture", [OLD, NEW])
@pytest.mark.parametrize("kind", ["saturating", "tiny", "zero", "one"])
def test_extreme_values_bit_for_bit(kind: str, architecture: str) -> None:
    check(experts.shared_mlp(64, hidden=512), experts.activations(kind, 2, 1, 512), "stock", architecture)


@pytest.mark.parametrize(
    ("tokens", "mode", "architecture", "wide"),
    [
        (1, "stock", NEW, False),
        (2, "stock", NEW, True),
        (5, "stock", NEW, True),
        (6, "stock", NEW, False),
        (4, "stock", OLD, False),
        (4, "stock", "x86_64", False),
        (4, "stock", "", False),
        (4, "fp32", NEW, False),
    ],
)
def test_the_loop_is_the_one_that_mlx_takes(tokens: int, mode: str, architecture: str, wide: bool) -> None:
    launch = planned(experts.shared_mlp(64, hidden=512), mx.zeros((tokens, 1, 512), mx.bfloat16), mode, architecture)
    assert (launch.source is metal.WIDE) is wide


@pytest.mark.parametrize("architecture", [OLD, NEW])
@pytest.mark.parametrize("mode", MODES)
def test_errors_against_float64(mode: str, architecture: str) -> None:
    mlp, x = experts.shared_mlp(INNER), experts.activations("normal", 2, 1, experts.HIDDEN)
    (h,) = gpu.run(planned(mlp, x, mode, architecture), "metal")
    right, size = experts.exact_swiglu(experts.doubles(x), mlp)
    gate, up = (experts.exact(experts.doubles(x), layer)[0] for layer in (mlp.gate_proj, mlp.up_proj))
    # Roundings of gate and up, four of the sigmoid, two of products: each 2**-8 of at most |gate * up|.
    rounded = 9 * np.abs(gate * up) if mode == "stock" else np.abs(right)
    assert (np.abs(experts.doubles(h) - right) <= 2.0**-8 * rounded + 2.0**-18 * size).all()


def test_the_mlps_own_down_projection_follows() -> None:
    mlp, x = experts.shared_mlp(64, hidden=512), experts.activations("normal", 2, 1, 512)
    call = kernel.shared_experts(mlp, lambda *inputs: gpu.run(metal.plan("fp32", OLD, *inputs), "metal"))
    out = call(x=x)
    assert gpu.same(out, mlp.down_proj(expected(mlp, x, "fp32")))
    stock, other = read(reference.stock(mlp, x)), read(reference.fp32(mlp, x))
    assert np.abs(stock - other).max() < 0.1 * np.abs(other).max()
    assert np.abs(read(out) - other).max() < 0.02 * np.abs(other).max()


PLANTED = {
    "one token's x for all": ("x + token * K", "x"),
    "one token's h": ("h[token * N + first + row]", "h[first + row]"),
    "gate for up": ("up_w, up_s, up_b, first, lane,", "gate_w, up_s, up_b, first, lane,"),
    "scales and biases exchanged": ("gate_s, gate_b, up_w", "gate_b, gate_s, up_w"),
    "gate and up exchanged": ("(g, u);", "(u, g);"),
    "half the rows": ("* SIMDGROUPS + simdgroup_index_in_threadgroup", "* SIMDGROUPS"),
    "no bound": ("lane == row && first + row < N", "lane == row"),
    "sum of one lane": ("simd_sum(up[row])", "up[row]"),
    "order of the nibbles": ("word & 0xffffu", "word >> 16"),
    "x not divided": ("values[i + 1] = b / 16.0f", "values[i + 1] = b"),
    "group of the scale": ("at * (K / 64) + k / 64", "at * (K / 64)"),
    "gate not rounded": ("const float g = float(T(gate))", "const float g = gate"),
    "silu not rounded": ("float(T(mul_rn(g, sigmoid)))", "mul_rn(g, sigmoid)"),
}
PLANTED_WIDE = {
    "one token's values": ("x[token * K + k + i]", "x[k + i]"),
    "lanes added in another order": ("lanes = 4; lanes > 0; lanes /= 2", "lanes = 1; lanes < 8; lanes *= 2"),
    "lanes of the next row": ("lanes = 4; lanes > 0", "lanes = 8; lanes > 0"),
    "neighbouring groups in a lane": (
        "group = part; group < K / 64; group += 8",
        "group = part; group < K / 128; group += 8",
    ),
    "row of the lane": ("* 4 + lane / 8", "* 4 + lane % 4"),
    "order of the nibbles": ("(word >> (4 * i)) & 0xfu", "(word >> (28 - 4 * i)) & 0xfu"),
    "no bias": ("& 0xfu) + bias", "& 0xfu)"),
    "scale of the first group": ("at * (K / 64) + group", "at * (K / 64)"),
    "up's biases of gate": ("float(up_b[place])", "float(gate_b[place])"),
    "word of another row": ("gate_w[(at * K + k) / 8]", "gate_w[k / 8]"),
    "eights subtracted": ("add_rn(up[token], dot_of_eight", "add_rn(-up[token], dot_of_eight"),
    "no bound": ("part == 0 && row < N", "part == 0"),
    "last row not repeated": ("row < N ? row : N - 1", "row"),
    "gate and up exchanged": ("true>(g, u)", "true>(u, g)"),
}


@functools.cache
def case(architecture: str) -> tuple[Any, list[mx.array]]:
    """A launch of four tokens and what is right. Groups 0 and 4 of 64 are large and cancel, so that the order shows."""
    mlp, values = experts.shared_mlp(171, hidden=1024), read(experts.activations("normal", 2, 2, 1024)).copy()
    values[..., :64] *= 4096
    values[..., 256:320] = -values[..., :64]
    for layer in (mlp.gate_proj, mlp.up_proj):
        for part, size in ((layer.weight, 8), (layer.scales, 1), (layer.biases, 1)):
            part[:, 4 * size : 5 * size] = part[:, :size]
    x = mx.array(values).astype(mx.bfloat16)
    launch, right = planned(mlp, x, "stock", architecture), [expected(mlp, x, "stock", architecture)]
    assert gpu.passes(launch, right, "metal")
    return launch, right


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_is_found(error: str) -> None:
    launch, right = case(OLD)
    assert not gpu.passes(experts.mutated(launch, *PLANTED[error]), right, "metal")


@pytest.mark.parametrize("error", PLANTED_WIDE)
def test_a_planted_error_in_the_loop_of_several_tokens_is_found(error: str) -> None:
    launch, right = case(NEW)
    assert not gpu.passes(experts.mutated(launch, *PLANTED_WIDE[error]), right, "metal")


def test_what_is_not_served_says_so() -> None:
    mlp = experts.shared_mlp(8, hidden=64)
    mlp.up_proj.group_size = 32
    with pytest.raises(Unavailable, match="groups of 32"):
        kernel.weights_of(mlp.up_proj)
    if not mx.metal.is_available():
        with pytest.raises(Unavailable, match="needs a Mac"):
            kernel.bind(mlp, BindRequest(("shared_experts",), "stock", "metal"))
        assert "Mac" in kernel.probe("stock", "metal")
