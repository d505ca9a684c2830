"""Weighted sum over the experts a token was routed to: y (B, L, k, D), scores (B, L, k) -> (B, L, D) in y's dtype.

Plain MLX on the CPU, one launch on Metal and CUDA.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest

from .._lib.gpu.launch import Launch, require, why_not
from .._lib.gpu.moe_block import check_order
from .._lib.gpu.settle import by_shape, settler
from .gpu import plan
from .reference import MODES


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return None if backend == "cpu" else why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Return the combine of the requested mode; the module holds nothing that it needs."""
    if request.backend == "cpu":
        return Binding(MODES[request.mode])
    require("moe_combine", request)

    def planned(y: mx.array, scores: mx.array) -> Launch:
        check_order(request.mode, request.backend, y.shape[-2])
        return plan(request.mode, y, scores)

    run = by_shape(settler(request.backend), planned)

    def call(y: mx.array, scores: mx.array) -> mx.array:
        return run(y, scores)[0]

    return Binding(call)
