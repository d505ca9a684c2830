"""Attention's input projections joined: q, k, v, or q_a and kv_a. x (B, L, D) -> one (B, L, N_i) each.

Output rows of a quantised matmul do not depend on each other, so joining them changes no bit where the backend uses
the same loop for both sizes. For up to four tokens every backend does. In prompts MLX on Metal splits the sum over D
by a rule that the number of rows decides, so prompts keep the separate layers, which are views of the joined rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable

PROJECTIONS = (("q_proj", "k_proj", "v_proj"), ("q_a_proj", "kv_a_proj_with_mqa"))
"""What attentions call them, in the order of the site's outputs."""
PARTS = ("weight", "scales", "biases")


def join(layers: Sequence[nn.QuantizedLinear]) -> dict[str, mx.array]:
    """Concatenate the layers' rows and make each layer a view of its part, so that memory does not grow."""
    joined = {part: mx.concatenate([layer[part] for layer in layers]) for part in PARTS}
    mx.eval(joined)
    start = 0
    for layer in layers:
        stop = start + layer.weight.shape[0]
        for part in PARTS:
            layer[part] = joined[part][start:stop]
        mx.eval([layer[part] for part in PARTS])
        start = stop
    return joined


def separate(layers: Sequence[nn.QuantizedLinear]) -> None:
    """Give each layer arrays of its own again."""
    for layer in layers:
        for part in PARTS:
            layer[part] = mx.array(layer[part])
        mx.eval([layer[part] for part in PARTS])


def projections(attention: Any) -> list[Any]:
    """Return the attention's input projections; raise Unavailable where it has none by a known name."""
    for names in PROJECTIONS:
        if all(name in attention for name in names):
            return [attention[name] for name in names]
    known = ", or ".join(", ".join(names) for names in PROJECTIONS)
    raise Unavailable(f"joined projections need {known}, which {type(attention).__name__} has not")


def bind(module: Any, request: BindRequest) -> Binding:
    """Join the projections of one attention module."""
    layers = projections(module)
    if any(not isinstance(layer, nn.QuantizedLinear) or layer.mode != "affine" for layer in layers):
        raise Unavailable("qkv_joined needs affine quantised projections")
    if len({(layer.bits, layer.group_size) for layer in layers}) != 1 or any("bias" in layer for layer in layers):
        raise Unavailable("qkv_joined needs projections of one bit width and group size without bias")
    sizes = [layer.weight.shape[0] for layer in layers]
    cuts = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    joined = join(layers)
    bits, group_size = layers[0].bits, layers[0].group_size

    def call(x: mx.array) -> tuple[mx.array, ...]:
        out = mx.quantized_matmul(
            x,
            joined["weight"],
            scales=joined["scales"],
            biases=joined["biases"],
            transpose=True,
            group_size=group_size,
            bits=bits,
        )
        return tuple(mx.split(out, cuts, axis=-1))

    return Binding(call, lambda: separate(layers))
