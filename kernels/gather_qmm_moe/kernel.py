"""The routed experts and the shared one in two launches: x (B, L, D), inds and scores (B, L, k) -> out (B, L, D).

One token takes the two launches; more of them take the kernels of the single sites, because MLX then multiplies
the routed experts in other loops than the shared one.
"""

from __future__ import annotations

import functools
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest, require_parts

from .._lib.gpu.launch import architecture, require, why_not
from .._lib.gpu.moe_block import check_block
from .._lib.gpu.settle import Settle, by_shape, settler
from ..gather_qmm_down_combine.gpu import plan as plan_down_combine
from ..gather_qmm_down_combine.kernel import down_combine
from ..gather_qmm_swiglu.gpu import plan as plan_swiglu
from ..gather_qmm_swiglu.kernel import experts
from ..shared_experts.gpu import plan as plan_shared
from ..shared_experts.kernel import shared_experts
from .gpu import Call, moe


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a MoE block with shared experts; raise Unavailable for other weights or another activation."""
    require("gather_qmm_moe", request)
    check_block(module)
    require_parts("gather_qmm_moe", module, "shared_experts")
    if request.backend == "cuda":
        from . import cuda

        return Binding(cuda.moe(module))
    settle = settler("metal")
    return Binding(moe(module, settle, one_by_one(module, settle)))


def one_by_one(block: Any, settle: Settle) -> Call:
    """Return moe(x, inds, scores) of the single sites' launches on Metal, for several tokens."""
    routed = experts(block, by_shape(settle, functools.partial(plan_swiglu, "stock")))
    combined = down_combine(block, by_shape(settle, functools.partial(plan_down_combine, "stock")))
    shared = shared_experts(
        block.shared_experts, by_shape(settle, functools.partial(plan_shared, "stock", architecture()))
    )

    def call(x: mx.array, inds: mx.array, scores: mx.array) -> mx.array:
        return combined(routed(x, inds), inds, scores) + shared(x)

    return call
