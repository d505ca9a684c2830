"""Qwen's norm and rotation of q and k in one launch.

q (B, L, Hq * hd), k (B, L, Hk * hd) raw projections, offset int or (B,) array -> q (B, Hq, L, hd), k (B, Hk, L, hd).
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from zmlx_bench.patch.contract import Binding, BindRequest, Unavailable

from ..gpu.launch import Run, runner, why_not
from .gpu import LANES, plan


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to Qwen's attention; raise Unavailable for a rotation or head size that the launch does not serve."""
    reason = why_not(request.backend)
    if reason is not None:
        raise Unavailable(f"qk_norm_rope.{request.mode} on {request.backend} {reason}")
    return Binding(qk_norm_rope(module, runner(request.backend)))


def qk_norm_rope(attention: Any, run: Run) -> Any:
    """Return qk_norm_rope(q, k, offset) for a Qwen attention."""
    rope, weights = attention.rope, (attention.q_norm.weight, attention.k_norm.weight)
    hd = weights[0].size
    if not isinstance(rope, nn.RoPE) or rope.traditional or rope.scale != 1.0 or rope.dims != hd:
        raise Unavailable("qk_norm_rope serves nn.RoPE over whole heads, unscaled and not traditional")
    if hd % LANES:
        raise Unavailable(f"heads of {hd} elements; multiples of {LANES} are served")
    eps = mx.array([attention.q_norm.eps, attention.k_norm.eps], mx.float32)
    exponents = np.arange(hd // 2, dtype=np.float32) / np.float32(hd // 2)
    frequencies = mx.array(np.exp2(-exponents * np.float32(np.log2(rope.base))))

    def call(q: mx.array, k: mx.array, offset: int | mx.array) -> tuple[mx.array, mx.array]:
        offsets = offset.reshape(-1) if isinstance(offset, mx.array) else mx.array([offset])
        turned_q, turned_k = run(plan(q, k, weights, eps, frequencies, offsets.astype(mx.int32)))
        return turned_q, turned_k

    return call
