"""The residual stream with a kernel at `residual_norm`: every add of a decoder layer with the norm that follows it.

Both families' layers are the same here. The norm after a layer's last add is the next layer's first, so the host is
the whole stack, which hands the sum and its norm from layer to layer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from mlx_lm.models.base import create_attention_mask

from zmlx_bench.measured.contract import Steps
from zmlx_bench.measured.families.traced import Traced, run, trace, traced
from zmlx_bench.measured.host import Calls, Host, stock_call

SITE = "residual_norm"
TRACE = "ZMLX_TRACE"
"""A variant's environment may set it to 1: decode steps are traced between the caches."""


def stack_host(
    stack: Any, *, mask_as_array: bool, whole: tuple[str, ...] = (), attends: Sequence[Callable[..., Any]] = ()
) -> Host:
    """Return the host of a model's stack of decoder layers; `mask_as_array` is how the family makes its mask.

    Its norms in the order of the adds: after attention, then the next layer's first or the last norm of all.
    A kernel over the sites `whole` makes the steps between the layers' `attends`.
    """
    layers = stack.pipeline_layers
    after_layer = [*(layer.input_layernorm for layer in layers[1:]), stack.norm]
    norms = [
        norm for layer, last in zip(layers, after_layer, strict=True) for norm in (layer.post_attention_layernorm, last)
    ]

    def compose(_: Any, calls: Calls) -> Callable[..., Any]:
        if whole in calls:
            return _compose_whole(stack, calls[whole], attends, mask_as_array)
        return _compose(stack, calls[(SITE,)], mask_as_array)

    return Host(stack, (SITE,), compose, (whole,) if whole else (), places={SITE: tuple(norms)})


def _compose_whole(
    stack: Any, steps: Any, attends: Sequence[Callable[..., Any]], mask_as_array: bool
) -> Callable[..., Any]:
    stock, embed = stock_call(stack), stack.embed_tokens
    decode = run(traced(steps) if isinstance(steps, Steps) and os.environ.get(TRACE) == "1" else steps, attends)

    def call(inputs: Any, cache: Any = None, input_embeddings: Any = None) -> Any:
        if cache is None or cache[0] is None or hasattr(cache[0], "bits"):
            return stock(inputs, cache, input_embeddings)
        h = embed(inputs) if input_embeddings is None else input_embeddings
        if create_attention_mask(h, cache[0], return_array=mask_as_array) is not None:
            return stock(inputs, cache, input_embeddings)
        return decode(h, cache)

    return call


def _compose(stack: Any, add_norms: tuple[Callable[..., Any], ...], mask_as_array: bool) -> Callable[..., Any]:
    stock, layers = stock_call(stack), stack.pipeline_layers
    steps = [
        (layer.self_attn, after_attention, layer.mlp, after_layer)
        for layer, after_attention, after_layer in zip(layers, add_norms[::2], add_norms[1::2], strict=True)
    ]
    embed, first_norm, no_cache = stack.embed_tokens, layers[0].input_layernorm, [None] * len(steps)
    wanted = os.environ.get(TRACE) == "1" and not any(hasattr(call, "is_counted") for call in add_norms)
    once: list[Traced | None] = []

    def call(inputs: Any, cache: Any = None, input_embeddings: Any = None) -> Any:
        if stack.pipeline_size > 1:
            return stock(inputs, cache)
        h = embed(inputs) if input_embeddings is None else input_embeddings
        if cache is None:
            cache = no_cache
        mask = create_attention_mask(h, cache[0], return_array=mask_as_array)
        if wanted and mask is None and cache[0] is not None and not hasattr(cache[0], "bits"):
            if not once:
                once.append(trace(first_norm, steps))
            if once[0] is not None:
                return once[0](h, cache)
        normed = first_norm(h)
        for (attend, after_attention, mlp, after_layer), c in zip(steps, cache, strict=True):
            h, normed = after_attention(x=h, r=attend(normed, mask, c))
            h, normed = after_layer(x=h, r=mlp(normed))
        return normed

    return call
