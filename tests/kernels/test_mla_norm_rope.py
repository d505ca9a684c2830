"""GLM's norms, rotations and heads in the shim: their own roundings, stock's steps but for the CPU's, and planted
errors found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from tests.kernels import gpu, mla
from tests.kernels.bf16 import read, rounded
from tests.shim.source import Words
from zmlx_bench.measured.contract import BindRequest, Unavailable

pytestmark = pytest.mark.process

kernel: Any = gpu.module("mla_norm_rope.kernel")
reference: Any = gpu.module("mla_norm_rope.reference")
HEAD = mla.NOPE + mla.ROPE
PROJECTED = mla.Q_RANK + mla.RANK + mla.ROPE
forms = pytest.mark.parametrize("words", gpu.FORMS)


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


class Launched:
    """norm_rope in the shim; keeps its launches, and gives q_b's output in place of q_b's matmul."""

    def __init__(self, words: Words, batch: int, offset: Any, scales: tuple[float, float] = (1.0, 1.0)) -> None:
        self.launches: list[Any] = []
        self.projected = mla.draw(batch, 1, PROJECTED, seed=1)
        self.q = mla.draw(batch, 1, mla.HEADS * HEAD, seed=2)
        self.q_normed = mx.array(0)
        self.attention = mla.attention(q_b_proj=self._q_b)
        settle = gpu.settle(words, self.launches)
        front = kernel.norm_rope(self.attention, words, settle, nope_scale=scales[0], pe_scale=scales[1])
        self.outputs = front(self.projected, offset)

    def _q_b(self, x: mx.array) -> mx.array:
        self.q_normed = x
        return self.q


@forms
@pytest.mark.parametrize(("batch", "offset"), [(1, 0), (1, 1500), (2, 200), (4, mx.array([3, 0, 77, 8000]))])
def test_norms_rotations_and_heads(batch: int, offset: Any, words: Words) -> None:
    run = Launched(words, batch, offset)
    q_nope, q_pe, kv_latent, k_pe = run.outputs
    reads = {"cuda": 8, "metal": 4}[words]
    positions = np.broadcast_to(np.array(offset), (batch,))
    projected = read(run.projected)
    q_a, latent, pe = np.split(projected, [mla.Q_RANK, mla.Q_RANK + mla.RANK], axis=-1)
    weights = [read(norm.weight) for norm in (run.attention.q_a_layernorm, run.attention.kv_a_layernorm)]
    np.testing.assert_array_equal(read(run.q_normed), mla.normed(q_a, weights[0], reads))
    np.testing.assert_array_equal(read(kv_latent)[:, 0], mla.normed(latent, weights[1], reads))
    np.testing.assert_array_equal(read(k_pe)[:, 0], mla.turned(pe, positions))
    q = read(run.q).reshape(batch, mla.HEADS, 1, HEAD)
    np.testing.assert_array_equal(read(q_nope), q[..., : mla.NOPE])
    np.testing.assert_array_equal(read(q_pe), mla.turned(q[..., mla.NOPE :], positions))
    stock = (
        *reference.heads(run.attention, run.q, offset),
        *reference.norms(run.attention, run.projected, offset)[1:],
    )
    for ours, theirs in zip(run.outputs, stock, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        assert mx.allclose(ours, theirs, rtol=2**-6, atol=2**-6).item()


@forms
def test_the_scales_multiply_what_was_rounded(words: Words) -> None:
    plain, scaled = Launched(words, 1, 77), Launched(words, 1, 77, (0.125, 0.0999))
    factor = rounded(np.float32(0.0999))
    np.testing.assert_array_equal(read(scaled.outputs[0]), read(plain.outputs[0]) * np.float32(0.125))
    np.testing.assert_array_equal(read(scaled.outputs[1]), rounded(read(plain.outputs[1]) * factor))
    assert all(gpu.same(a, b) for a, b in zip(plain.outputs[2:], scaled.outputs[2:], strict=True))


PLANTED = {
    0: {
        "no barrier": ("threadgroup_barrier(mem_flags::mem_threadgroup);", ""),
        "one simdgroup's sum": ("simd_sum(lane < THREADS / 32 ? sums[lane] : 0.0f)", "own"),
        "rubbish added": ("lane < THREADS / 32 ? sums[lane] : 0.0f", "sums[lane]"),
        "the other norm's size": ("div_rn(total, float(size))", "div_rn(total, float(Q_RANK))"),
        "the other norm's weight": (": kv_weight + own_first", ": q_weight + own_first"),
        "not rounded before the weight": ("float(T(mul_rn(values[i], scale)))", "mul_rn(values[i], scale)"),
        "past the row": ("own_first < size", "true"),
        "the first sequence's position": ("OFFSETS == 1 ? 0 : token", "0"),
        "the first sequence's row": ("token * (Q_RANK + RANK + ROPE)", "0"),
        "another pair's angle": ("rope_angle(pair, ROPE / 2", "rope_angle(pair + 1, ROPE / 2"),
    },
    1: {
        "halves instead of pairs": ("q + from + NOPE + 2 * pair", "q + from + NOPE + pair"),
        "scaled before rounding": (
            "float(T(turned_first(first, second, angle)))",
            "turned_first(first, second, angle)",
        ),
        "the other scale": ("uint(NOPE_SCALE)", "uint(PE_SCALE)"),
        "the first sequence's position": ("OFFSETS == 1 ? 0 : token", "0"),
        "heads not counted": ("(token * H + head) * (NOPE + ROPE)", "(token + head) * (NOPE + ROPE)"),
        "one pair missing": ("NOPE / 8 + ROPE / 2", "NOPE / 8 + ROPE / 2 - 1"),
    },
}


@pytest.mark.parametrize(("at", "error"), [(at, error) for at, errors in PLANTED.items() for error in errors])
def test_a_planted_error_is_found(at: int, error: str) -> None:
    run = Launched("metal", 2, mx.array([5, 300]), (1.0, 0.0999))
    launch = run.launches[at]
    assert not gpu.passes(gpu.mutated(launch, *PLANTED[at][error]), gpu.run(launch, "metal"), "metal")


def test_what_is_not_served_says_so() -> None:
    for rope in (nn.RoPE(mla.ROPE), nn.RoPE(mla.ROPE, traditional=True, scale=2.0), SimpleNamespace()):
        with pytest.raises(Unavailable, match="traditional"):
            kernel.front_of(mla.attention(rope=rope), "cuda")
    with pytest.raises(Unavailable, match="low rank"):
        kernel.front_of(mla.attention(q_lora_rank=None), "cuda")
    for changes in ({"qk_nope_head_dim": 100}, {"qk_rope_head_dim": 32}):
        with pytest.raises(Unavailable, match="does not serve heads"):
            kernel.front_of(mla.attention(**changes), "cuda")
    with pytest.raises(Unavailable, match="multiples of 8"):
        kernel.front_of(mla.attention(q_lora_rank=764), "cuda")
    with pytest.raises(Unavailable, match="rows of 1536 elements"):
        kernel.front_of(mla.attention(q_lora_rank=1536), "cuda")
    assert kernel.front_of(mla.attention(q_lora_rank=1536), "metal").sizes.q_rank == 1536
    with pytest.raises(Unavailable, match="2-byte"):
        kernel.front_of(mla.attention(q_a_layernorm=nn.RMSNorm(mla.Q_RANK)), "cuda")
    if not mx.cuda.is_available():
        with pytest.raises(Unavailable, match="needs"):
            kernel.bind(None, BindRequest(("qkv", "qk_norm_rope"), "stock", "cuda"))


def test_a_q_b_that_its_launch_does_not_serve_says_so() -> None:
    front = kernel.front_of(mla.attention(), "cuda")
    launch = gpu.module("mla_norm_rope.cuda").norms_q_b_heads

    def q_b(rows: int = mla.HEADS * HEAD, bits: int = 4, dtype: mx.Dtype = mx.bfloat16) -> nn.QuantizedLinear:
        layer = nn.QuantizedLinear(mla.Q_RANK, rows, bias=False, group_size=64, bits=bits)
        layer.set_dtype(dtype)
        return layer

    assert callable(launch(front, mla.attention(q_b_proj=q_b()), (1.0, 1.0), rows=True))
    for wrong, message in ((q_b(bits=8), "8 bit"), (q_b(rows=5128), "5128 rows"), (q_b(dtype=mx.float16), "scales")):
        with pytest.raises(Unavailable, match=message):
            launch(front, mla.attention(q_b_proj=wrong), (1.0, 1.0), rows=True)


def test_every_layer_of_a_token_gets_the_same_position() -> None:
    assert kernel.positions(7) is kernel.positions(7)
    assert kernel.positions(8).tolist() == [8]
    assert kernel.positions(mx.array([1, 2])).tolist() == [1, 2]
