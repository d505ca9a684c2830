"""Down projection of many packings and weighted sum in one launch; what the experts give is never stored.

h (B, L, k, I), inds (B, L, k) uint32, scores (B, L, k) -> out (B, L, D). h and out are bfloat16 or float16, scores that
or float32; kernel.toml lists the packings.
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
    """Bind to a MoE block; raise Unavailable for other weights or a sharded model."""
    require("packed_down_combine", request)
    check_block(module)

    def run(packing: Packing) -> Run:
        if request.backend == "cuda":
            from . import cuda

            return cuda.run(packing, module.switch_mlp.down_proj.weight.shape)
        return by_shape(settler("metal"), functools.partial(plan, packing))

    return Binding(down_combine(module.switch_mlp, request.backend, run))


def down_combine(
    switch: Any, backend: str, run: Callable[[Packing], Run]
) -> Callable[[mx.array, mx.array, mx.array], mx.array]:
    """Return down_combine(h, inds, scores) over the SwitchGLU's packed weights, which what `run` returns takes last."""
    packing, (down,) = packed("packed_down_combine", backend, switch.down_proj)
    launch = run(packing)

    def call(h: mx.array, inds: mx.array, scores: mx.array) -> mx.array:
        if stays(h, down):
            y = switch.down_proj(mx.expand_dims(h, -2), inds).squeeze(-2)
            out: mx.array = (y * scores[..., None]).sum(axis=-2).astype(y.dtype)
            return out
        return launch(h, inds, scores, *down)[0]

    return call
