"""An add of the residual stream and the norm after it in one launch: x, r (B, L, D) -> h = x + r, norm(h)."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable

from .._lib.gpu.launch import Run, require, runner, why_not
from .._lib.gpu.settle import Call, Settle, settler
from .gpu import LARGEST, plan, plan_stock, spread


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to an nn.RMSNorm; raise Unavailable for a row that no threadgroup holds."""
    require("residual_norm", request)
    if request.mode == "stock":
        return Binding(stock(module, request.backend, settler(request.backend)))
    return Binding(residual_norm(module, runner(request.backend)))


def stock(norm: Any, backend: str, settle: Settle) -> Any:
    """Return residual_norm(x, r) -> (h, norm(h)) for an nn.RMSNorm, with the bits of MLX's own add and norm."""
    weight = norm.weight
    try:
        spread(weight.size, weight.dtype.size, backend)
    except ValueError as error:
        raise Unavailable(str(error)) from error
    settled: dict[tuple[int, ...], Call] = {}

    def first(x: mx.array, r: mx.array) -> Call:
        if not x.dtype == r.dtype == weight.dtype:
            raise ValueError(f"x is {x.dtype}, r {r.dtype} and the weight {weight.dtype}; all have the model's dtype")
        settled[x.shape] = settle(plan_stock(x, r, weight, norm.eps, backend))
        return settled[x.shape]

    def call(x: mx.array, r: mx.array) -> Any:
        launch = settled.get(x.shape) or first(x, r)
        return launch(inputs=[x, r, weight])

    return call


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
