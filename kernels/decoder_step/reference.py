"""The same steps in plain MLX, as the layers have them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Steps

from ..qk_norm_rope.reference import qk_norm_rope


def decoder_step(stack: Any) -> Steps:
    """Return the steps of a stack of layers, for one token of one sequence."""
    layers = stack.pipeline_layers

    def between(here: Any, there: Any) -> Callable[..., tuple[mx.array, ...]]:
        def step(out: mx.array, h: mx.array, offset: Any) -> tuple[mx.array, ...]:
            h = _finish(here, out, h)
            return h, *_heads(there, h, offset)

        return step

    return Steps(
        lambda h, offset: _heads(layers[0], h, offset),
        [between(here, there) for here, there in pairwise(layers)],
        lambda out, h: stack.norm(_finish(layers[-1], out, h)),
    )


def _heads(layer: Any, h: mx.array, offset: Any) -> tuple[mx.array, mx.array, mx.array]:
    attention, x = layer.self_attn, layer.input_layernorm(h)
    q, k = qk_norm_rope(attention, attention.q_proj(x), attention.k_proj(x), offset)
    v = attention.v_proj(x).reshape(1, 1, attention.n_kv_heads, -1).transpose(0, 2, 1, 3)
    return q, k, v


def _finish(layer: Any, out: mx.array, h: mx.array) -> Any:
    h = h + layer.self_attn.o_proj(out.transpose(0, 2, 1, 3).reshape(1, 1, -1))
    return h + layer.mlp(layer.post_attention_layernorm(h))
