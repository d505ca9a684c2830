"""Latent attention at decode, from x to the weighted latents.

A longer input expands keys and values instead and stays with the model's own call, and so does a quantised cache.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
from mlx_lm.models.base import scaled_dot_product_attention

from zmlx_bench.measured.api import (
    Block,
    Call,
    Calls,
    Filled,
    Halves,
    Sizes,
    Split,
    Step,
    all_bytes,
    hidden,
    offset,
    stock_call,
)

HEADS = {
    "q_nope": "(B, H, 1, nope)",
    "q_pe": "(B, H, 1, rope)",
    "kv_latent": "(B, 1, 1, rank)",
    "k_pe": "(B, 1, 1, rope)",
}
LATENT = {
    "q_nope": "(B, H, 1, rank)",
    "q_pe": "(B, H, 1, rope)",
    "kv_latent": "(B, 1, S, rank)",
    "k_pe": "(B, 1, S, rope)",
}
WHOLE = ("qkv", "qk_norm_rope", "attention")


def _stock_qkv(attention: Any) -> Call:
    q_a_proj, kv_a_proj = attention.q_a_proj, attention.kv_a_proj_with_mqa

    def qkv(x: mx.array) -> tuple[mx.array, mx.array]:
        return q_a_proj(x), kv_a_proj(x)

    return qkv


def _stock_norm_rope(attention: Any) -> Call:
    q_b_proj, q_norm, kv_norm = attention.q_b_proj, attention.q_a_layernorm, attention.kv_a_layernorm
    rope, heads, head_dim = attention.rope, attention.num_heads, attention.q_head_dim
    nope, rank, rope_dim = attention.qk_nope_head_dim, attention.kv_lora_rank, attention.qk_rope_head_dim

    def norm_rope(q_a: mx.array, compressed_kv: mx.array, offset: Any) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        B, L, _ = q_a.shape
        q = q_b_proj(q_norm(q_a)).reshape(B, L, heads, head_dim).transpose(0, 2, 1, 3)
        q_nope, q_pe = mx.split(q, [nope], axis=-1)
        latent, k_pe = mx.split(compressed_kv, [rank], axis=-1)
        k_pe = k_pe.reshape(B, L, 1, rope_dim).transpose(0, 2, 1, 3)
        kv_latent = mx.expand_dims(kv_norm(latent), axis=1)
        return q_nope, rope(q_pe, offset), kv_latent, rope(k_pe, offset)

    return norm_rope


def _append(kv_latent: mx.array, k_pe: mx.array, cache: Any) -> Any:
    return (kv_latent, k_pe) if cache is None else cache.update_and_fetch(kv_latent, k_pe)


def _stock_embed_q(attention: Any) -> Call:
    embed_q = attention.embed_q
    return lambda q_nope: embed_q(q_nope)


def _stock_attention(attention: Any) -> Call:
    scale = attention.scale

    def attend(q_nope: mx.array, q_pe: mx.array, kv_latent: mx.array, k_pe: mx.array, mask: Any = None) -> Any:
        scores = (q_pe * scale) @ k_pe.swapaxes(-1, -2)
        if mask is not None:
            scores = mx.where(mask, scores, mx.array(mx.finfo(scores.dtype).min, scores.dtype))
        return scaled_dot_product_attention(q_nope, kv_latent, kv_latent, cache=None, scale=scale, mask=scores)

    return attend


def _filled(_: Any, sizes: Sizes) -> Filled:
    def rows(width: int) -> mx.array:
        return sizes.normal(sizes.batch, 1, sizes.context, width)

    return Filled(rows(sizes.config["kv_lora_rank"]), rows(sizes.config["qk_rope_head_dim"]))


BLOCK = Block(
    "attention, one token a sequence",
    (
        Step(
            "qkv",
            {"x": "(B, 1, D)"},
            {"q_a": "(B, 1, q_rank)", "compressed_kv": "(B, 1, rank + rope)"},
            _stock_qkv,
            all_bytes("q_a_proj", "kv_a_proj_with_mqa"),
        ),
        Step(
            "qk_norm_rope",
            {
                "q_a": "(B, 1, q_rank)",
                "compressed_kv": "(B, 1, rank + rope)",
                "offset": "int or int32 (1,) or (B,)",
            },
            HEADS,
            _stock_norm_rope,
            all_bytes("q_a_layernorm", "q_b_proj", "kv_a_layernorm"),
        ),
        Step(
            "",
            {"kv_latent": HEADS["kv_latent"], "k_pe": HEADS["k_pe"], "cache": "which the kernel updates"},
            {"kv_latent": LATENT["kv_latent"], "k_pe": LATENT["k_pe"]},
            lambda _: _append,
        ),
        Step("", {"q_nope": HEADS["q_nope"]}, {"q_nope": LATENT["q_nope"]}, _stock_embed_q, all_bytes("embed_q")),
        Step("attention", LATENT, {"out": "(B, H, 1, rank)"}, _stock_attention),
    ),
    {"x": hidden, "offset": offset, "cache": _filled},
)
_MASKED = replace(
    BLOCK, steps=(*BLOCK.steps[:-1], replace(BLOCK.steps[-1], inputs={**LATENT, "mask": "bool"}, site=""))
)
"""With a mask, as sequences of several lengths have it, attention itself stays stock's."""


def compose(attention: Any, calls: Calls) -> Call:
    """Return call(x (B, L, D), mask, cache) -> (B, L, D); a kernel gets one token a sequence."""
    stock, unembed, o_proj = stock_call(attention), attention.unembed_out, attention.o_proj
    q_lora_rank, whole = attention.q_lora_rank, calls.get(WHOLE)
    if q_lora_rank is None:
        return stock
    line, masked = BLOCK.compose(attention, calls), _MASKED.compose(attention, calls)

    def call(x: mx.array, mask: Any = None, cache: Any = None) -> Any:
        if x.shape[1] != 1 or hasattr(cache, "bits"):
            return stock(x, mask, cache)
        offset = cache.offset if cache is not None else 0
        if mask is not None or (whole is not None and cache is None):
            return after(masked(x=x, offset=offset, cache=cache, mask=mask))
        return after(line(x=x, offset=offset, cache=cache))

    def after(out: mx.array) -> Any:
        return o_proj(unembed(out).reshape(out.shape[0], 1, -1))

    if isinstance(whole, Split):
        call.halves = Halves(whole.before, lambda parts, _, cache: whole.attend(parts, cache), after)  # type: ignore[attr-defined]
    return call
