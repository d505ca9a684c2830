"""The two launches for one token, and the kernels of the single sites for more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable

from .._lib.gpu.cuda import CudaLaunch, Template, prepare, read_cuda
from .._lib.gpu.cuda_rows import ON_TENSOR_CORES, check_rows
from .._lib.gpu.packed import weights_of
from .._lib.gpu.settle import Call
from ..gather_qmm_down_combine.cuda import down_combine
from ..gather_qmm_swiglu.cuda import experts
from ..shared_experts.cuda import shared_experts
from .names import DOWNS, GATES

_FOLDER = Path(__file__).resolve().parent
ALL_EXPERTS = read_cuda(_FOLDER, "all_experts", ("x", "inds", *GATES), ("h",), "cuda_qmm.h")
ALL_DOWNS = read_cuda(_FOLDER, "all_downs", ("h", "inds", "scores", *DOWNS), ("out",), "cuda_qmm.h")
WARPS = 2
ROWS = 4


def moe(block: Any) -> Callable[[mx.array, mx.array, mx.array], mx.array]:
    """Return moe(x, inds, scores) for a MoE block with a shared expert; raise Unavailable for other sizes."""
    switch, shared = block.switch_mlp, block.shared_experts
    gates = [*weights_of(switch.gate_proj), *weights_of(switch.up_proj)]
    gates += [*weights_of(shared.gate_proj), *weights_of(shared.up_proj)]
    downs = [*weights_of(switch.down_proj), *weights_of(shared.down_proj)]
    _, i, d = switch.gate_proj.weight.shape
    if shared.gate_proj.weight.shape != (i, d) or switch.down_proj.weight.shape[1:] != shared.down_proj.weight.shape:
        raise Unavailable("the shared expert is not of the experts' size")
    many_experts, many_downs = experts(switch, "stock"), down_combine(switch, "stock")
    many_shared = shared_experts(shared, "stock")
    launches: list[tuple[Call, Call]] = []

    def many(x: mx.array, inds: mx.array, scores: mx.array) -> mx.array:
        return many_downs(many_experts(x, inds), inds, scores) + many_shared(x)

    def call(x: mx.array, inds: mx.array, scores: mx.array) -> mx.array:
        if inds.size != inds.shape[-1] or inds.size >= ON_TENSOR_CORES:
            return many(x, inds, scores)
        if not launches:
            first, second = plan(inds.shape[-1], d * 8, i, x.dtype, scores.dtype)
            launches.append((prepare(first), prepare(second)))
        experts_of, downs_of = launches[0]
        h = experts_of(inputs=[x, inds, *gates])[0]
        return downs_of(inputs=[h, inds, scores, *downs])[0]

    return call


def plan(k: int, d: int, i: int, dtype: mx.Dtype, scores: mx.Dtype) -> tuple[CudaLaunch, CudaLaunch]:
    """Return the two launches for one token, `k` experts, `i` rows of `d` weights and `d` rows of `i`."""
    check_rows(i, d, on_tensor_cores=False, rows=ROWS * WARPS)
    check_rows(d, i, on_tensor_cores=False, rows=ROWS * WARPS)
    template: Template = {"T": dtype, "D": d, "I": i, "TOP": k, "WARPS": WARPS, "ROWS": ROWS}
    return CudaLaunch(
        ALL_EXPERTS,
        template=template,
        blocks=(i // (ROWS * WARPS), k + 1),
        threads=32 * WARPS,
        outputs=[((k + 1, i), dtype)],
    ), CudaLaunch(
        ALL_DOWNS,
        template={**template, "R": scores},
        blocks=(d // (ROWS * WARPS), 1),
        threads=32 * (k + 1) * WARPS,
        outputs=[((1, 1, d), dtype)],
    )
