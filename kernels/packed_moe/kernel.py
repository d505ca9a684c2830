"""The routed experts and the shared one over many packings: x (B, L, D), inds and scores (B, L, k) -> out (B, L, D).

One token takes two launches; of more of them the routed experts take those of the single sites and the shared one
stays the model's, because MLX then multiplies both in other loops. kernel.toml lists the packings; gate and up of all
experts are packed in one way, and so are their downs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable, require_parts

from .._lib.gpu.cuda import prepare
from .._lib.gpu.cuda_packed import check_rows
from .._lib.gpu.cuda_rows import ON_TENSOR_CORES
from .._lib.gpu.launch import require, why_not
from .._lib.gpu.metal_qmv import dense_as_gathered
from .._lib.gpu.moe_block import check_block
from .._lib.gpu.packed_weights import packed, stays
from .._lib.gpu.settle import by_shape, settler
from .._lib.packings import Packing
from ..packed_down_combine import kernel as downs_kernel
from ..packed_experts import kernel as experts_kernel
from . import gpu

Call = Callable[[mx.array, mx.array, mx.array], mx.array]
Run = Callable[..., list[mx.array]]


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    del mode
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a MoE block with shared experts; raise Unavailable for other weights or another activation."""
    require("packed_moe", request)
    check_block(module)
    require_parts("packed_moe", module, "shared_experts")
    routed = experts_kernel.bind(module, request).call
    combined = downs_kernel.bind(module, request).call

    def several(x: mx.array, inds: mx.array, scores: mx.array) -> mx.array:
        out: mx.array = combined(h=routed(x=x, inds=inds), inds=inds, scores=scores) + module.shared_experts(x)
        return out

    launches = _on_cuda if request.backend == "cuda" else _on_metal
    return Binding(moe(module, request.backend, launches, several))


def moe(block: Any, backend: str, launches: Callable[..., tuple[Run, Run]], several: Call) -> Call:
    """Return moe(x, inds, scores) by the two launches; `several` takes more than one token.

    Raises Unavailable for packings and sizes that are not served.
    """
    switch, shared = block.switch_mlp, block.shared_experts
    if any("bias" in each[name] for each in (switch, shared) for name in ("gate_proj", "up_proj", "down_proj")):
        raise Unavailable("a projection with a bias of its own is not served")
    of_gates, gates = packed("packed_moe", backend, switch.gate_proj, switch.up_proj, shared.gate_proj, shared.up_proj)
    of_downs, downs = packed("packed_moe", backend, switch.down_proj, shared.down_proj)
    if gates[2].w.shape != gates[0].w.shape[1:] or downs[1].w.shape != downs[0].w.shape[1:]:
        raise Unavailable("the shared expert is not of the experts' size")
    _, i, words = gates[0].w.shape
    d = words * 32 // of_gates.bits
    experts_of, downs_of = launches(of_gates, of_downs, d, i)
    first, second = [part for weights in gates for part in weights], [part for weights in downs for part in weights]

    def call(x: mx.array, inds: mx.array, scores: mx.array) -> mx.array:
        if inds.size != inds.shape[-1] or inds.size >= ON_TENSOR_CORES or stays(x, gates[0]):
            return several(x, inds, scores)
        h = experts_of(x, inds, *first)[0]
        return downs_of(h, inds, scores, *second)[0]

    return call


def _on_metal(of_gates: Packing, of_downs: Packing, d: int, i: int) -> tuple[Run, Run]:
    dense_as_gathered(i, d)
    dense_as_gathered(d, i)
    settle = settler("metal")
    return by_shape(settle, partial(gpu.plan_experts, of_gates)), by_shape(settle, partial(gpu.plan_downs, of_downs))


def _on_cuda(of_gates: Packing, of_downs: Packing, d: int, i: int) -> tuple[Run, Run]:
    from . import cuda

    check_rows(of_gates, i, d)
    check_rows(of_downs, d, i)

    @cache
    def first(places: int, dtype: mx.Dtype) -> Run:
        return prepare(cuda.plan_experts(of_gates, places, d, i, dtype))

    @cache
    def second(places: int, dtype: mx.Dtype, scores: mx.Dtype) -> Run:
        return prepare(cuda.plan_downs(of_downs, places, d, i, dtype, scores))

    def experts_of(x: mx.array, inds: mx.array, *weights: mx.array) -> list[mx.array]:
        return first(inds.size, x.dtype)(inputs=[x, inds, *weights])

    def downs_of(h: mx.array, inds: mx.array, scores: mx.array, *weights: mx.array) -> list[mx.array]:
        return second(inds.size, h.dtype, scores.dtype)(inputs=[h, inds, scores, *weights])

    return experts_of, downs_of
