"""Latent attention for one token a sequence: x (B, 1, D) and the cache, which it updates -> (B, H, 1, rank)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest, Split, append

from .._lib.gpu.launch import require, why_not
from .._lib.gpu.settle import Settle, settler
from ..mla_decode import kernel as decode
from ..mla_norm_rope import kernel as front

Parts = tuple[mx.array, mx.array, mx.array, mx.array]
Between = Callable[[mx.array, Any], Parts]
Attend = Callable[[Parts, Any], mx.array]


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a latent attention; raise Unavailable for one that the launches do not serve."""
    require("mla_attention", request)
    between, attend = after_projection(module, request.mode, request.backend, settler(request.backend))
    matmul, undo = front.joined_projection(module)

    def before(x: mx.array, offset: Any) -> Parts:
        return between(matmul(x), offset)

    return Binding(Split(before, attend), undo)


def after_projection(attention: Any, mode: str, backend: str, settle: Settle) -> tuple[Between, Attend]:
    """Return what makes queries and the cache's new entries from projected (B, 1, q_rank + rank + rope), and what
    attends with them to the cache."""
    sizes, scale, embed_q = decode.sizes_of(attention), attention.scale, attention.embed_q
    if mode == "fp32":
        between = front.norm_rope(attention, backend, settle)
        weigh = decode.in_float32(sizes, scale, settle, backend)
    else:
        before = math.frexp(scale)[0] == 0.5
        between = front.norm_rope(
            attention,
            backend,
            settle,
            nope_scale=scale if before else 1.0,
            pe_scale=scale,
            rows=backend == "cuda",
            with_q_b=mode == front.WITH_Q_B,
        )
        weigh = decode.as_stock(sizes, settle, backend)
        if not before:
            embed_q = _scaled(embed_q, scale)

    def queries(projected: mx.array, offset: Any) -> Parts:
        q_nope, q_pe, kv_latent, k_pe = between(projected, offset)
        return embed_q(q_nope), q_pe, kv_latent, k_pe

    def attend(parts: Parts, cache: Any) -> mx.array:
        q_latent, q_pe, kv_latent, k_pe = parts
        kv_latent, k_pe = append(cache, kv_latent, k_pe)
        return weigh(q_latent, q_pe, kv_latent, k_pe)

    return queries, attend


def _scaled(layer: Callable[[mx.array], mx.array], scale: float) -> Callable[[mx.array], mx.array]:
    return lambda x: layer(x) * scale
