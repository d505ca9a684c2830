"""Whether a MoE block is one that the quantised kernels serve."""

from __future__ import annotations

from typing import Any

from mlx_lm.models.switch_layers import SwiGLU

from zmlx_bench.measured.api import Unavailable, require_parts


def check_block(block: Any) -> None:
    """Raise Unavailable for a sharded block and for experts with an activation other than SwiGLU."""
    require_parts("a kernel of quantised experts", block, "switch_mlp")
    if getattr(block, "sharding_group", None) is not None:
        raise Unavailable("the model is sharded")
    activation = type(block.switch_mlp.activation)
    if activation is not SwiGLU:
        raise Unavailable(f"the experts' activation is {activation.__name__}, not SwiGLU")
