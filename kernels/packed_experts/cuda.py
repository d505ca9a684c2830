"""The experts on CUDA: tensor cores or matrix-vector products, as MLX itself would choose for the batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx

from .._lib.gpu.cuda import CudaLaunch, Template, prepare, read_cuda
from .._lib.gpu.cuda_packed import check_rows, constants, on_tensor_cores
from .._lib.gpu.packed_weights import Form
from .._lib.gpu.settle import Call

_FOLDER = Path(__file__).resolve().parent
_INPUTS = ("x", "inds", "gate_w", "gate_s", "gate_b", "up_w", "up_s", "up_b", "gate_bias", "up_bias")
MMA = read_cuda(_FOLDER, "experts_mma", _INPUTS, ("h",), "cuda_packed.h")
ROWS_OF = read_cuda(_FOLDER, "experts_rows", _INPUTS, ("h",), "cuda_packed.h")
WARPS = 4
ROWS = 2


def run(form: Form, shape: tuple[int, ...]) -> Callable[..., list[mx.array]]:
    """Return run(x, inds, *gate, *up, gate's bias, up's) for words of `shape` (E, I, D * bits / 32).

    Raises Unavailable for sizes that are not served.
    """
    _, i, words = shape
    d = words * 32 // form.packing.bits
    check_rows(form.packing, i, d)
    launches: dict[tuple[tuple[int, ...], mx.Dtype], Call] = {}

    def call(x: mx.array, inds: mx.array, *packed: mx.array) -> list[mx.array]:
        key = (inds.shape, x.dtype)
        if key not in launches:
            launches[key] = prepare(plan(form, inds.shape, d, i, x.dtype))
        return launches[key](inputs=[x, inds, *packed])

    return call


def plan(form: Form, inds: tuple[int, ...], d: int, i: int, dtype: mx.Dtype) -> CudaLaunch:
    """Return the launch for inds of shape (B, L, k), `i` rows of `d` weights."""
    slots = math.prod(inds)
    tiles = on_tensor_cores(form.packing, slots)
    rows = 8 if tiles else ROWS
    sizes: Template = {"T": dtype, "D": d, "I": i, "TOP": inds[-1], "WARPS": WARPS, "ROWS": rows}
    template: Template = {**sizes, **constants(form.packing), **dict(form.constants(dtype))}
    return CudaLaunch(
        MMA if tiles else ROWS_OF,
        template=template,
        blocks=(i // (rows * WARPS), slots),
        threads=32 * WARPS,
        outputs=[((*inds, i), dtype)],
    )
