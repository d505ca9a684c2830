"""LFM2-8B-A1B: mlx-lm `lfm2_moe`. Short convolutions and grouped-query attention; sigmoid router; tied embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.base import create_attention_mask, create_ssm_mask
from mlx_lm.models.lfm2_moe import Lfm2MoeSparseMoeBlock

from zmlx_bench.measured.api import (
    LINEAR,
    NORM_BLOCK,
    Call,
    Family,
    GroupedQuery,
    Host,
    Layer,
    Stack,
    linear_hosts,
    moe_block,
    router,
)


def _stock_router(block: Any) -> Call:
    gate, k, normalize, scale = block.gate, block.top_k, block.norm_topk_prob, block.routed_scaling_factor
    bias = block.expert_bias if block.use_expert_bias else None

    def route(x: mx.array) -> tuple[mx.array, mx.array]:
        weights = mx.sigmoid(gate(x))
        ranked = weights if bias is None else weights.astype(mx.float32) + bias
        inds = mx.argpartition(ranked, kth=-k, axis=-1)[..., -k:]
        scores = mx.take_along_axis(weights, inds, axis=-1)
        if normalize:
            scores = scores / (mx.sum(scores, axis=-1, keepdims=True) + 1e-6)
        return inds, (scores * scale).astype(x.dtype)

    return route


ATTENTION = GroupedQuery(q_norm="q_layernorm", k_norm="k_layernorm", out="out_proj")
MOE = moe_block(router("sigmoid_expert_bias", _stock_router))


class Lfm2Moe(Family):
    """MoE blocks, attentions, the stack of layers and dense projections; a convolution has no site."""

    blocks = (ATTENTION.block, NORM_BLOCK, MOE, LINEAR)

    def hosts(self, model: Any) -> Sequence[Host]:
        """Return every module with sites."""
        found = [Host(each.feed_forward, MOE) for each in model.layers if _is_moe(each)]
        found += [ATTENTION.host(each.self_attn) for each in model.layers if each.is_attention_layer]
        return [*found, _stack(model.model).host(), *linear_hosts(model)]


def _is_moe(layer: Any) -> bool:
    return isinstance(layer.feed_forward, Lfm2MoeSparseMoeBlock)


def _stack(stack: Any) -> Stack:
    def masks(h: mx.array, caches: Sequence[Any]) -> tuple[Any, ...]:
        return create_attention_mask(h, caches[stack.fa_idx]), create_ssm_mask(h, caches[stack.conv_idx])

    layers = [_layer(each) for each in stack.layers]
    return Stack(stack, layers, stack.embedding_norm, masks)


def _layer(layer: Any) -> Layer:
    mixer, mask = (layer.self_attn, 0) if layer.is_attention_layer else (layer.conv, 1)
    return Layer(layer.operator_norm, mixer, layer.ffn_norm, layer.feed_forward, mask)
