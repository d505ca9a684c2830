"""Projections of one input joined, with biases or without: x (B, L, D) -> one (B, L, N_i) each.

As `qkv_joined`, for what that does not serve: projections with biases, and the four or two of gated linear attention.
An output row of a quantised matmul does not depend on the others, and a bias is added to it as each layer adds its own.
For up to four tokens every backend has one loop for both sizes.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable

from ..qkv_joined.kernel import PROJECTIONS as KNOWN
from ..qkv_joined.kernel import join, separate

PROJECTIONS = (
    *KNOWN,
    ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a"),
    ("in_proj_qkvz", "in_proj_ba"),
)
"""What modules call them, in the order of the site's outputs."""


def bind(module: Any, request: BindRequest) -> Binding:
    """Join the projections of one module; raise Unavailable where they are packed in different ways."""
    del request
    layers = projections(module)
    sizes = [layer.weight.shape[0] for layer in layers]
    cuts = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    weight, scales, biases = join(layers).values()
    bias = mx.concatenate([layer["bias"] for layer in layers]) if "bias" in layers[0] else None
    group_size, bits = layers[0].group_size, layers[0].bits

    def call(x: mx.array) -> tuple[mx.array, ...]:
        out = mx.quantized_matmul(x, weight, scales, biases, True, group_size, bits)
        return tuple(mx.split(out if bias is None else out + bias, cuts, axis=-1))

    return Binding(call, lambda: separate(layers))


def projections(module: Any) -> list[Any]:
    """Return the module's projections of its input; raise Unavailable where they cannot be joined."""
    found = [[module[name] for name in names] for names in PROJECTIONS if all(name in module for name in names)]
    if not found:
        known = ", or ".join(", ".join(names) for names in PROJECTIONS)
        raise Unavailable(f"joined projections need {known}, which {type(module).__name__} has not")
    (layers, *_) = found
    if any(not isinstance(layer, nn.QuantizedLinear) or layer.mode != "affine" for layer in layers):
        raise Unavailable("projections_joined needs affine quantised projections")
    if len({_form(layer) for layer in layers}) != 1:
        raise Unavailable("projections that are packed in different ways, or not all with a bias, cannot be joined")
    return layers


def _form(layer: Any) -> tuple[Any, ...]:
    parts = [layer[part] for part in ("scales", "biases", "bias") if part in layer]
    return layer.bits, layer.group_size, tuple(str(part.dtype) for part in parts)
