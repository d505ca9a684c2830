"""Norm and rotation of q and k in one launch.

q (B, L, Hq * hd), k (B, L, Hk * hd) raw projections, offset int or (B,) array -> q (B, Hq, L, hd), k (B, Hk, L, hd).
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable

from .._lib.gpu.launch import Run, require, runner, why_not
from .._lib.gpu.settle import Call, Settle, settler
from .gpu import plan, plan_stock
from .heads import LANES, OFFSETS, Heads, check_rope


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to an attention with norms on its heads; raise Unavailable for a rotation or head size not served."""
    require("qk_norm_rope", request)
    if request.mode == "stock":
        return Binding(stock(module, request.backend, settler(request.backend)))
    return Binding(qk_norm_rope(module, runner(request.backend)))


def stock(attention: Any, backend: str, settle: Settle) -> Any:
    """Return qk_norm_rope(q, k, offset) for an attention, with the bits of MLX's own norm and rotation."""
    heads = Heads.of(attention, backend)
    q_weight, k_weight = heads.weights
    settled: dict[tuple[tuple[int, ...], int], Call] = {}

    def first(q: mx.array, k: mx.array, offsets: mx.array) -> Call:
        if not q.dtype == k.dtype == q_weight.dtype == k_weight.dtype:
            raise ValueError(f"q is {q.dtype}, k {k.dtype} and a weight {q_weight.dtype}; all have the model's dtype")
        launch = settle(plan_stock(heads, q, k, offsets))
        settled[q.shape, offsets.size] = launch
        return launch

    def call(q: mx.array, k: mx.array, offset: int | mx.array) -> Any:
        offsets = OFFSETS.array(offset)
        launch = settled.get((q.shape, offsets.size)) or first(q, k, offsets)
        return launch(inputs=[q, k, q_weight, k_weight, offsets])

    return call


def qk_norm_rope(attention: Any, run: Run) -> Any:
    """Return qk_norm_rope(q, k, offset) for an attention."""
    check_rope(attention)
    rope, weights = attention.rope, (attention.q_norm.weight, attention.k_norm.weight)
    hd = weights[0].size
    if hd % LANES:
        raise Unavailable(f"heads of {hd} elements; multiples of {LANES} are served")
    eps = mx.array([attention.q_norm.eps, attention.k_norm.eps], mx.float32)
    exponents = np.arange(hd // 2, dtype=np.float32) / np.float32(hd // 2)
    frequencies = mx.array(np.exp2(-exponents * np.float32(np.log2(rope.base))))

    def call(q: mx.array, k: mx.array, offset: int | mx.array) -> tuple[mx.array, mx.array]:
        turned_q, turned_k = run(plan(q, k, weights, eps, frequencies, OFFSETS.array(offset)))
        return turned_q, turned_k

    return call
