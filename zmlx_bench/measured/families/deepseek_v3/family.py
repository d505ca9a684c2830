"""DeepSeek-V3 and Kimi-K2: mlx-lm `deepseek_v3`. Latent attention; sigmoid router among groups; one shared expert.

Its attention and what is added to its experts are those of the family glm47, whose steps it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlx_lm.models.deepseek_v3 import DeepseekV3MoE

from zmlx_bench.measured.api import (
    LINEAR,
    LINEAR_PER_HEAD,
    NORM_BLOCK,
    SIGMOID_GROUPS,
    Family,
    Host,
    Layer,
    Stack,
    attention_mask,
    linear_hosts,
)
from zmlx_bench.measured.families.glm47 import attention
from zmlx_bench.measured.families.glm47.family import MOE as OTHER
from zmlx_bench.measured.families.glm47.family import ROUTED as OTHER_ROUTED
from zmlx_bench.measured.families.glm47.family import SHARED

MOE = replace(OTHER, steps=(SIGMOID_GROUPS, *OTHER.steps[1:]))
ROUTED = replace(OTHER_ROUTED, steps=(SIGMOID_GROUPS, *OTHER_ROUTED.steps[1:]))


class DeepseekV3(Family):
    """MoE blocks, shared experts, attentions, the stack of layers and dense projections."""

    blocks = (attention.BLOCK, NORM_BLOCK, MOE, SHARED, LINEAR, LINEAR_PER_HEAD)

    def hosts(self, model: Any) -> Sequence[Host]:
        """Return every module with sites."""
        found: list[Host] = []
        for layer in model.layers:
            if isinstance(layer.mlp, DeepseekV3MoE):
                if layer.mlp.config.n_shared_experts is None:
                    found.append(Host(layer.mlp, ROUTED))
                else:
                    found += [Host(layer.mlp, MOE), Host(layer.mlp.shared_experts, SHARED)]
            found.append(Host(layer.self_attn, attention.BLOCK, attention.compose))
        return [*found, _stack(model.model).host(), *linear_hosts(model)]


def _stack(stack: Any) -> Stack:
    layers = [
        Layer(each.input_layernorm, each.self_attn, each.post_attention_layernorm, each.mlp)
        for each in stack.pipeline_layers
    ]
    return Stack(stack, layers, stack.norm, attention_mask(as_array=True))
