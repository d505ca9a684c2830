"""Quantised down projection and weighted sum in one launch; what the experts give is never stored.

h (B, L, k, I), inds (B, L, k) uint32, scores (B, L, k) -> out (B, L, D). h and out have the weights' dtype, bfloat16
or float16; scores that or float32; weights are affine, 4 bit, in groups of 64.
"""

from __future__ import annotations

from typing import Any

from zmlx_bench.patch.contract import Binding, BindRequest, Unavailable

from ..gpu.cuda_rows import weights_of
from ..gpu.launch import runner, why_not
from ..gpu.moe_block import check_block
from .gpu import down_combine


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return why_not(backend)


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to a MoE block; raise Unavailable for other weights or a sharded model."""
    reason = why_not(request.backend)
    if reason is not None:
        raise Unavailable(f"gather_qmm_down_combine.{request.mode} on {request.backend} {reason}")
    check_block(module)
    if request.backend == "cuda":
        from . import cuda

        return cuda.bind(module, request)
    return Binding(down_combine(weights_of(module.switch_mlp.down_proj), request.mode, runner("metal")))
