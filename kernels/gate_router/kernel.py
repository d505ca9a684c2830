"""The router with its gate in one launch: x (B, L, D) -> inds (B, L, k) uint32, scores (B, L, k).

Scores are in x's dtype for Qwen, float32 for GLM. A thread block a token: its warps multiply the gate's rows as MLX's
matrix-vector kernels do, 8-bit ones for Qwen, dense ones for GLM, then one of them is the router. CUDA only.
"""

from __future__ import annotations

from typing import Any

from zmlx_bench.measured.contract import Binding, BindRequest, Unavailable

from .._lib.gpu.launch import require, why_not
from .._lib.gpu.settle import settler
from ..moe_router.kernel import glm_router


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a MoE block; raise Unavailable for a gate that the launch does not serve."""
    require("gate_router", request)
    if getattr(module, "sharding_group", None) is not None:
        raise Unavailable("the model is sharded")
    from . import cuda

    if request.family == "qwen3":
        return Binding(cuda.qwen(module))
    return Binding(cuda.glm(module.gate, glm_router(module.gate, settler("cuda"))))
