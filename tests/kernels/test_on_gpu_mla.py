"""GLM's attention on a real GPU against the unpatched model's steps on the same GPU; `pytest -m gpu`, Metal or CUDA."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.cache import KVCache
from mlx_lm.models.glm4_moe_lite import Glm4MoeLiteAttention, ModelArgs
from mlx_lm.models.mla import MultiLinear

from tests.kernels import mla, on_gpu
from tests.kernels.bf16 import read
from zmlx_bench.catalog import families
from zmlx_bench.measured import loader
from zmlx_bench.measured.contract import BindRequest
from zmlx_bench.measured.families.glm47.attention import compose

pytestmark = on_gpu.ANY
STOCK_MODES = pytest.mark.parametrize("mode", ["stock"] if on_gpu.BACKEND == "metal" else ["stock", "stock_with_q_b"])
FRONT, WHOLE = ("qkv", "qk_norm_rope"), ("qkv", "qk_norm_rope", "attention")

loader.open_kernels(Path(__file__).resolve().parents[2] / "kernels")
batches = pytest.mark.parametrize("batch", [1, 2, 3, 4])
lengths = pytest.mark.parametrize("length", [1, 7, 64, 200, 1024, 1500])


def kernel(name: str) -> Any:
    return importlib.import_module(f"zmlx_kernels.{name}.kernel")


@pytest.fixture(scope="module")
def attention(gpu_as_default: None) -> Glm4MoeLiteAttention:
    """GLM's attention at its published sizes, random and quantised to 4 bits as the published checkpoint is."""
    mx.random.seed(3)
    config = families.facts("glm47").config
    module = Glm4MoeLiteAttention(ModelArgs.from_dict(config))
    for norm in (module.q_a_layernorm, module.kv_a_layernorm):
        norm.weight = mx.random.uniform(0.5, 1.5, norm.weight.shape)
    module.set_dtype(mx.bfloat16)
    nn.quantize(module, 64, 4, class_predicate=lambda _, m: isinstance(m, nn.Linear | MultiLinear))
    mx.eval(module.parameters())
    return module


def activations(batch: int, seed: int = 0) -> mx.array:
    return mx.random.normal((batch, 1, 2048), key=mx.random.key(seed)).astype(mx.bfloat16)


def filled(batch: int, tokens: int, seed: int = 1) -> KVCache:
    """A cache that holds `tokens` tokens and has room beyond them, as in decode."""
    cache = KVCache()
    if tokens:
        latent, place = (mx.random.normal((batch, 1, tokens, d), key=mx.random.key(seed + d)) for d in (512, 64))
        cache.update_and_fetch(latent.astype(mx.bfloat16), place.astype(mx.bfloat16))
        mx.eval(cache.state)
    return cache


def same(a: mx.array, b: mx.array) -> bool:
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    differing = int(mx.sum(a.view(mx.uint16) != b.view(mx.uint16)).item())
    if differing:
        print(f"{differing} of {a.size} elements differ")
    return differing == 0


def queries(attention: Any, batch: int) -> tuple[mx.array, mx.array]:
    q_latent = mx.random.normal((batch, mla.HEADS, 1, mla.RANK), key=mx.random.key(5)).astype(mx.bfloat16)
    q_pe = mx.random.normal((batch, mla.HEADS, 1, mla.ROPE), key=mx.random.key(6)).astype(mx.bfloat16)
    return q_latent, q_pe


def stock_steps(attention: Any, x: mx.array, offset: Any) -> tuple[mx.array, ...]:
    """The model's own steps from x to the cache: q_nope, q_pe, kv_latent, k_pe."""
    b = x.shape[0]
    q = attention.q_b_proj(attention.q_a_layernorm(attention.q_a_proj(x)))
    q = q.reshape(b, 1, attention.num_heads, attention.q_head_dim).transpose(0, 2, 1, 3)
    q_nope, q_pe = mx.split(q, [attention.qk_nope_head_dim], axis=-1)
    compressed_kv, k_pe = mx.split(attention.kv_a_proj_with_mqa(x), [attention.kv_lora_rank], axis=-1)
    k_pe = k_pe.reshape(b, 1, 1, attention.qk_rope_head_dim).transpose(0, 2, 1, 3)
    kv_latent = mx.expand_dims(attention.kv_a_layernorm(compressed_kv), axis=1)
    return q_nope, attention.rope(q_pe, offset), kv_latent, attention.rope(k_pe, offset)


@STOCK_MODES
@batches
def test_the_front_is_stocks_bit_for_bit(attention: Any, batch: int, mode: str) -> None:
    binding = kernel("mla_norm_rope").bind(attention, BindRequest(FRONT, mode, on_gpu.BACKEND))
    try:
        for seed, offset in enumerate([0, 1, 7, 200, 1023, 8191, mx.arange(batch) * 300 + 5]):
            x = activations(batch, seed)
            ours, stock = binding.call(x=x, offset=offset), stock_steps(attention, x, offset)
            found = [same(a, b) for a, b in zip(ours, stock, strict=True)]
            assert found == [True] * 4, (offset, found)
    finally:
        binding.undo()


