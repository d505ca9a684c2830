"""Routed experts wherever they stand: mlx-lm's SwitchGLU, from its input to what each selected expert gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.switch_layers import SwitchGLU

from zmlx_bench.measured.api import DOWN, EXPERTS, Block, Call, Calls, Host, Sizes, hidden, stock_call

PLANES = 3
"""Dimensions of x and inds as the steps have them; some blocks leave batch and sequence in one."""


class Routed(nn.Module):  # type: ignore[misc]
    """What a kernel of experts is bound to: it holds them as a block of a known architecture does."""

    def __init__(self, switch: Any) -> None:
        super().__init__()
        self.switch_mlp = switch


def _indices(view: Any, sizes: Sizes) -> mx.array:
    count = view.switch_mlp.gate_proj.weight.shape[0]
    return mx.random.randint(0, count, (sizes.batch, 1, min(2, count))).astype(mx.uint32)


def _routed(view: Any) -> Call:
    # Taken when kernels are bound: the module's own call is replaced after that.
    stock = stock_call(view.switch_mlp)
    return lambda x, inds: stock(x, inds)


BLOCK = Block(
    "each SwitchGLU, as switch_mlp of what is bound",
    (EXPERTS, DOWN),
    {"x": hidden, "inds": _indices},
    stock_runs={("experts", "down"): _routed},
)


def hosts(model: Any) -> Iterator[tuple[str, Host]]:
    """Yield the path and the host of every SwitchGLU."""
    for path, module in model.named_modules():
        if isinstance(module, SwitchGLU):
            view = (Routed(module),)
            yield path, Host(module, BLOCK, _compose, {step.site: view for step in BLOCK.steps})


def _compose(switch: Any, calls: Calls) -> Call:
    """Return call(x, indices) -> (..., k, D), for x (B, L, D) or (N, D)."""
    line = BLOCK.compose(Routed(switch), {sites: places[0] for sites, places in calls.items()})

    def call(x: mx.array, indices: mx.array) -> Any:
        if x.ndim == PLANES:
            return line(x, indices)
        y = line(x.reshape(1, -1, x.shape[-1]), indices.reshape(1, -1, indices.shape[-1]))
        return y.reshape(*indices.shape, y.shape[-1])

    return call
