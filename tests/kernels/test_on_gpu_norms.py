"""Add with norm, and norm with rotation, on a real GPU against the unpatched model's steps on the same GPU, bit for
bit; `pytest -m gpu`, Metal or CUDA."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.models.qwen3_moe import Attention
from mlx_lm.utils import load_model

from tests.families import family as family_of
from tests.kernels import on_gpu
from tests.variants import variant
from zmlx_bench.catalog.variants import plain
from zmlx_bench.checkpoints.resolve import TINY
from zmlx_bench.measured import loader
from zmlx_bench.measured.apply import apply
from zmlx_bench.measured.contract import BindRequest

pytestmark = on_gpu.ANY

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
loader.open_kernels(KERNELS)
HEADS, KV_HEADS, HEAD, HIDDEN = 32, 4, 128, 2048
OFFSETS = (0, 1, 199, 1023, 40000)
batches = pytest.mark.parametrize("batch", [1, 2, 3, 4])
dtypes = pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32], ids=["bf16", "fp16", "fp32"])


def bound(kernel: str, module: Any, *sites: str) -> Any:
    folder: Any = importlib.import_module(f"zmlx_kernels.{kernel}.kernel")
    return folder.bind(module, BindRequest(sites, "stock", on_gpu.BACKEND)).call


def draw(*shape: int, seed: int = 0, kind: str = "plain", dtype: mx.Dtype = mx.bfloat16) -> mx.array:
    """Rows of normal values; spread over 12 powers of two, tiny, huge, all zero, or with an infinite element."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape) * {"tiny": 1e-6, "huge": 1e3, "zero": 0.0}.get(kind, 1.0)
    if kind == "spread":
        values *= 2.0 ** rng.integers(-6, 7, size=shape)
    if kind == "infinite":
        values[..., 5] = np.inf
    return mx.array(values.astype(np.float32)).astype(dtype)


def norm_of(d: int, eps: float = 1e-6, dtype: mx.Dtype = mx.bfloat16, seed: int = 9) -> Any:
    norm = nn.RMSNorm(d, eps=eps)
    norm.weight = (1 + draw(d, seed=seed, dtype=mx.float32) / 4).astype(dtype)
    return norm


def differing(ours: mx.array, stock: mx.array) -> str:
    """Return what differs, for the message of a failed assertion; empty when every bit that counts is equal."""
    if (ours.shape, ours.dtype) != (stock.shape, stock.dtype):
        return f"{ours.shape} {ours.dtype} against {stock.shape} {stock.dtype}"
    unequal = (ours != stock) & ~(mx.isnan(ours) & mx.isnan(stock))
    count = int(mx.sum(unequal).item())
    gap = mx.abs(ours.astype(mx.float32) - stock.astype(mx.float32))
    return f"{count} of {ours.size}, at most {mx.max(gap).item():g} apart" if count else ""


@batches
@dtypes
@pytest.mark.parametrize("kind", ["plain", "spread", "tiny", "huge", "zero", "infinite"])
def test_the_add_and_the_norm_are_stocks_bit_for_bit(kind: str, dtype: mx.Dtype, batch: int) -> None:
    for d, eps in ((HIDDEN, 1e-6), (HIDDEN, 1e-5), (192, 1e-6), (1000, 1e-6), (1536, 1e-6), (4096, 1e-6)):
        norm = norm_of(d, eps, dtype)
        call = bound("residual_norm", norm, "residual_norm")
        for seed in range(2):
            x, r = (draw(batch, 1, d, seed=2 * seed + i, kind=kind, dtype=dtype) for i in (0, 1))
            h, normed = call(x=x, r=r)
            assert not differing(h, x + r), d
            assert not differing(normed, norm(x + r)), d


def attention_of(dtype: mx.Dtype, hd: int = HEAD, base: float = 1e6) -> Any:
    return SimpleNamespace(
        n_heads=HEADS,
        n_kv_heads=KV_HEADS,
        q_norm=norm_of(hd, dtype=dtype),
        k_norm=norm_of(hd, dtype=dtype, seed=8),
        rope=nn.RoPE(hd, base=base),
    )


def stock_turn(attention: Any, q: mx.array, k: mx.array, offset: Any) -> tuple[mx.array, mx.array]:
    reference: Any = importlib.import_module("zmlx_kernels.qk_norm_rope.reference")
    turned: tuple[mx.array, mx.array] = reference.qk_norm_rope(attention, q, k, offset)
    return turned


