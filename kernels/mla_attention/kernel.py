"""GLM's attention for one token a sequence: x (B, 1, D) and the cache, which it updates -> (B, H, 1, rank)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from zmlx_bench.patch.contract import Binding, BindRequest, Unavailable

from ..gpu.launch import why_not
from ..gpu.settle import Settle, settler
from ..mla_decode import kernel as decode
from ..mla_norm_rope import kernel as front

Whole = Callable[[mx.array, Any], mx.array]


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to GLM's attention; raise Unavailable for one that the launches do not serve."""
    reason = why_not(request.backend)
    if reason is not None:
        raise Unavailable(f"mla_attention.{request.mode} on {request.backend} {reason}")
    after = after_projection(module, request.mode, request.backend, settler(request.backend))
    matmul, undo = front.joined_projection(module)

    def call(x: mx.array, cache: Any) -> mx.array:
        return after(matmul(x), cache)

    return Binding(call, undo)


def after_projection(attention: Any, mode: str, backend: str, settle: Settle) -> Whole:
    """Return after(projected (B, 1, q_rank + rank + rope), cache) -> (B, H, 1, rank)."""
    sizes, scale, embed_q = decode.sizes_of(attention), attention.scale, attention.embed_q
    if mode == "fp32":
        between = front.norm_rope(attention, backend, settle)
        attend = decode.in_float32(sizes, scale, settle, backend)
    else:
        before = math.frexp(scale)[0] == 0.5
        between = front.norm_rope(
            attention,
            backend,
            settle,
            nope_scale=scale if before else 1.0,
            pe_scale=scale,
            rows=backend == "cuda",
        )
        attend = decode.as_stock(sizes, settle, backend)
        if not before:
            embed_q = _scaled(embed_q, scale)

    def after(projected: mx.array, cache: Any) -> mx.array:
        q_nope, q_pe, kv_latent, k_pe = between(projected, cache.offset)
        kv_latent, k_pe = cache.update_and_fetch(kv_latent, k_pe)
        return attend(embed_q(q_nope), q_pe, kv_latent, k_pe)

    return after


def _scaled(layer: Callable[[mx.array], mx.array], scale: float) -> Callable[[mx.array], mx.array]:
    return lambda x: layer(x) * scale
