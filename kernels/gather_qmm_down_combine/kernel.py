"""Quantised down projection and weighted sum in one launch; what the experts give is never stored.

h (B, L, k, I), inds (B, L, k) uint32, scores (B, L, k) -> out (B, L, D). h and out have the weights' dtype, bfloat16
or float16; scores that or float32; weights are affine, 4 bit, in groups of 64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest

from .._lib.gpu.launch import require, why_not
from .._lib.gpu.moe_block import check_block
from .._lib.gpu.packed import weights_of
from .._lib.gpu.settle import by_shape, settler
from .gpu import plan


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a MoE block; raise Unavailable for other weights or a sharded model."""
    require("gather_qmm_down_combine", request)
    check_block(module)
    if request.backend == "cuda":
        from . import cuda

        return cuda.bind(module, request)
    return Binding(down_combine(module, by_shape(settler("metal"), functools.partial(plan, request.mode))))


def down_combine(block: Any, run: Callable[..., list[mx.array]]) -> Callable[[mx.array, mx.array, mx.array], mx.array]:
    """Return down_combine(h, inds, scores) over the block's packed weights, which `run` takes after them."""
    packed = weights_of(block.switch_mlp.down_proj)

    def call(h: mx.array, inds: mx.array, scores: mx.array) -> mx.array:
        return run(h, inds, scores, *packed)[0]

    return call
