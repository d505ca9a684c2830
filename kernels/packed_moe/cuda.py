"""The two launches on CUDA for one token, of fewer experts than MLX multiplies on tensor cores."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from .._lib.gpu.cuda import CudaLaunch, Template, read_cuda
from .._lib.gpu.cuda_packed import constants
from .._lib.packings import Packing
from ..gather_qmm_moe.names import DOWNS, GATES

_FOLDER = Path(__file__).resolve().parent
ALL_EXPERTS = read_cuda(_FOLDER, "all_experts", ("x", "inds", *GATES), ("h",), "cuda_packed.h")
ALL_DOWNS = read_cuda(_FOLDER, "all_downs", ("h", "inds", "scores", *DOWNS), ("out",), "cuda_packed.h")
WARPS = 4
ROWS = 2


def plan_experts(packing: Packing, k: int, d: int, i: int, dtype: mx.Dtype) -> CudaLaunch:
    """Return the launch for one token, `k` experts and the shared one, `i` rows of `d` weights each."""
    template: Template = {"T": dtype, "D": d, "I": i, "TOP": k, "WARPS": WARPS, "ROWS": ROWS, **constants(packing)}
    return CudaLaunch(
        ALL_EXPERTS,
        template=template,
        blocks=(i // (ROWS * WARPS), k + 1),
        threads=32 * WARPS,
        outputs=[((k + 1, i), dtype)],
    )


def plan_downs(packing: Packing, k: int, d: int, i: int, dtype: mx.Dtype, scores: mx.Dtype) -> CudaLaunch:
    """Return the launch for one token, `d` rows of `i` weights; products and partial sums are rounded to `scores`."""
    template: Template = {"T": dtype, "R": scores, "D": d, "I": i, "TOP": k, "ROWS": ROWS, **constants(packing)}
    return CudaLaunch(
        ALL_DOWNS, template=template, blocks=(d // ROWS, 1), threads=32 * (k + 1), outputs=[((1, 1, d), dtype)]
    )
