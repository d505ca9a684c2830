"""The site `linear`: every dense quantised projection of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.mla import QuantizedMultiLinear

from zmlx_bench.measured.host import Host, stock_call
from zmlx_bench.measured.inputs import Sizes, all_bytes
from zmlx_bench.measured.steps import Block, Calls, Step


def _draw(module: Any, sizes: Sizes) -> mx.array:
    width = module.scales.shape[-1] * module.group_size
    heads = module.weight.shape[:-2]
    # A matrix a head stands for MLA's layers, whose input has the heads before the sequence.
    return sizes.normal(sizes.batch, *heads, 1, width)


def _block(module: str, x: str, y: str) -> Block:
    return Block(module, (Step("linear", {"x": x}, {"y": y}, stock_call, all_bytes()),), {"x": _draw})


LINEAR = _block("each nn.QuantizedLinear", "(..., K)", "(..., N)")
LINEAR_PER_HEAD = _block("each QuantizedMultiLinear (a matrix a head)", "(B, H or 1, L, K)", "(B, H, L, N)")


def linear_hosts(model: Any) -> list[Host]:
    """Return one host for each nn.QuantizedLinear, lm_head included, and for each of MLA's one-matrix-a-head layers."""
    return [
        Host(module, LINEAR if isinstance(module, nn.QuantizedLinear) else LINEAR_PER_HEAD, _compose)
        for _, module in model.named_modules()
        if isinstance(module, nn.QuantizedLinear | QuantizedMultiLinear)
    ]


def _compose(module: Any, calls: Calls) -> Callable[..., Any]:
    bound = calls[("linear",)]
    stock = stock_call(module)

    def call(x: Any, transpose: bool = True) -> Any:
        # MLA uses its layers transposed in prompts only; a kernel is for x @ w.T.
        return bound(x=x) if transpose else stock(x, transpose)

    return call
