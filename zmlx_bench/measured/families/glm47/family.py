"""GLM-4.7-Flash: mlx-lm `glm4_moe_lite`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.base import scaled_dot_product_attention
from mlx_lm.models.glm4_moe_lite import Glm4MoeLiteMoE

from zmlx_bench.measured.contract import Split
from zmlx_bench.measured.families import moe
from zmlx_bench.measured.families.base import Family
from zmlx_bench.measured.families.linear import linear_hosts
from zmlx_bench.measured.families.stack import stack_host
from zmlx_bench.measured.host import Calls, Halves, Host, stock_call

WITH_SHARED = ("experts", "down", "combine", "shared_experts")
MOE_FUSIONS = (*moe.FUSIONS, WITH_SHARED)
QKV_TO_ATTENTION = ("qkv", "qk_norm_rope", "attention")
ATTENTION_FUSIONS = (("qkv", "qk_norm_rope"), QKV_TO_ATTENTION)


class Glm47(Family):
    """Multi-head latent attention; sigmoid router with a correction bias in float32; one shared expert."""

    def hosts(self, model: Any) -> Sequence[Host]:
        """Return the MoE blocks, shared experts, attentions, the stack of layers and dense projections."""
        found: list[Host] = []
        for layer in model.layers:
            if isinstance(layer.mlp, Glm4MoeLiteMoE):
                found.append(Host(layer.mlp, moe.SITES, _compose_moe, MOE_FUSIONS))
                if layer.mlp.config.n_shared_experts is not None:
                    found.append(Host(layer.mlp.shared_experts, ("shared_experts",), _compose_shared))
            found.append(Host(layer.self_attn, ("qkv", "attention"), _compose_attention, ATTENTION_FUSIONS))
        return [*found, stack_host(model.model, mask_as_array=True), *linear_hosts(model)]


def _compose_moe(block: Any, calls: Calls) -> Callable[..., Any]:
    if WITH_SHARED in calls:
        router, whole = calls.get(("router",), block.gate), calls[WITH_SHARED]
        return lambda x: _with_scores(whole, x, *router(x=x))
    routed = moe.compose_routed(block, calls, lambda x: block.gate(x))
    if block.config.n_shared_experts is None:
        return routed
    return lambda x: routed(x) + block.shared_experts(x)


def _with_scores(whole: Callable[..., Any], x: mx.array, inds: mx.array, scores: mx.array) -> Any:
    return whole(x=x, inds=inds, scores=scores)


def _compose_shared(_: Any, calls: Calls) -> Callable[..., Any]:
    shared = calls[("shared_experts",)]
    return lambda x: shared(x=x)


def _compose_attention(attention: Any, calls: Calls) -> Callable[..., Any]:
    stock = stock_call(attention)
    latent = _latent(attention, calls)

    def call(x: mx.array, mask: Any = None, cache: Any = None) -> Any:
        if x.shape[1] != 1 or attention.q_lora_rank is None or hasattr(cache, "bits"):
            # Only decode uses the latent form below; a longer input expands keys and values instead.
            return stock(x, mask, cache)
        return after(latent(x, mask, cache))

    def after(out: mx.array) -> Any:
        return attention.o_proj(attention.unembed_out(out).reshape(out.shape[0], 1, -1))

    whole = calls.get(QKV_TO_ATTENTION)
    if isinstance(whole, Split) and attention.q_lora_rank is not None:
        call.halves = Halves(whole.before, lambda parts, _, cache: whole.attend(parts, cache), after)  # type: ignore[attr-defined]
    return call


def _latent(attention: Any, calls: Calls) -> Callable[..., Any]:
    """Return latent(x (B, 1, D), mask, cache) -> (B, H, 1, rank): attention before `unembed_out`."""
    parts = _parts(attention, calls)
    whole = calls.get(QKV_TO_ATTENTION)
    if whole is None:
        return parts
    return lambda x, mask, cache: (
        whole(x=x, cache=cache) if mask is None and cache is not None else parts(x, mask, cache)
    )


def _parts(attention: Any, calls: Calls) -> Callable[..., Any]:
    front = _front(attention, calls)
    bound = calls.get(("attention",))

    def stock_attention(
        q_nope: mx.array, q_pe: mx.array, kv_latent: mx.array, k_pe: mx.array, mask: Any, cache: Any
    ) -> Any:
        pe_scores = (q_pe * attention.scale) @ k_pe.swapaxes(-1, -2)
        if mask is not None:
            pe_scores = mx.where(mask, pe_scores, mx.array(mx.finfo(pe_scores.dtype).min, pe_scores.dtype))
        return scaled_dot_product_attention(
            q_nope, kv_latent, kv_latent, cache=cache, scale=attention.scale, mask=pe_scores
        )

    def parts(x: mx.array, mask: Any, cache: Any) -> Any:
        offset = cache.offset if cache is not None else 0
        q_nope, q_pe, kv_latent, k_pe = front(x=x, offset=offset)
        if cache is not None:
            kv_latent, k_pe = cache.update_and_fetch(kv_latent, k_pe)
        q_latent = attention.embed_q(q_nope)
        if bound is None or mask is not None:
            return stock_attention(q_latent, q_pe, kv_latent, k_pe, mask, cache)
        return bound(q_nope=q_latent, q_pe=q_pe, kv_latent=kv_latent, k_pe=k_pe)

    return parts


def _front(attention: Any, calls: Calls) -> Callable[..., Any]:
    """Return front(x, offset) -> q_nope (B, H, 1, nope), q_pe (B, H, 1, rope), kv_latent (B, 1, 1, rank), k_pe."""
    fused: Callable[..., Any] | None = calls.get(("qkv", "qk_norm_rope"))
    if fused is not None:
        return fused

    def stock_qkv(x: mx.array) -> tuple[mx.array, mx.array]:
        return attention.q_a_proj(x), attention.kv_a_proj_with_mqa(x)

    qkv: Any = calls.get(("qkv",), stock_qkv)

    def front(x: mx.array, offset: Any) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        B, L, _ = x.shape
        q_a, compressed_kv = qkv(x=x)
        q = attention.q_b_proj(attention.q_a_layernorm(q_a))
        q = q.reshape(B, L, attention.num_heads, attention.q_head_dim).transpose(0, 2, 1, 3)
        q_nope, q_pe = mx.split(q, [attention.qk_nope_head_dim], axis=-1)
        compressed_kv, k_pe = mx.split(compressed_kv, [attention.kv_lora_rank], axis=-1)
        k_pe = k_pe.reshape(B, L, 1, attention.qk_rope_head_dim).transpose(0, 2, 1, 3)
        kv_latent = mx.expand_dims(attention.kv_a_layernorm(compressed_kv), axis=1)
        return q_nope, attention.rope(q_pe, offset), kv_latent, attention.rope(k_pe, offset)

    return front
