"""The router with its gate in one launch: x (B, L, D) -> inds (B, L, k) uint32, scores (B, L, k).

Scores are in x's dtype for a router of kind `softmax`, float32 for `sigmoid_bias`. A thread block a token: its warps
multiply the gate's rows as MLX's matrix-vector kernels do, 8-bit ones for `softmax`, dense ones for `sigmoid_bias`,
then one of them is the router. CUDA only.
"""

from __future__ import annotations

from typing import Any

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable, require_kind

from .._lib.gpu.launch import require, why_not
from .._lib.gpu.settle import settler
from ..moe_router.kernel import sigmoid_bias_router


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a MoE block; raise Unavailable for a gate that the launch does not serve."""
    require("gate_router", request)
    if getattr(module, "sharding_group", None) is not None:
        raise Unavailable("the model is sharded")
    from . import cuda

    if require_kind("gate_router", request, "router", "softmax", "sigmoid_bias") == "softmax":
        return Binding(cuda.softmax(module))
    return Binding(cuda.sigmoid_bias(module.gate, sigmoid_bias_router(module.gate, settler("cuda"))))
