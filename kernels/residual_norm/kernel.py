"""The add after attention and the norm after it in one launch: x, r (B, L, D) -> h = x + r, norm(h)."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from zmlx_bench.patch.contract import Binding, BindRequest, Unavailable

from ..gpu.launch import Run, runner, why_not
from .gpu import LARGEST, plan


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to an nn.RMSNorm; raise Unavailable for a row that no threadgroup holds."""
    reason = why_not(request.backend)
    if reason is not None:
        raise Unavailable(f"residual_norm.{request.mode} on {request.backend} {reason}")
    return Binding(residual_norm(module, runner(request.backend)))


def residual_norm(norm: Any, run: Run) -> Any:
    """Return residual_norm(x, r) -> (h, norm(h)) for an nn.RMSNorm."""
    weight = norm.weight
    if weight.size > LARGEST:
        raise Unavailable(f"rows of {weight.size} elements; at most {LARGEST} are served")
    eps = mx.array([norm.eps], mx.float32)

    def call(x: mx.array, r: mx.array) -> tuple[mx.array, mx.array]:
        if x.dtype != r.dtype:
            raise ValueError(f"x is {x.dtype} and r is {r.dtype}; both have the model's dtype")
        h, normed = run(plan(x, r, weight, eps))
        return h, normed

    return call
