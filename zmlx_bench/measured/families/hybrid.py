"""Stacks that mix gated linear attention with gated softmax attention, and experts with one gated shared expert.

Of linear attention the projections have a site; its convolution, its recurrent state and that state's cache stay the
model's own, and so do the norms, the partial rotation and the gate of its softmax attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.base import create_attention_mask, create_ssm_mask
from mlx_lm.models.switch_layers import SwitchGLU

from zmlx_bench.measured.families.base import Family
from zmlx_bench.measured.families.linear import LINEAR, linear_hosts
from zmlx_bench.measured.families.moe import SOFTMAX_ROUTER, moe_block
from zmlx_bench.measured.families.projections import KNOWN, PROJECTIONS, projection_block, projection_hosts
from zmlx_bench.measured.families.stack import NORM_BLOCK, Layer, Stack
from zmlx_bench.measured.host import Host
from zmlx_bench.measured.inputs import all_bytes
from zmlx_bench.measured.steps import Call, Step

IN_PROJECTIONS = (
    {"in_proj_qkv": "qkv", "in_proj_z": "z", "in_proj_b": "b", "in_proj_a": "a"},
    {"in_proj_qkvz": "qkvz", "in_proj_ba": "ba"},
)
IN_BLOCKS = {tuple(form): projection_block(form) for form in IN_PROJECTIONS}


def _add_shared(block: Any) -> Call:
    shared, gate = block.shared_expert, block.shared_expert_gate

    def add(out: mx.array, x: mx.array) -> mx.array:
        own: mx.array = mx.sigmoid(gate(x)) * shared(x)
        return out + own

    return add


_NAMES = {"out": "(B, L, D)", "x": "(B, L, D)"}
ADD_SHARED = Step("", _NAMES, {"out": "(B, L, D)"}, _add_shared, all_bytes("shared_expert", "shared_expert_gate"))
MOE = moe_block(SOFTMAX_ROUTER, ADD_SHARED)


class Hybrid(Family):
    """MoE blocks, the projections of both kinds of attention, the stack of layers and dense projections."""

    blocks = (PROJECTIONS, *IN_BLOCKS.values(), NORM_BLOCK, MOE, LINEAR)

    def hosts(self, model: Any) -> Sequence[Host]:
        """Return every module with sites."""
        found: list[Host] = []
        for layer in model.layers:
            if isinstance(layer.mlp.get("switch_mlp"), SwitchGLU):
                found.append(Host(layer.mlp, MOE))
            found += projection_hosts(_mixer(layer), IN_BLOCKS if layer.is_linear else KNOWN)
        return [*found, _stack(model.model).host(), *linear_hosts(model)]


def _mixer(layer: Any) -> Any:
    return layer.linear_attn if layer.is_linear else layer.self_attn


def _stack(stack: Any) -> Stack:
    def masks(h: mx.array, caches: Sequence[Any]) -> tuple[Any, ...]:
        return create_attention_mask(h, caches[stack.fa_idx]), create_ssm_mask(h, caches[stack.ssm_idx])

    layers = [
        Layer(each.input_layernorm, _mixer(each), each.post_attention_layernorm, each.mlp, int(each.is_linear))
        for each in stack.pipeline_layers
    ]
    return Stack(stack, layers, stack.norm, masks)
