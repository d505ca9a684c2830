"""A quantised projection to many outputs for one token: x (..., K) -> (..., N), with the bits of MLX's own kernel.

Smaller projections, and more tokens than one, keep MLX's. CUDA only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable, stock_call

from .._lib.gpu.cuda import CudaLaunch, Template, prepare, read_cuda
from .._lib.gpu.cuda_rows import check_rows
from .._lib.gpu.launch import require, why_not
from .._lib.gpu.packed import weights_of

SOURCE = read_cuda(Path(__file__).resolve().parent, "rows", ("x", "w", "s", "z"), ("out",), "cuda_qmm.h")
FEWEST = 1 << 15
"""Outputs from which on a projection is worth a launch of its own."""
WARPS, ROWS, FEW = 8, 16, 4


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a dense quantised projection; raise Unavailable for a large one whose sizes are not served."""
    require("many_rows", request)
    return Binding(many_rows(module))


def many_rows(module: Any) -> Callable[[mx.array], mx.array]:
    """Return call(x) for a projection; MLX's own where it has few outputs."""
    stock: Callable[[mx.array], mx.array] = stock_call(module)
    if not isinstance(module, nn.QuantizedLinear) or module.weight.shape[0] < FEWEST:
        return stock
    weights = weights_of(module)
    n, k, dtype = weights.w.shape[0], weights.w.shape[1] * 8, weights.scales.dtype
    call = prepare(plan(n, k, dtype))

    def project(x: mx.array) -> mx.array:
        if x.size != k or x.dtype != dtype:
            return stock(x)
        out: mx.array = call(inputs=[x, *weights])[0].reshape(*x.shape[:-1], n)
        return out

    return project


def plan(n: int, k: int, dtype: mx.Dtype) -> CudaLaunch:
    """Return the launch for one token and `n` rows of `k` weights -> out (n,); raise Unavailable for other sizes."""
    check_rows(n, k, on_tensor_cores=False, rows=WARPS * ROWS)
    if dtype not in (mx.bfloat16, mx.float16):
        raise Unavailable(f"many_rows serves bfloat16 and float16, not {dtype}")
    template: Template = {"T": dtype, "K": k, "WARPS": WARPS, "ROWS": ROWS, "FEW": FEW}
    return CudaLaunch(
        SOURCE, template=template, blocks=(n // (WARPS * ROWS), 1), threads=WARPS * 32, outputs=[((n,), dtype)]
    )
