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
    SIGMOID_OWN,
    Family,
    GroupedQuery,
    Host,
    Layer,
    Stack,
    linear_hosts,
    moe_block,
)

ATTENTION = GroupedQuery(q_norm="q_layernorm", k_norm="k_layernorm", out="out_proj")
MOE = moe_block(SIGMOID_OWN)


class Lfm2Moe(Family):
    """MoE blocks, attentions, the stack of layers and dense projections; a convolution has no site."""

    blocks = (ATTENTION.block, NORM_BLOCK, MOE, LINEAR)

    def hosts(self, model: Any) -> Sequence[Host]:
        """Return every module with sites."""
        blocks = [layer.feed_forward for layer in model.layers]
        found = [Host(block, MOE) for block in blocks if isinstance(block, Lfm2MoeSparseMoeBlock)]
        found += [ATTENTION.host(layer.self_attn) for layer in model.layers if layer.is_attention_layer]
        return [*found, _stack(model.model).host(), *linear_hosts(model)]


def _stack(stack: Any) -> Stack:
    def masks(h: mx.array, caches: Sequence[Any]) -> tuple[Any, ...]:
        return create_attention_mask(h, caches[stack.fa_idx]), create_ssm_mask(h, caches[stack.conv_idx])

    return Stack(stack, [_layer(each) for each in stack.layers], stack.embedding_norm, masks)


def _layer(layer: Any) -> Layer:
    mixer, mask = (layer.self_attn, 0) if layer.is_attention_layer else (layer.conv, 1)
    return Layer(layer.operator_norm, mixer, layer.ffn_norm, layer.feed_forward, mask)
