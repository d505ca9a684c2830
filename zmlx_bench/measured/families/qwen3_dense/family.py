"""Dense Qwen3: mlx-lm `qwen3`. Grouped-query attention with q/k norms, and one SwiGLU MLP a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zmlx_bench.measured.api import (
    LINEAR,
    NORM_BLOCK,
    Family,
    GroupedQuery,
    Host,
    Layer,
    Stack,
    attention_mask,
    linear_hosts,
)

ATTENTION = GroupedQuery()


class Qwen3Dense(Family):
    """Attentions, the stack of layers and dense projections."""

    blocks = (ATTENTION.block, NORM_BLOCK, LINEAR)

    def hosts(self, model: Any) -> Sequence[Host]:
        """Return every module with sites."""
        attentions = [ATTENTION.host(layer.self_attn) for layer in model.layers]
        return [*attentions, _stack(model.model).host(), *linear_hosts(model)]


def _stack(stack: Any) -> Stack:
    layers = [
        Layer(each.input_layernorm, each.self_attn, each.post_attention_layernorm, each.mlp) for each in stack.layers
    ]
    return Stack(stack, layers, stack.norm, attention_mask(as_array=False))
