"""Hosts for the site `linear`: every dense quantised projection of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.nn as nn
from mlx_lm.models.mla import QuantizedMultiLinear

from zmlx_bench.measured.host import Calls, Host, stock_call


def linear_hosts(model: Any) -> list[Host]:
    """Return one host for each nn.QuantizedLinear, lm_head included, and for each of MLA's one-matrix-a-head layers."""
    return [
        Host(module, ("linear",), _compose)
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
