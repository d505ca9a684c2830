"""The shared expert: quantised gate and up and SwiGLU in one launch, then its own down: x (B, L, D) -> (B, L, D).

x has the weights' dtype, bfloat16 or float16; weights are affine, 4 bit, in groups of 64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest, require_parts

from .._lib.gpu.launch import architecture, require, why_not
from .._lib.gpu.metal_qmv import dense_as_gathered
from .._lib.gpu.packed import weights_of
from .._lib.gpu.settle import by_shape, settler
from .gpu import plan


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to the shared experts' MLP; raise Unavailable for other weights."""
    require("shared_experts", request)
    require_parts("shared_experts", module, "gate_proj", "up_proj", "down_proj")
    if request.backend == "cuda":
        from . import cuda

        return cuda.bind(module, request)
    if request.mode == "stock":
        rows, _ = module.gate_proj.scales.shape
        dense_as_gathered(rows, weights_of(module.gate_proj).w.shape[1] * 8)
    run = by_shape(settler("metal"), functools.partial(plan, request.mode, architecture()))
    return Binding(shared_experts(module, run))


def shared_experts(mlp: Any, run: Callable[..., list[mx.array]]) -> Callable[[mx.array], mx.array]:
    """Return shared_experts(x) over the packed gate and up, which `run` takes after x, and the MLP's own down."""
    packed = (*weights_of(mlp.gate_proj), *weights_of(mlp.up_proj))

    def call(x: mx.array) -> mx.array:
        out: mx.array = mlp.down_proj(run(x, *packed)[0])
        return out

    return call
