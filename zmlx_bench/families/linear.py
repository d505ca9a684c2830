"""Hosts for the site `linear`: every dense quantised projection of a model."""

from __future__ import annotations

from typing import Any

import mlx.nn as nn

from zmlx_bench.patch.host import Host


def linear_hosts(model: Any) -> list[Host]:
    """Return one host for each nn.QuantizedLinear in the model, lm_head included."""
    return [
        Host(module, ("linear",), lambda _, calls: _compose(calls[("linear",)]))
        for _, module in model.named_modules()
        if isinstance(module, nn.QuantizedLinear)
    ]


def _compose(call: Any) -> Any:
    return lambda x: call(x=x)
