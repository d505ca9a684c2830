"""GLM's latent attention at decode in the shim: stock's softmax in its own order, float32 attention over views of a
cache against float64, and planted errors found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from tests.kernels import gpu, mla
from tests.kernels.bf16 import Floats, read, rounded
from tests.kernels.rows import butterfly_sum, exp_fast, serial_sum
from tests.shim.source import Words
from zmlx_bench.measured.contract import BindRequest, Unavailable

pytestmark = pytest.mark.process

kernel: Any = gpu.module("mla_decode.kernel")
plans: Any = gpu.module("mla_decode.gpu")
reference: Any = gpu.module("mla_decode.reference")
SIZES = plans.Sizes(mla.HEADS, mla.RANK, mla.ROPE)
CAPACITY = 64
LOWEST = np.float32(np.finfo(np.float32).min)
forms = pytest.mark.parametrize("words", gpu.FORMS)


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def summed(a: mx.array, b: mx.array, words: Words) -> Any:
    """The launch for the softmax of a + b."""
    return plans.softmax(a.shape, a.dtype, words)._replace(inputs=[a, b])


def in_threads(values: Floats, reads: int) -> Floats:
    """Rows (rows, S), padded with minus infinity, as 32 simdgroups of 32 lanes with `reads` neighbours each."""
    padded = np.full((values.shape[0], plans.THREADS * reads), -np.inf, np.float32)
    padded[:, : values.shape[1]] = values
    return padded.reshape(values.shape[0], 32, 32, reads)


def softmax_on_cuda(values: Floats) -> Floats:
    chunks = in_threads(values, 8)
    greatest = np.maximum(chunks.max(-1), LOWEST)
    total = serial_sum(exp_fast(chunks - greatest[..., None], "cuda"))
    for axis in (2, 1):
        before, greatest = greatest, greatest.max(axis, keepdims=True)
        with np.errstate(over="ignore"):
            weighted = total * exp_fast(before - greatest, "cuda")
        total = (
            butterfly_sum(np.moveaxis(weighted, axis, -1))[..., None] if axis == 2 else butterfly_sum(weighted[..., 0])
        )
        greatest = greatest[..., 0] if axis == 1 else greatest
    factor = np.float32(1) / total
    return rounded(exp_fast(values - greatest.reshape(-1, 1), "cuda") * factor.reshape(-1, 1))


def softmax_on_metal(values: Floats) -> Floats:
    chunks = in_threads(values, 4)
    greatest = values.max(-1)
    total = butterfly_sum(serial_sum(exp_fast(chunks - greatest[:, None, None, None], "metal")))
    factor = np.float32(1) / butterfly_sum(total)
    return rounded(exp_fast(values - greatest[:, None], "metal") * factor[:, None])


@forms
@pytest.mark.parametrize("length", [1, 7, 200, 1500])
def test_softmax_of_the_sum_in_the_order_of_mlxs_own(length: int, words: Words) -> None:
    a, b = (mla.draw(2, 3, 1, length, seed=seed) * 3 for seed in (1, 2))
    (ours,) = gpu.run(summed(a, b, words), words)
    own = {"cuda": softmax_on_cuda, "metal": softmax_on_metal}[words]
    np.testing.assert_array_equal(read(ours).reshape(6, length), own(read(a + b).reshape(6, length)))
    stock = mx.softmax(a + b, axis=-1, precise=True)
    assert (ours.shape, ours.dtype) == (stock.shape, stock.dtype)
    assert mx.allclose(ours, stock, rtol=2**-7, atol=1e-6).item()


def test_a_row_longer_than_a_threadgroup_reads_at_once() -> None:
    a, b = (mla.draw(1, 1, 1, 8200, seed=seed) for seed in (1, 2))
    (ours,) = gpu.run(summed(a, b, "cuda"), "cuda")
    assert mx.allclose(ours, mx.softmax(a + b, axis=-1, precise=True), rtol=2**-7, atol=1e-7).item()


class Case:
    """Queries, a cache of CAPACITY tokens, and the view of the `length` that it holds."""

    def __init__(self, batch: int, length: int, heads: int = 3) -> None:
        self.sizes = plans.Sizes(heads, mla.RANK, mla.ROPE)
        self.q_nope = mla.draw(batch, heads, 1, mla.RANK, seed=1)
        self.q_pe = mla.draw(batch, heads, 1, mla.ROPE, seed=2)
        capacity = max(CAPACITY, length)
        self.buffers = {
            "kv_latent": mla.draw(batch, 1, capacity, mla.RANK, seed=3),
            "k_pe": mla.draw(batch, 1, capacity, mla.ROPE, seed=4),
        }
        self.kv_latent, self.k_pe = (buffer[:, :, :length] for buffer in self.buffers.values())

    def settle(self, words: Words) -> Any:
        return lambda launch: (
            lambda inputs: gpu.run(
                launch._replace(inputs=inputs), words, self.buffers if launch.source.strided else None
            )
        )

    def attending(self, words: Words, splits: int) -> Any:
        """The launch of the attention in `splits`."""
        launch = plans.attend(self.sizes, self.q_nope.shape[0], mla.SCALE, words, splits)
        return launch._replace(inputs=[self.q_nope, self.q_pe, self.kv_latent, self.k_pe])

    def attend(self, words: Words) -> mx.array:
        call = kernel.in_float32(self.sizes, mla.SCALE, self.settle(words), words)
        out: mx.array = call(self.q_nope, self.q_pe, self.kv_latent, self.k_pe)
        return out

    def exact(self) -> Any:
        q, p, k, r = (read(x).astype(np.float64) for x in (self.q_nope, self.q_pe, self.kv_latent, self.k_pe))
        scores = (q @ k.swapaxes(-1, -2) + p @ r.swapaxes(-1, -2)) * mla.SCALE
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return weights / weights.sum(-1, keepdims=True) @ k


@forms
@pytest.mark.parametrize(("batch", "length"), [(1, 1), (4, 7), (2, 50), (1, 64)])
def test_float32_attention_over_a_view_of_the_cache(batch: int, length: int, words: Words) -> None:
    case = Case(batch, length)
    out, truth = case.attend(words), case.exact()
    assert (out.shape, out.dtype) == (case.q_nope.shape, mx.bfloat16)
    # Half a step of bfloat16, and float32's own steps in a sum of a few terms.
    np.testing.assert_allclose(read(out), truth, rtol=2**-8, atol=1e-5)
    stock = reference.attend(case.q_nope, case.q_pe, case.kv_latent, case.k_pe, mla.SCALE)
    assert np.sqrt(np.mean((read(out) - truth) ** 2)) <= np.sqrt(np.mean((read(stock) - truth) ** 2))


@forms
@pytest.mark.parametrize("length", [3, 50, 700])
def test_splits_joined_are_the_whole(length: int, words: Words) -> None:
    case = Case(2, length, heads=2)
    parts = gpu.run(case.attending(words, plans.SPLITS), words, case.buffers)
    (out,) = gpu.run(plans.join(case.sizes, 2, plans.SPLITS)._replace(inputs=parts), words)
    np.testing.assert_allclose(read(out), case.exact(), rtol=2**-8, atol=1e-5)
    if length > plans.UNSPLIT[words]:
        assert gpu.same(case.attend(words), out)


@forms
def test_stock_matmuls_around_the_launch(words: Words) -> None:
    case = Case(2, 50)
    call = kernel.as_stock(SIZES, gpu.settle(words), words)
    out = call(case.q_nope * mla.SCALE, case.q_pe * mla.SCALE, case.kv_latent, case.k_pe)
    stock = reference.attend(case.q_nope, case.q_pe, case.kv_latent, case.k_pe, mla.SCALE)
    assert mx.allclose(out, stock, rtol=2**-6, atol=2**-6).item()
    case = Case(1, 50)
    rows = (case.q_pe * mla.SCALE).reshape(1, 1, 3, mla.ROPE)
    as_rows = call(case.q_nope * mla.SCALE, rows, case.kv_latent, case.k_pe)
    assert gpu.same(as_rows, call(case.q_nope * mla.SCALE, case.q_pe * mla.SCALE, case.kv_latent, case.k_pe))


def test_a_row_longer_than_metals_own_launch_reads_once_stays_mlxs() -> None:
    case = Case(1, plans.LONGEST_SOFTMAX["metal"] + 1, heads=1)
    call = kernel.as_stock(SIZES, lambda _: pytest.fail("launched"), "metal")
    out = call(case.q_nope * mla.SCALE, case.q_pe * mla.SCALE, case.kv_latent, case.k_pe)
    stock = reference.attend(case.q_nope, case.q_pe, case.kv_latent, case.k_pe, mla.SCALE)
    assert mx.allclose(out, stock, rtol=2**-6, atol=2**-6).item()


def test_a_row_of_the_softmax_has_about_as_many_threads_as_it_needs() -> None:
    """Stock's on Metal has a simdgroup for each 128 keys; so many kernels would be compiled while running."""
    for size in range(1, plans.LONGEST_SOFTMAX["metal"] + 1):
        threads = plans.softmax_threads(size, "metal")
        needed = -(-size // (32 * plans.READS["metal"])) * 32
        assert needed <= threads <= max(128, 2 * needed)
    assert len({plans.softmax_threads(size, "metal") for size in range(1, 4097)}) == 4


PLANTED_SOFTMAX = {
    "sum not rounded": (
        "float(T(add_rn(float(by_latent[at]), float(by_place[at])))) : nothing",
        "add_rn(float(by_latent[at]), float(by_place[at])) : nothing",
    ),
    "every simdgroup its own maximum": ("simd_max(lane < THREADS / 32 ? maxima[lane] : nothing)", "greatest"),
    "another row": ("threadgroup_position_in_grid.y * size", "0"),
    "past the row": ("first + i < size ?", "true ?"),
    "the sum of one simdgroup": ("simd_sum(lane < THREADS / 32 ? sums[lane] : 0.0f)", "total"),
    "a simdgroup's sum not brought to the maximum": (
        "sums[group] = mul_rn(total, exp_fast(add_rn(before, -greatest)))",
        "sums[group] = total",
    ),
}
PLANTED_ATTEND = {
    "scores without positions": ("place[key * place_row + at] : 0u", "0u : 0u"),
    "not scaled": ("mul_rn(float(query[2 * at]), float_of(uint(SCALE)))", "float(query[2 * at])"),
    "the view's length as the cache's": ("b * kv_latent_strides[0]", "b * size * RANK"),
    "the first sequence's positions": ("b * k_pe_strides[0]", "0"),
    "the last key missing": ("key < stop", "key + 1 < stop"),
    "sum not brought to the new maximum": ("fused(total, factor, weight)", "add_rn(total, weight)"),
    "latents not brought to the new maximum": (
        "fused(weight, low_half(words[j]), mul_rn(reached[2 * j], factor))",
        "fused(weight, low_half(words[j]), reached[2 * j])",
    ),
    "no common maximum": ("mul_rn(reached[2 * j + 1], to_greatest)", "reached[2 * j + 1]"),
    "the high half twice": ("fused(q[2 * j], low_half(words[j])", "fused(q[2 * j], high_half(words[j])"),
    "one simdgroup missing": ("int other = 0; other < GROUPS", "int other = 1; other < GROUPS"),
    "not divided": ("SPLITS == 1 ? div_rn(1.0f, total) : 1.0f", "1.0f"),
    "every head the first": ("head * q_nope_strides[1]", "0"),
}
PLANTED_JOIN = {
    "maximum of the first": ("greatest = greatest < other ? other : greatest;", ""),
    "sums not brought to the maximum": (
        "fused(stats[2 * from + 1], factor, total)",
        "add_rn(stats[2 * from + 1], total)",
    ),
    "a split missing": ("for (int i = 0; i < SPLITS", "for (int i = 1; i < SPLITS - 1"),
}


@pytest.mark.parametrize("error", PLANTED_SOFTMAX)
def test_a_planted_error_in_the_softmax_is_found(error: str) -> None:
    launch = summed(mla.draw(1, 2, 1, 603, seed=1) * 3, mla.draw(1, 2, 1, 603, seed=2), "cuda")
    assert not gpu.passes(gpu.mutated(launch, *PLANTED_SOFTMAX[error]), gpu.run(launch, "cuda"), "cuda")


@pytest.mark.parametrize("error", PLANTED_ATTEND)
def test_a_planted_error_in_the_attention_is_found(error: str) -> None:
    case = Case(2, 50, heads=2)
    launch = case.attending("metal", 1)
    wrong = gpu.mutated(launch, *PLANTED_ATTEND[error])
    assert not gpu.passes(wrong, gpu.run(launch, "metal", case.buffers), "metal", case.buffers)


@pytest.mark.parametrize("error", PLANTED_JOIN)
def test_a_planted_error_in_the_joining_is_found(error: str) -> None:
    # One head with maxima so far apart that only differences to the greatest can be raised to a power, one with near.
    maxima = mx.array([[[0.0, 200.0, 100.0, 50.0], [0.1, 0.2, 0.3, 0.4]]])
    stats = mx.stack([maxima, mx.abs(mla.draw(1, 2, 4, seed=1, dtype=mx.float32))], axis=-1)
    partial = mla.draw(1, 2, 4, 64, dtype=mx.float32)
    launch = plans.join(plans.Sizes(2, 64, mla.ROPE), 1, 4)._replace(inputs=[partial, stats])
    assert not gpu.passes(gpu.mutated(launch, *PLANTED_JOIN[error]), gpu.run(launch, "metal"), "metal")


def test_what_is_not_served_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel.sizes_of(mla.attention()) == SIZES
    with pytest.raises(Unavailable, match="kernel of its own on metal"):
        kernel.as_stock(plans.Sizes(mla.HEADS, 128, mla.ROPE), gpu.settle("metal"), "metal")
    monkeypatch.setenv("MLX_SDPA_D512_MIN_KL", "0")
    with pytest.raises(Unavailable, match="MLX_SDPA_D512_MIN_KL=0 makes MLX attend"):
        kernel.as_stock(plans.Sizes(mla.HEADS, 512, mla.ROPE), gpu.settle("metal"), "metal")
    kernel.as_stock(plans.Sizes(mla.HEADS, 512, mla.ROPE), gpu.settle("cuda"), "cuda")
    monkeypatch.setenv("MLX_SDPA_D512_MIN_KL", "1024")
    kernel.as_stock(plans.Sizes(mla.HEADS, 512, mla.ROPE), gpu.settle("metal"), "metal")
    # MLX falls back for 192, as for 512: eight queries at most of equal head sizes.
    kernel.as_stock(plans.Sizes(mla.HEADS, 192, mla.ROPE), gpu.settle("metal"), "metal")
    for changes in ({"kv_lora_rank": 511}, {"qk_rope_head_dim": 31}):
        with pytest.raises(Unavailable, match="does not serve latents"):
            kernel.sizes_of(mla.attention(**changes))
    norm = SimpleNamespace(weight=nn.RMSNorm(mla.RANK).weight.astype(mx.float16))
    with pytest.raises(Unavailable, match="bfloat16"):
        kernel.sizes_of(mla.attention(kv_a_layernorm=norm))
    if not mx.cuda.is_available():
        for name, sites in (("mla_decode", ("attention",)), ("mla_attention", ("qkv", "qk_norm_rope", "attention"))):
            with pytest.raises(Unavailable, match="needs"):
                gpu.module(f"{name}.kernel").bind(None, BindRequest(sites, "stock", "cuda"))
