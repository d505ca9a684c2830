"""The down projection and the weighted sum on CUDA: tensor cores or matrix-vector products, as MLX would choose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest

from .._lib.gpu.cuda import CudaLaunch, prepare, read_cuda
from .._lib.gpu.cuda_rows import ACCURACY, ON_TENSOR_CORES, check_rows, mma_bytes
from .._lib.gpu.packed import weights_of
from .._lib.gpu.settle import Call

_FOLDER = Path(__file__).resolve().parent
_INPUTS = ("h", "inds", "scores", "w", "scales", "biases")
MMA = read_cuda(_FOLDER, "down_mma", _INPUTS, ("out",), "cuda_qmm.h", "CHOSEN inds[slot]")
SLOTS = read_cuda(_FOLDER, "down_slots", _INPUTS, ("out",), "cuda_qmm.h")
ROWS = 4
WARPS = 2


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a MoE block: h (B, L, k, I), inds, scores (B, L, k) -> out (B, L, D) in h's dtype."""
    return Binding(down_combine(module.switch_mlp, request.mode))


def down_combine(switch: Any, mode: str) -> Callable[[mx.array, mx.array, mx.array], mx.array]:
    """Return down_combine(h, inds, scores) for a quantised SwitchGLU; raise Unavailable for other sizes."""
    down = weights_of(switch.down_proj)
    d, i = down.w.shape[1], down.w.shape[2] * 8
    dtype = down.scales.dtype
    launches: dict[tuple[int, ...], Call] = {}

    def call(h: mx.array, inds: mx.array, scores: mx.array) -> mx.array:
        launch = launches.get(inds.shape)
        if launch is None:
            launch = launches[inds.shape] = prepare(plan(inds.shape, d, i, dtype, scores.dtype, mode))
        return launch(inputs=[h, inds, scores, *down])[0]

    return call


def plan(inds: tuple[int, ...], d: int, i: int, dtype: mx.Dtype, scores: mx.Dtype, mode: str) -> CudaLaunch:
    """Return the launch for inds (B, L, k), `d` rows of `i` weights.

    Products and partial sums are rounded to `scores` in mode `stock`, as MLX promotes y * scores (the model's
    dtype, or float32), and to float32 else.
    """
    *leading, k = inds
    tokens = 1
    for size in leading:
        tokens *= size
    rounded = scores if mode == "stock" else mx.float32
    template: dict[str, mx.Dtype | int | bool] = {"T": dtype, "R": rounded, "D": d, "I": i, "TOP": k}
    output = [((*leading, d), dtype)]
    if mode == "stock" and tokens * k >= ON_TENSOR_CORES:
        check_rows(d, i, on_tensor_cores=True, rows=16)
        shared = k * (mma_bytes(i) + i * 2)
        return CudaLaunch(
            MMA, template=template, blocks=(d // 16, tokens), threads=32 * k, outputs=output, shared_memory=shared
        )
    check_rows(d, i, on_tensor_cores=False, rows=ROWS * WARPS)
    template |= {"ROWS": ROWS, "WARPS": WARPS, "ACCURACY": ACCURACY[mode]}
    blocks = (d // (ROWS * WARPS), tokens)
    return CudaLaunch(SLOTS, template=template, blocks=blocks, threads=32 * k * WARPS, outputs=output)
