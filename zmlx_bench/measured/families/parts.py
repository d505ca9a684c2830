"""A block whose parts are called otherwise: kernels are bound to an object that has them under the usual names."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from zmlx_bench.measured.families.moe import COMBINE, DOWN, EXPERTS, INDS, SCORES, stock_routed
from zmlx_bench.measured.host import Host
from zmlx_bench.measured.inputs import Sizes, hidden
from zmlx_bench.measured.steps import Block, Calls


class Parts(nn.Module):  # type: ignore[misc]
    """The parts of a block: `switch_mlp`, `gate`, `top_k` and what else its kernels ask for."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def parts_host(module: Any, block: Block, **parts: Any) -> Host:
    """Return the host of `module`, whose call takes what the block takes; kernels are bound to `parts`."""
    seen = Parts(**parts)

    def compose(_: Any, calls: Calls) -> Any:
        return block.compose(seen, {sites: places[0] for sites, places in calls.items()})

    return Host(module, block, compose, {step.site: (seen,) for step in block.steps if step.site})


def _chosen(block: Any, sizes: Sizes) -> mx.array:
    experts = block.switch_mlp.gate_proj.weight.shape[0]
    return mx.random.randint(0, experts, (sizes.batch, 1, block.top_k)).astype(mx.uint32)


def _weights(block: Any, sizes: Sizes) -> mx.array:
    return mx.softmax(sizes.normal(sizes.batch, 1, block.top_k), axis=-1)


def routed_block(module: str) -> Block:
    """Return the block of experts that are given their indices and weights: call(x, inds, scores), `top_k` a part."""
    return Block(
        f"{module}: x (B, L, D), inds {INDS}, scores {SCORES}",
        (EXPERTS, DOWN, COMBINE),
        {"x": hidden, "inds": _chosen, "scores": _weights},
        stock_runs={("experts", "down"): stock_routed},
    )
