"""Gather, gate and up of many packings, and SwiGLU in one launch: x (B, L, D), inds (B, L, k) -> h (B, L, k, I).

x and h are bfloat16 or float16; kernel.toml lists the packings. Gate and up are packed in the same way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest

from .._lib.gpu.launch import require, why_not
from .._lib.gpu.moe_block import check_block
from .._lib.gpu.packed_weights import packed, stays
from .._lib.gpu.settle import by_shape, settler
from .._lib.packings import Packing
from .gpu import plan

Run = Callable[..., list[mx.array]]


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    del mode
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a MoE block; raise Unavailable for other weights, another activation or a sharded model."""
    require("packed_experts", request)
    check_block(module)

    def run(packing: Packing) -> Run:
        if request.backend == "cuda":
            from . import cuda

            return cuda.run(packing, module.switch_mlp.gate_proj.weight.shape)
        return by_shape(settler("metal"), functools.partial(plan, packing))

    return Binding(experts(module.switch_mlp, request.backend, run))


def experts(switch: Any, backend: str, run: Callable[[Packing], Run]) -> Callable[[mx.array, mx.array], mx.array]:
    """Return experts(x, inds) over the SwitchGLU's packed weights, which what `run` returns takes after them."""
    packing, (gate, up) = packed("packed_experts", backend, switch.gate_proj, switch.up_proj)
    launch = run(packing)

    def call(x: mx.array, inds: mx.array) -> mx.array:
        if stays(x, gate):
            rows = mx.expand_dims(x, (-2, -3))
            h: mx.array = switch.activation(switch.up_proj(rows, inds), switch.gate_proj(rows, inds)).squeeze(-2)
            return h
        return launch(x, inds, *gate, *up)[0]

    return call