@batches
def test_embed_q_commutes_with_a_power_of_two(attention: Any, batch: int) -> None:
    q_nope = mx.random.normal((batch, mla.HEADS, 1, mla.NOPE)).astype(mx.bfloat16)
    assert same(attention.embed_q(q_nope * mla.SCALE), attention.embed_q(q_nope) * mla.SCALE)


def stock_attend(attention: Any, q_latent: mx.array, q_pe: mx.array, latent: mx.array, place: mx.array) -> mx.array:
    reference: Any = importlib.import_module("zmlx_kernels.mla_decode.reference")
    out: mx.array = reference.attend(q_latent, q_pe, latent, place, attention.scale)
    return out


@lengths
@batches
def test_the_softmax_of_the_sum_is_stocks_bit_for_bit(batch: int, length: int) -> None:
    plans: Any = importlib.import_module("zmlx_kernels.mla_decode.gpu")
    settler: Any = importlib.import_module("zmlx_kernels._lib.gpu.settle").settler(on_gpu.BACKEND)
    a, b = (mx.random.normal((batch, mla.HEADS, 1, length)).astype(mx.bfloat16) * 4 for _ in range(2))
    (ours,) = settler(plans.softmax(a.shape, a.dtype, on_gpu.BACKEND))(inputs=[a, b])
    assert same(ours, mx.softmax(a + b, axis=-1, precise=True))


@lengths
@batches
def test_the_attention_is_stocks_bit_for_bit(attention: Any, batch: int, length: int) -> None:
    call = kernel("mla_decode").bind(attention, BindRequest(("attention",), "stock", on_gpu.BACKEND)).call
    latent, place = filled(batch, length).keys_and_values()
    q_latent, q_pe = queries(attention, batch)
    ours = call(q_nope=q_latent, q_pe=q_pe, kv_latent=latent, k_pe=place)
    assert same(ours, stock_attend(attention, q_latent, q_pe, latent, place))


@STOCK_MODES
@lengths
@batches
def test_the_whole_attention_is_stocks_bit_for_bit(attention: Any, batch: int, length: int, mode: str) -> None:
    x = activations(batch)
    stock_cache, our_cache = filled(batch, length - 1), filled(batch, length - 1)
    stock = attention(x, None, stock_cache)
    binding = kernel("mla_attention").bind(attention, BindRequest(WHOLE, mode, on_gpu.BACKEND))
    try:
        ours = compose(attention, {WHOLE: binding.call})(x, None, our_cache)
        for a, b in zip(our_cache.keys_and_values(), stock_cache.keys_and_values(), strict=True):
            assert same(a, b)
        assert same(ours, stock)
    finally:
        binding.undo()


def exact(q_latent: mx.array, q_pe: mx.array, latent: mx.array, place: mx.array) -> Any:
    """The attention in float64, (B, H, 1, rank): on a GPU even MLX's float32 matmul may round its inputs."""
    q, p, k, r = (read(x).astype(np.float64) for x in (q_latent, q_pe, latent, place))
    scores = (q @ k.swapaxes(-1, -2) + p @ r.swapaxes(-1, -2)) * mla.SCALE
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ k


@pytest.mark.parametrize("length", [1, 7, 64, 200, 512, 513, 1024, 1500, 8192])
@batches
def test_float32_attention_is_nearer_to_the_truth_than_stock(attention: Any, batch: int, length: int) -> None:
    call = kernel("mla_decode").bind(attention, BindRequest(("attention",), "fp32", on_gpu.BACKEND)).call
    latent, place = filled(batch, length).keys_and_values()
    q_latent, q_pe = queries(attention, batch)
    truth = exact(q_latent, q_pe, latent, place)

    def error(out: mx.array) -> float:
        return float(np.sqrt(np.mean((read(out) - truth) ** 2)))

    ours = error(call(q_nope=q_latent, q_pe=q_pe, kv_latent=latent, k_pe=place))
    stock = error(stock_attend(attention, q_latent, q_pe, latent, place))
    print(f"batch {batch}, {length} keys: float32 attention off by {ours:.2e}, stock by {stock:.2e}")
    assert ours <= 1.01 * stock
    # Half a step of bfloat16's 8 bits is all that a result rounded once may be off.
    assert ours <= 2**-8 * float(np.sqrt(np.mean(truth**2)))


def steps(call: Callable[..., mx.array], tokens: int) -> list[mx.array]:
    cache = filled(1, 255)
    outs = [call(activations(1, seed), None, cache) for seed in range(tokens)]
    mx.eval(outs)
    return outs


@pytest.mark.parametrize("mode", ["stock", "fp32"])
def test_decode_step_by_step_over_a_growing_cache(attention: Any, mode: str) -> None:
    stock = steps(attention, 4)
    binding = kernel("mla_attention").bind(attention, BindRequest(WHOLE, mode, on_gpu.BACKEND))
    try:
        ours = steps(compose(attention, {WHOLE: binding.call}), 4)
    finally:
        binding.undo()
    for a, b in zip(ours, stock, strict=True):
        assert same(a, b) if mode == "stock" else mx.allclose(a, b, rtol=2**-4, atol=2**-4).item()
