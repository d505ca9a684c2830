"""gpt-oss: mlx-lm `gpt_oss`. Experts with biases and a clamped SwiGLU behind a softmax over the chosen.

Its attention has sinks, biases and windows in every other layer: beside its projections it stays the model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.base import create_attention_mask

from zmlx_bench.measured.api import (
    LINEAR,
    NORM_BLOCK,
    PROJECTIONS,
    TOP_K_SOFTMAX,
    Family,
    Host,
    Layer,
    Stack,
    linear_hosts,
    moe_block,
    parts_host,
    projection_hosts,
)

MOE = moe_block(TOP_K_SOFTMAX)
WINDOW = 1
"""Which of the stack's masks a layer with a window takes."""


class GptOss(Family):
    """MoE blocks, attention's projections, the stack of layers and dense projections."""

    blocks = (PROJECTIONS, NORM_BLOCK, MOE, LINEAR)

    def hosts(self, model: Any) -> Sequence[Host]:
        """Return every module with sites."""
        found: list[Host] = []
        for layer in model.layers:
            found.append(_moe(layer.mlp))
            found += projection_hosts(layer.self_attn)
        return [*found, _stack(model.model).host(), *linear_hosts(model)]


def _moe(block: Any) -> Host:
    return parts_host(
        block,
        MOE,
        switch_mlp=block.experts,
        gate=block.router,
        top_k=block.num_experts_per_tok,
        num_experts=block.num_local_experts,
        sharding_group=block.sharding_group,
    )


def _stack(stack: Any) -> Stack:
    def masks(h: mx.array, caches: Sequence[Any]) -> tuple[Any, ...]:
        of_window = create_attention_mask(h, caches[stack.swa_idx], window_size=stack.window_size)
        return create_attention_mask(h, caches[stack.ga_idx]), of_window

    layers = [
        Layer(
            each.input_layernorm,
            each.self_attn,
            each.post_attention_layernorm,
            each.mlp,
            0 if kind == "full_attention" else WINDOW,
        )
        for each, kind in zip(stack.layers, stack.layer_types, strict=False)
    ]
    return Stack(stack, layers, stack.norm, masks)
