"""Gemma 4: mlx-lm `gemma4_text`. Windowed attention; beside each dense MLP experts with GeGLU, whose router has a norm.

Norms stand around everything that is added to the residual stream, so that no add is followed by one norm alone: the
stream has no site. A layer without experts has the sites of its projections.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zmlx_bench.measured.api import (
    LINEAR,
    PROJECTIONS,
    ROUTER_BLOCK,
    Family,
    Host,
    linear_hosts,
    parts_host,
    projection_hosts,
    routed_block,
)

EXPERTS = routed_block("each block of experts, with their indices and weights")


class Gemma4Text(Family):
    """Routers, experts, attention's projections and dense projections."""

    blocks = (PROJECTIONS, ROUTER_BLOCK, EXPERTS, LINEAR)

    def hosts(self, model: Any) -> Sequence[Host]:
        """Return every module with sites."""
        found: list[Host] = []
        for layer in model.layers:
            if layer.enable_moe:
                top_k = layer.config.top_k_experts
                experts = layer.experts.switch_glu
                found += [_router(layer.router), parts_host(layer.experts, EXPERTS, switch_mlp=experts, top_k=top_k)]
            found += projection_hosts(layer.self_attn)
        return [*found, *linear_hosts(model)]


def _router(router: Any) -> Host:
    return parts_host(
        router,
        ROUTER_BLOCK,
        gate=router.proj,
        scale=router.scale,
        root_size=router._root_size,
        eps=router.eps,
        per_expert_scale=router.per_expert_scale,
        top_k=router.config.top_k_experts,
        num_experts=router.config.num_experts,
    )
