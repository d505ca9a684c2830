"""Grouped-query attention up to its cache in two launches: the joined projection, then norm, rotation and layout.

x (B, L, D), offset int or (B,) array -> q (B, Hq, L, hd), k, v (B, Hk, L, hd), q and k normed and rotated.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable

from .._lib.gpu.launch import require, why_not
from .._lib.gpu.settle import Call, Settle, settler
from ..qk_norm_rope.heads import OFFSETS, Heads
from ..qkv_joined.kernel import join, projections, separate
from .gpu import plan


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Join the projections of one attention module; raise Unavailable where they or its heads are not served."""
    require("qkv_norm_rope", request)
    return qkv_norm_rope(module, request.backend, settler(request.backend))


def qkv_norm_rope(attention: Any, backend: str, settle: Settle) -> Binding:
    """Return qkv_norm_rope(x, offset) for an attention with norms on its heads, with the unpatched model's bits."""
    heads = Heads.of(attention, backend)
    layers = projections(attention)
    if any(not isinstance(layer, nn.QuantizedLinear) or layer.mode != "affine" for layer in layers):
        raise Unavailable("qkv_norm_rope needs affine quantised projections")
    if len({(layer.bits, layer.group_size) for layer in layers}) != 1 or any("bias" in layer for layer in layers):
        raise Unavailable("qkv_norm_rope needs projections of one bit width and group size without bias")
    parts = join(layers)
    weight, scales, biases = parts["weight"], parts["scales"], parts["biases"]
    bits, group_size = layers[0].bits, layers[0].group_size
    q_weight, k_weight = heads.weights
    settled: dict[tuple[tuple[int, ...], int], Call] = {}

    def first(joined: mx.array, offsets: mx.array) -> Call:
        if not joined.dtype == q_weight.dtype == k_weight.dtype:
            raise ValueError(f"the projections are {joined.dtype} and a norm's weight {q_weight.dtype}")
        return settle(plan(heads, joined, offsets))

    def call(x: mx.array, offset: int | mx.array) -> Any:
        offsets = OFFSETS.array(offset)
        joined = mx.quantized_matmul(x, weight, scales, biases, True, group_size, bits)
        key = (x.shape, offsets.size)
        launch = settled.get(key)
        if launch is None:
            launch = settled[key] = first(joined, offsets)
        return launch(inputs=[joined, q_weight, k_weight, offsets])

    return Binding(call, lambda: separate(layers))
