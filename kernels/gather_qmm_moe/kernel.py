"""The routed experts and the shared one in two launches: x (B, L, D), inds and scores (B, L, k) -> out (B, L, D).

One token takes the two launches; more of them take the kernels of the single sites, because MLX then multiplies
the routed experts on tensor cores and the shared one not. CUDA only.
"""

from __future__ import annotations

from typing import Any

from zmlx_bench.measured.api import Binding, BindRequest, require_parts

from .._lib.gpu.launch import require, why_not
from .._lib.gpu.moe_block import check_block


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a MoE block with shared experts; raise Unavailable for other weights or another activation."""
    require("gather_qmm_moe", request)
    check_block(module)
    require_parts("gather_qmm_moe", module, "shared_experts")
    from . import cuda

    return Binding(cuda.moe(module))
