"""Add with norm, and norm with rotation: their GPU sources in the shim at the models' shapes, bit for bit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from tests.kernels import gpu
from tests.kernels.bf16 import Floats, read, rounded
from tests.kernels.rows import butterfly_sum, libm, serial_sum
from tests.shim.source import Words
from zmlx_bench.measured.contract import BindRequest, Unavailable

pytestmark = pytest.mark.process

residual: Any = gpu.module("residual_norm.kernel")
residual_gpu: Any = gpu.module("residual_norm.gpu")
residual_reference: Any = gpu.module("residual_norm.reference")
rotate: Any = gpu.module("qk_norm_rope.kernel")
rotate_reference: Any = gpu.module("qk_norm_rope.reference")

HIDDEN, EPS = 2048, 1e-6
HEADS, KV_HEADS, HEAD = 32, 4, 128
forms = pytest.mark.parametrize("words", gpu.FORMS)


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def draw(*shape: int, seed: int = 0, dtype: mx.Dtype = mx.bfloat16) -> mx.array:
    return mx.array(np.random.default_rng(seed).normal(size=shape).astype(np.float32)).astype(dtype)


def norm_of(d: int) -> Any:
    norm = nn.RMSNorm(d, eps=EPS)
    norm.weight = draw(d, seed=9)
    return norm


def normed(values: Floats, weight: Floats) -> Floats:
    """The norm as the sources' comments have it, rounded to bfloat16: 4 a lane, 32 lanes, then the simdgroups."""
    d = values.shape[-1]
    padded = np.zeros((*values.shape[:-1], -(-d // 128) * 128), np.float32)
    padded[..., :d] = values
    partial = butterfly_sum(serial_sum((padded * padded).reshape(*values.shape[:-1], -1, 32, 4)))
    if partial.shape[-1] > 1:
        groups = np.zeros((*partial.shape[:-1], 32), np.float32)
        groups[..., : partial.shape[-1]] = partial
        partial = butterfly_sum(groups)[..., None]
    scale = np.float32(1) / np.sqrt(partial / np.float32(d) + np.float32(EPS))
    return rounded(weight * (values * scale))


@forms
@pytest.mark.parametrize(("batch", "d"), [(1, HIDDEN), (4, HIDDEN), (2, 300), (1, 4096)])
def test_the_add_and_the_norm(batch: int, d: int, words: Words) -> None:
    x, r, norm = draw(batch, 1, d), draw(batch, 1, d, seed=1), norm_of(d)
    h, out = residual.residual_norm(norm, lambda launch: gpu.run(launch, words))(x=x, r=r)
    assert gpu.same(h, x + r)
    np.testing.assert_array_equal(read(out), normed(read(x + r), read(norm.weight)))
    _, stock = residual_reference.residual_norm(x, r, norm.weight, EPS)
    assert mx.allclose(out, stock, rtol=2**-7, atol=1e-6).item()


def attention() -> Any:
    return SimpleNamespace(
        n_heads=HEADS, n_kv_heads=KV_HEADS, q_norm=norm_of(HEAD), k_norm=norm_of(HEAD), rope=nn.RoPE(HEAD, base=1e6)
    )


@forms
@pytest.mark.parametrize(
    ("batch", "length", "offset"), [(1, 1, 0), (1, 1, 1023), (2, 2, 200), (4, 1, mx.array([3, 0, 77, 1024]))]
)
def test_norm_and_rotation_of_q_and_k(batch: int, length: int, offset: Any, words: Words) -> None:
    q, k = draw(batch, length, HEADS * HEAD), draw(batch, length, KV_HEADS * HEAD, seed=1)
    module = attention()
    results = rotate.qk_norm_rope(module, lambda launch: gpu.run(launch, words))(q=q, k=k, offset=offset)
    stock = rotate_reference.qk_norm_rope(module, q, k, offset)
    exponents = np.arange(HEAD // 2, dtype=np.float32) / np.float32(HEAD // 2)
    frequencies = np.exp2(-exponents * np.float32(np.log2(1e6)))
    first = np.broadcast_to(np.array(offset), (batch,))[:, None]
    angles = (first + np.arange(length)).astype(np.float32)[..., None, None] * frequencies
    cosine, sine = libm("cosf", angles), libm("sinf", angles)
    for out, model, x, norm in zip(results, stock, (q, k), (module.q_norm, module.k_norm), strict=True):
        n = normed(read(x).reshape(batch, length, -1, HEAD), read(norm.weight))
        a, b = n[..., : HEAD // 2], n[..., HEAD // 2 :]
        expected = rounded(np.concatenate([a * cosine - b * sine, a * sine + b * cosine], -1))
        np.testing.assert_array_equal(read(out), expected.transpose(0, 2, 1, 3))
        assert (out.shape, out.dtype) == (model.shape, model.dtype)
        assert mx.allclose(out, model, rtol=2**-6, atol=2**-6).item()


PLANTED = {
    "no barrier": ("threadgroup_barrier(mem_flags::mem_threadgroup);", ""),
    "one simdgroup's sum": ("simd_sum(lane < GROUPS ? sums[lane] : 0.0f)", "own"),
    "rubbish added": ("lane < GROUPS ? sums[lane] : 0.0f", "sums[lane]"),
    "sum not rounded": ("values[i] = float(sum);", "values[i] = add_rn(float(x[at]), float(r[at]));"),
    "eps outside the root": (
        "rsqrt_precise(add_rn(div_rn(total, float(D)), eps[0]))",
        "rsqrt_precise(total / D) + eps[0]",
    ),
    "another token's row": ("normed[t * D + first + i]", "normed[first + i]"),
}
PLANTED_ROTATION = {
    "wrong partner": ("simd_shuffle_xor(value, 16)", "simd_shuffle_xor(value, 1)"),
    "other sign": ("-mul_rn(other, sine)", "mul_rn(other, sine)"),
    "norm not rounded": (
        "float(T(mul_rn(weight, mul_rn(values[i], scale))))",
        "mul_rn(weight, mul_rn(values[i], scale))",
    ),
    "position of the first": ("+ int(l)", ""),
    "layout not transposed": ("((b * HQ + own_head) * L + l) * HD", "(token * HQ + own_head) * HD"),
}


@pytest.mark.parametrize("error", [*PLANTED, *PLANTED_ROTATION])
def test_a_planted_error_is_found(error: str) -> None:
    launches: list[Any] = []

    def run(launch: Any) -> list[mx.array]:
        launches.append(launch)
        return gpu.run(launch, "metal")

    if error in PLANTED:
        # Small values, so that eps weighs.
        good = residual.residual_norm(norm_of(HIDDEN), run)(
            x=draw(2, 1, HIDDEN) / 256, r=draw(2, 1, HIDDEN, seed=1) / 256
        )
        right, wrong = PLANTED[error]
    else:
        q, k = draw(2, 2, HEADS * HEAD), draw(2, 2, KV_HEADS * HEAD, seed=1)
        good = rotate.qk_norm_rope(attention(), run)(q=q, k=k, offset=5)
        right, wrong = PLANTED_ROTATION[error]
    assert not gpu.passes(gpu.mutated(launches[0], right, wrong), list(good), "metal")


def test_what_is_not_served_says_so() -> None:
    with pytest.raises(Unavailable, match="rows of 8192"):
        residual.residual_norm(nn.RMSNorm(8192), list)
    with pytest.raises(ValueError, match="model's dtype"):
        residual.residual_norm(norm_of(64), list)(x=draw(1, 1, 64), r=draw(1, 1, 64, dtype=mx.float32))
    for rope in (nn.RoPE(HEAD, traditional=True), nn.RoPE(HEAD // 2), nn.RoPE(HEAD, scale=2.0)):
        module = attention()
        module.rope = rope
        with pytest.raises(Unavailable, match="whole heads"):
            rotate.qk_norm_rope(module, list)
    module = attention()
    module.q_norm, module.rope = norm_of(80), nn.RoPE(80)
    with pytest.raises(Unavailable, match="heads of 80"):
        rotate.qk_norm_rope(module, list)
    if not mx.cuda.is_available():
        for kernel, site in ((residual, "residual_norm"), (rotate, "qk_norm_rope")):
            with pytest.raises(Unavailable, match="needs"):
                kernel.bind(None, BindRequest((site,), "fp32", "cuda"))
