"""Whether a MoE block is one that the quantised kernels serve."""

from __future__ import annotations

from typing import Any

from mlx_lm.models.switch_layers import SwiGLU

from zmlx_bench.measured.api import Unavailable, require_parts

SUMMED_IN_ORDER = 8
"""Experts a token up to which MLX on Metal adds their outputs one after the other."""


def check_order(mode: str, backend: str, places: int) -> None:
    """Raise Unavailable where MLX adds `places` experts' outputs in an order that mode `stock` does not repeat."""
    if mode == "stock" and backend == "metal" and places > SUMMED_IN_ORDER:
        raise Unavailable(
            f"{places} experts a token: MLX on Metal adds more than {SUMMED_IN_ORDER} in an order that is not repeated"
        )


def check_block(block: Any) -> None:
    """Raise Unavailable for a sharded block and for experts with an activation other than SwiGLU."""
    require_parts("a kernel of quantised experts", block, "switch_mlp")
    if getattr(block, "sharding_group", None) is not None:
        raise Unavailable("the model is sharded")
    activation = type(block.switch_mlp.activation)
    if activation is not SwiGLU:
        raise Unavailable(f"the experts' activation is {activation.__name__}, not SwiGLU")
