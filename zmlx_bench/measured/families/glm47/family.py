"""GLM-4.7-Flash: mlx-lm `glm4_moe_lite`. Latent attention; sigmoid router with a correction; one shared expert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx_lm.models.glm4_moe_lite import Glm4MoeLiteMoE

from zmlx_bench.measured.api import (
    LINEAR,
    LINEAR_PER_HEAD,
    NORM_BLOCK,
    RESIDUAL_NORM,
    SIGMOID_BIAS_ROUTER,
    Block,
    Call,
    Family,
    Host,
    Layer,
    Stack,
    Step,
    all_bytes,
    attention_mask,
    hidden,
    linear_hosts,
    moe_block,
    stock_call,
)

from . import attention

HIDDEN = "(B, L, D)"


def _add_shared(block: Any) -> Call:
    shared = block.shared_experts
    return lambda out, x: out + shared(x)


ROUTED = moe_block(SIGMOID_BIAS_ROUTER)
MOE = moe_block(
    SIGMOID_BIAS_ROUTER,
    Step(
        "shared_experts",
        {"out": HIDDEN, "x": HIDDEN},
        {"out": f"{HIDDEN}, the shared expert's output added"},
        _add_shared,
        all_bytes("shared_experts"),
        alone=False,
    ),
)
WHOLE = (*attention.BLOCK.steps, RESIDUAL_NORM, *MOE.steps)
SHARED = Block(
    "the shared experts' MLP",
    (Step("shared_experts", {"x": HIDDEN}, {"s": HIDDEN}, stock_call, all_bytes()),),
    {"x": hidden},
)


class Glm47(Family):
    """MoE blocks, shared experts, attentions, the stack of layers and dense projections."""

    blocks = (attention.BLOCK, NORM_BLOCK, MOE, SHARED, LINEAR, LINEAR_PER_HEAD)
    experts: Any = Glm4MoeLiteMoE
    moe = MOE
    routed = ROUTED
    """The block's class; its steps with shared experts, and without."""

    def hosts(self, model: Any) -> Sequence[Host]:
        """Return every module with sites."""
        found: list[Host] = []
        for layer in model.layers:
            if isinstance(layer.mlp, self.experts):
                if layer.mlp.config.n_shared_experts is None:
                    found.append(Host(layer.mlp, self.routed))
                else:
                    found += [Host(layer.mlp, self.moe), Host(layer.mlp.shared_experts, SHARED)]
            found.append(Host(layer.self_attn, attention.BLOCK, attention.compose))
        return [*found, _stack(model.model).host(), *linear_hosts(model)]


def _stack(stack: Any) -> Stack:
    layers = stack.pipeline_layers
    return Stack(
        stack,
        [Layer(each.input_layernorm, each.self_attn, each.post_attention_layernorm, each.mlp) for each in layers],
        stack.norm,
        attention_mask(as_array=True),
        WHOLE,
    )
