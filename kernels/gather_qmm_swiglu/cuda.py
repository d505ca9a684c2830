"""The experts on CUDA: tensor cores or matrix-vector products, as MLX itself would choose for the batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest

from .._lib.gpu.cuda import CudaLaunch, CudaSource, Template, number, prepare, read_cuda
from .._lib.gpu.cuda_rows import ACCURACY, ON_TENSOR_CORES, check_rows, mma_bytes
from .._lib.gpu.packed import weights_of
from .._lib.gpu.settle import Call

_FOLDER = Path(__file__).resolve().parent
_WEIGHTS = ("gate_w", "gate_s", "gate_b", "up_w", "up_s", "up_b")
MMA = read_cuda(_FOLDER, "experts_mma", ("x", "inds", *_WEIGHTS), ("h",), "cuda_qmm.h")
SLOTS = read_cuda(_FOLDER, "experts_slots", ("x", "inds", *_WEIGHTS), ("h",), "cuda_qmm.h", "CHOSEN inds[slot]")
DENSE = read_cuda(_FOLDER, "experts_slots", ("x", *_WEIGHTS), ("h",), "cuda_qmm.h", "CHOSEN 0")
WARPS = 2


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a MoE block: x (B, L, D), inds (B, L, k) -> h (B, L, k, I) in x's dtype."""
    return Binding(experts(module.switch_mlp, request.mode))


def experts(switch: Any, mode: str) -> Callable[[mx.array, mx.array], mx.array]:
    """Return experts(x, inds) for a quantised SwitchGLU; raise Unavailable for sizes that are not served."""
    gate, up = weights_of(switch.gate_proj), weights_of(switch.up_proj)
    i, d, dtype = gate.w.shape[1], gate.w.shape[2] * 8, gate.scales.dtype
    launches: dict[tuple[int, ...], Call] = {}

    def call(x: mx.array, inds: mx.array) -> mx.array:
        launch = launches.get(inds.shape)
        if launch is None:
            launch = launches[inds.shape] = prepare(plan(inds.shape, d, i, dtype, mode))
        return launch(inputs=[x, inds, *gate, *up])[0]

    return call


def plan(inds: tuple[int, ...], d: int, i: int, dtype: mx.Dtype, mode: str) -> CudaLaunch:
    """Return the launch for inds of shape (B, L, k), `i` rows of `d` weights."""
    slots = math.prod(inds)
    template: Template = {"T": dtype, "D": d, "I": i, "TOP": inds[-1]}
    output = [((*inds, i), dtype)]
    if mode != "stock" or slots < ON_TENSOR_CORES:
        return plan_slots(SLOTS, template, slots, output, mode)
    check_rows(i, d, on_tensor_cores=True, rows=8 * WARPS)
    return CudaLaunch(
        MMA,
        template={**template, "WARPS": WARPS},
        blocks=(i // (8 * WARPS), slots),
        threads=32 * WARPS,
        outputs=output,
        shared_memory=WARPS * mma_bytes(d) + d * 2,
    )


def plan_slots(
    source: CudaSource,
    template: Template,
    slots: int,
    output: Sequence[tuple[tuple[int, ...], mx.Dtype]],
    mode: str,
) -> CudaLaunch:
    """Return the matrix-vector launch; `slots` counts vectors, `template` has T, D, I and TOP slots a vector of x."""
    i, d = number(template, "I"), number(template, "D")
    rows = 4 if mode == "stock" else 2
    check_rows(i, d, on_tensor_cores=False, rows=rows * WARPS)
    return CudaLaunch(
        source,
        template={**template, "WARPS": WARPS, "ROWS": rows, "ACCURACY": ACCURACY[mode]},
        blocks=(i // (rows * WARPS), slots),
        threads=32 * WARPS,
        outputs=output,
    )
