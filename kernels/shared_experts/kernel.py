"""GLM's shared expert: quantised gate and up and SwiGLU in one launch, then its own down: x (B, L, D) -> (B, L, D).

x has the weights' dtype, bfloat16 or float16; weights are affine, 4 bit, in groups of 64.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from zmlx_bench.patch.contract import Binding, BindRequest, Unavailable

from ..gpu.cuda_rows import weights_of
from ..gpu.launch import runner, why_not
from .gpu import shared_experts


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a Glm4MoeLiteMLP; raise Unavailable for other weights."""
    reason = why_not(request.backend)
    if reason is not None:
        raise Unavailable(f"shared_experts.{request.mode} on {request.backend} {reason}")
    if request.backend == "cuda":
        from . import cuda

        return cuda.bind(module, request)
    gate, up = weights_of(module.gate_proj), weights_of(module.up_proj)
    architecture = str(mx.device_info(mx.gpu)["architecture"])
    return Binding(shared_experts(module, gate, up, request.mode, architecture, runner("metal")))
