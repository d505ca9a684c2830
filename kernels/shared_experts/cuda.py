"""The shared expert on CUDA: up to 7 rows of x, which MLX multiplies as matrix-vector products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Binding, BindRequest

from .._lib.gpu.cuda import Template, prepare
from .._lib.gpu.packed import weights_of
from .._lib.gpu.settle import Call
from ..gather_qmm_swiglu.cuda import DENSE, plan_slots


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to the shared experts' MLP: x (B, L, D) -> (B, L, D); its down projection stays the model's own."""
    return Binding(shared_experts(module, request.mode))


def shared_experts(mlp: Any, mode: str) -> Callable[[mx.array], mx.array]:
    """Return shared_experts(x) for quantised projections; raise Unavailable for other sizes."""
    gate, up = weights_of(mlp.gate_proj), weights_of(mlp.up_proj)
    i, d, dtype = gate.w.shape[0], gate.w.shape[1] * 8, gate.scales.dtype
    down = mlp.down_proj
    launches: dict[tuple[int, ...], Call] = {}

    def call(x: mx.array) -> Any:
        launch = launches.get(x.shape)
        if launch is None:
            *leading, _ = x.shape
            output = [((*leading, i), dtype)]
            template: Template = {"T": dtype, "D": d, "I": i, "TOP": 1}
            plan = plan_slots(DENSE, template, math.prod(leading), output, mode)
            launch = launches[x.shape] = prepare(plan)
        return down(launch(inputs=[x, *gate, *up])[0])

    return call