@batches
@dtypes
@pytest.mark.parametrize("kind", ["plain", "spread", "tiny", "huge", "zero"])
def test_norm_and_rotation_are_stocks_bit_for_bit(kind: str, dtype: mx.Dtype, batch: int) -> None:
    for hd, base in ((HEAD, 1e6), (HEAD, 1e4), (32, 1e4), (64, 1e6)):
        module = attention_of(dtype, hd, base)
        call = bound("qk_norm_rope", module, "qk_norm_rope")
        q = draw(batch, 1, HEADS * hd, kind=kind, dtype=dtype)
        k = draw(batch, 1, KV_HEADS * hd, seed=1, kind=kind, dtype=dtype)
        for offset in (*OFFSETS, mx.array([1023, 0, 40000, 7][:batch])):
            for ours, stock in zip(call(q=q, k=k, offset=offset), stock_turn(module, q, k, offset), strict=True):
                assert not differing(ours, stock), (hd, base, offset)


@pytest.mark.parametrize(("batch", "length"), [(1, 2), (1, 4), (2, 2)])
def test_norm_and_rotation_of_several_tokens_are_stocks(batch: int, length: int) -> None:
    module = attention_of(mx.bfloat16)
    q, k = draw(batch, length, HEADS * HEAD), draw(batch, length, KV_HEADS * HEAD, seed=1)
    for offset in OFFSETS:
        ours = bound("qk_norm_rope", module, "qk_norm_rope")(q=q, k=k, offset=offset)
        for out, stock in zip(ours, stock_turn(module, q, k, offset), strict=True):
            assert not differing(out, stock), offset


@batches
@pytest.mark.parametrize("kind", ["plain", "spread", "huge"])
def test_projections_norms_and_rotation_in_two_launches_are_stocks(kind: str, batch: int) -> None:
    sizes = SimpleNamespace(
        hidden_size=HIDDEN, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD, rms_norm_eps=1e-6
    )
    sizes.rope_theta = 1e6
    mx.random.seed(3)
    attention = Attention(sizes, 0)
    attention.q_norm, attention.k_norm = norm_of(HEAD), norm_of(HEAD, seed=8)
    attention.set_dtype(mx.bfloat16)
    nn.quantize(attention, group_size=64, bits=4)
    x = draw(batch, 1, HIDDEN, kind=kind)
    raw = attention.q_proj(x), attention.k_proj(x)
    v = attention.v_proj(x).reshape(batch, 1, KV_HEADS, HEAD).transpose(0, 2, 1, 3)
    wanted = {offset: (*stock_turn(attention, *raw, offset), v) for offset in OFFSETS}
    mx.eval(list(wanted.values()))
    call = bound("qkv_norm_rope", attention, "qkv", "qk_norm_rope")
    for offset, stocks in wanted.items():
        for name, ours, stock in zip("qkv", call(x=x, offset=offset), stocks, strict=True):
            assert not differing(ours, stock), (name, offset)


def said(model: Any, batch: int, steps: int = 32) -> tuple[list[int], list[mx.array]]:
    """Greedy tokens after one token, and the logits of every step."""
    cache = make_prompt_cache(model)
    out = model(mx.array([[5]] * batch), cache=cache)
    tokens, logits = [], [out]
    for _ in range(steps):
        token = mx.argmax(out, axis=-1)
        out = model(token, cache=cache)
        logits.append(out)
        tokens.append(token)
    mx.eval(logits)
    return [t for token in tokens for t in token.reshape(-1).tolist()], logits


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    ("family", "kernels"),
    [
        ("qwen3", ("residual_norm=residual_norm",)),
        ("qwen3", ("qk_norm_rope=qk_norm_rope",)),
        ("qwen3", ("qkv=qkv_joined", "qk_norm_rope=qk_norm_rope", "residual_norm=residual_norm")),
        ("qwen3", ("qkv+qk_norm_rope=qkv_norm_rope", "residual_norm=residual_norm")),
        ("glm47", ("residual_norm=residual_norm",)),
    ],
)
def test_the_tiny_model_says_the_same_bits(family: str, kernels: tuple[str, ...], batch: int) -> None:
    if (family, on_gpu.BACKEND) == ("glm47", "cuda"):
        pytest.skip("MLX 0.32.4 has no CUDA kernel for the tiny GLM's batched quantised products")
    model, _ = load_model(TINY / f"tiny_{family}")
    stock_tokens, stock_logits = said(model, batch)
    made = variant(family, *kernels)
    limited = plain(made, {kernel.kernel: 4 for kernel in made.kernels})
    patch = apply(limited, family_of(family).hosts(model), on_gpu.BACKEND, KERNELS)
    tokens, logits = said(model, batch)
    patch.undo()
    assert tokens == stock_tokens
    assert [step for step, (a, b) in enumerate(zip(logits, stock_logits, strict=True)) if differing(a, b)] == []
