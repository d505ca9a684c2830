"""MiniMax-M2: mlx-lm `minimax`. Grouped-query attention with norms over all heads; sigmoid router in float32.

Its stack of layers is given its input by name, which a call in its place is not: its residual stream has no site.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zmlx_bench.measured.api import (
    LINEAR,
    PROJECTIONS,
    SIGMOID_FLOAT32,
    Family,
    Host,
    linear_hosts,
    moe_block,
    parts_host,
    projection_hosts,
)

MOE = moe_block(SIGMOID_FLOAT32)


class MiniMax(Family):
    """MoE blocks, attention's projections and dense projections."""

    blocks = (PROJECTIONS, MOE, LINEAR)

    def hosts(self, model: Any) -> Sequence[Host]:
        """Return every module with sites."""
        found: list[Host] = []
        for layer in model.layers:
            found.append(_moe(layer.block_sparse_moe))
            found += projection_hosts(layer.self_attn)
        return [*found, *linear_hosts(model)]


def _moe(block: Any) -> Host:
    return parts_host(
        block,
        MOE,
        switch_mlp=block.switch_mlp,
        gate=block.gate,
        e_score_correction_bias=block.e_score_correction_bias,
        top_k=block.num_experts_per_tok,
        num_experts=block.e_score_correction_bias.shape[0],
        sharding_group=block.sharding_group,
    )
