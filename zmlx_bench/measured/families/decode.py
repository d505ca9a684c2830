"""What a decode step does for every layer, with less Python than the modules' own calls: the same primitives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import KVCache


def append(cache: Any, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
    """Do `cache.update_and_fetch(keys, values)`: (B, H, L, hd) each -> all keys and values so far.

    mlx-lm's plain cache is written here while it has room: indexing its third axis costs two thirds of what its
    own `[..., a:b, :]` costs.
    """
    held = cache.keys if type(cache) is KVCache else None
    start = cache.offset
    end = start + keys.shape[2]
    if held is None or end >= held.shape[2]:
        found: tuple[mx.array, mx.array] = cache.update_and_fetch(keys, values)
        return found
    cache.offset = end
    held[:, :, start:end] = keys
    held_values = cache.values
    held_values[:, :, start:end] = values
    return held[:, :, :end], held_values[:, :, :end]


def projection(layer: Any) -> Callable[[mx.array], mx.array]:
    """Return a call of `layer` that looks its arrays up once; `layer` itself where it is no plain quantised linear.

    Take it after all kernels are bound: they may move a layer's arrays.
    """
    if type(layer) is not nn.QuantizedLinear or "bias" in layer:
        call: Callable[[mx.array], mx.array] = layer
        return call
    weight, scales, biases = layer.weight, layer.scales, layer.get("biases")
    group_size, bits, mode = layer.group_size, layer.bits, layer.mode

    def project(x: mx.array) -> mx.array:
        if type(layer) is not nn.QuantizedLinear:
            # A kernel sits at the layer itself.
            replaced: mx.array = layer(x)
            return replaced
        return mx.quantized_matmul(x, weight, scales, biases, True, group_size, bits, mode)

    return project
