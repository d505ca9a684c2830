"""Qwen3-30B-A3B: mlx-lm `qwen3_moe`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.base import scaled_dot_product_attention
from mlx_lm.models.qwen3_moe import Qwen3MoeSparseMoeBlock

from zmlx_bench.measured.families import moe
from zmlx_bench.measured.families.base import Family
from zmlx_bench.measured.families.decode import append, projection
from zmlx_bench.measured.families.linear import linear_hosts
from zmlx_bench.measured.families.stack import stack_host
from zmlx_bench.measured.host import Calls, Halves, Host

QKV_NORM_ROPE = ("qkv", "qk_norm_rope")
WHOLE = (*QKV_NORM_ROPE, "residual_norm", *moe.SITES)
_attend: Any = scaled_dot_product_attention


class Qwen3(Family):
    """Grouped-query attention with q/k norms; softmax router in the weights' dtype; no shared expert."""

    def hosts(self, model: Any) -> Sequence[Host]:
        """Return the MoE blocks, attentions, the stack of layers and dense projections."""
        found: list[Host] = []
        for layer in model.layers:
            if isinstance(layer.mlp, Qwen3MoeSparseMoeBlock):
                found.append(Host(layer.mlp, moe.SITES, _compose_moe, moe.FUSIONS))
            found.append(Host(layer.self_attn, ("qkv", "qk_norm_rope"), _compose_attention, (QKV_NORM_ROPE,)))
        attends = [_attend_with(layer.self_attn.scale) for layer in model.layers]
        stack = stack_host(model.model, mask_as_array=False, whole=WHOLE, attends=attends)
        return [*found, stack, *linear_hosts(model)]


def _attend_with(scale: float) -> Callable[[Sequence[mx.array], Any, Any], Any]:
    def attend(parts: Sequence[mx.array], mask: Any, cache: Any) -> Any:
        q, k, v = parts
        if cache is not None:
            k, v = append(cache, k, v)
        return _attend(q, k, v, cache=cache, scale=scale, mask=mask)

    return attend


def _compose_moe(block: Any, calls: Calls) -> Callable[..., Any]:
    def router(x: mx.array) -> tuple[mx.array, mx.array]:
        gates = mx.softmax(block.gate(x), axis=-1, precise=True)
        k = block.top_k
        inds = mx.argpartition(gates, kth=-k, axis=-1)[..., -k:]
        scores = mx.take_along_axis(gates, inds, axis=-1)
        if block.norm_topk_prob:
            scores = scores / mx.sum(scores, axis=-1, keepdims=True)
        return inds, scores

    return moe.compose_routed(block, calls, router)


def _compose_attention(attention: Any, calls: Calls) -> Callable[..., Any]:
    def stock_qkv(x: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        return attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)

    def stock_norm_rope(q: mx.array, k: mx.array, offset: Any) -> tuple[mx.array, mx.array]:
        B, L, _ = q.shape
        q = attention.q_norm(q.reshape(B, L, attention.n_heads, -1)).transpose(0, 2, 1, 3)
        k = attention.k_norm(k.reshape(B, L, attention.n_kv_heads, -1)).transpose(0, 2, 1, 3)
        return attention.rope(q, offset=offset), attention.rope(k, offset=offset)

    qkv: Any = calls.get(("qkv",), stock_qkv)
    norm_rope: Any = calls.get(("qk_norm_rope",), stock_norm_rope)

    def in_parts(x: mx.array, offset: Any) -> tuple[mx.array, mx.array, mx.array]:
        B, L, _ = x.shape
        q, k, v = qkv(x=x)
        v = v.reshape(B, L, attention.n_kv_heads, -1).transpose(0, 2, 1, 3)
        q, k = norm_rope(q=q, k=k, offset=offset)
        return q, k, v

    heads: Any = calls.get(QKV_NORM_ROPE, in_parts)
    o_proj = projection(attention.o_proj)

    def after(out: mx.array) -> Any:
        B, _, L, _ = out.shape
        if L > 1:
            out = out.transpose(0, 2, 1, 3)
        return o_proj(out.reshape(B, L, -1))

    return Halves(heads, _attend_with(attention.scale), after)
