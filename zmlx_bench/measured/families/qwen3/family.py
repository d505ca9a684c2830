"""Qwen3-30B-A3B: mlx-lm `qwen3_moe`. Grouped-query attention with q/k norms; softmax router; no shared expert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx_lm.models.qwen3_moe import Qwen3MoeSparseMoeBlock

from zmlx_bench.measured.api import (
    LINEAR,
    NORM_BLOCK,
    RESIDUAL_NORM,
    SOFTMAX_ROUTER,
    Family,
    GroupedQuery,
    Host,
    Layer,
    Stack,
    attend_with,
    attention_mask,
    linear_hosts,
    moe_block,
)

ATTENTION = GroupedQuery()
MOE = moe_block(SOFTMAX_ROUTER)
WHOLE = (*ATTENTION.block.steps, RESIDUAL_NORM, *MOE.steps)


class Qwen3(Family):
    """MoE blocks, attentions, the stack of layers and dense projections."""

    blocks = (ATTENTION.block, NORM_BLOCK, MOE, LINEAR)

    def hosts(self, model: Any) -> Sequence[Host]:
        """Return every module with sites."""
        found: list[Host] = []
        for layer in model.layers:
            if isinstance(layer.mlp, Qwen3MoeSparseMoeBlock):
                found.append(Host(layer.mlp, MOE))
            found.append(ATTENTION.host(layer.self_attn))
        return [*found, _stack(model.model).host(), *linear_hosts(model)]


def _stack(stack: Any) -> Stack:
    layers = stack.pipeline_layers
    return Stack(
        stack,
        [Layer(each.input_layernorm, each.self_attn, each.post_attention_layernorm, each.mlp) for each in layers],
        stack.norm,
        attention_mask(as_array=False),
        WHOLE,
        [attend_with(each.self_attn.scale) for each in layers],
    )
