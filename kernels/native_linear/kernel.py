"""A dense quantised projection as a native operation: x (..., K) -> (..., N).

A QuantizedMultiLinear (MLA's embed_q and unembed_out: one matrix a head) is served too, at decode:
x (B, H, L, K) -> (B, H, L, N). Its transposed and its broadcast use, in prompts only, stay stock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx_lm.models.mla import QuantizedMultiLinear

from zmlx_bench.measured.api import Binding, BindRequest

from .._lib.native.wiring import arguments, extension, weights
from .._lib.native.wiring import probe as probe


def bind(module: Any, request: BindRequest) -> Binding:
    """Return the operation over the layer's own weights; raise Unavailable for what it does not serve."""
    del request
    return Binding(per_head(module) if isinstance(module, QuantizedMultiLinear) else dense(module))


def dense(module: Any) -> Callable[[mx.array], mx.array]:
    """Return the call of an nn.QuantizedLinear."""
    weight, packing = weights(module, "the linear layer")
    how = arguments(packing)
    operation = extension().quantized_matvec

    def call(x: mx.array) -> mx.array:
        y: mx.array = operation(x, weight, **how)
        return y + module["bias"] if "bias" in module else y

    return call


def per_head(module: Any) -> Callable[..., mx.array]:
    """Return the call of a QuantizedMultiLinear."""
    weight, packing = weights(module, "the projection of each head")
    how = arguments(packing)
    operation = extension().quantized_matvec
    heads = module.weight.shape[0]
    stock = type(module).__call__.__get__(module)

    def call(x: mx.array, transpose: bool = True) -> mx.array:
        served = transpose and x.ndim == 4 and x.shape[1] == heads
        y: mx.array = operation(x, weight, **how) if served else stock(x, transpose)
        return y

    return call
