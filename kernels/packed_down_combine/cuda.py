"""Down projection and weighted sum on CUDA: tensor cores or matrix-vector products, as MLX chooses for the batch."""

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
_INPUTS = ("h", "inds", "scores", "w", "scales", "biases", "bias")
MMA = read_cuda(_FOLDER, "down_mma", _INPUTS, ("out",), "cuda_packed.h")
ROWS_OF = read_cuda(_FOLDER, "down_rows", _INPUTS, ("out",), "cuda_packed.h")
ROWS = 4


def run(form: Form, shape: tuple[int, ...]) -> Callable[..., list[mx.array]]:
    """Return run(h, inds, scores, *down, its bias) for words of `shape` (E, D, I * bits / 32).

    Raises Unavailable for sizes that are not served.
    """
    _, d, words = shape
    i = words * 32 // form.packing.bits
    check_rows(form.packing, d, i)
    launches: dict[tuple[tuple[int, ...], mx.Dtype, mx.Dtype], Call] = {}

    def call(h: mx.array, inds: mx.array, scores: mx.array, *packed: mx.array) -> list[mx.array]:
        key = (inds.shape, h.dtype, scores.dtype)
        if key not in launches:
            launches[key] = prepare(plan(form, inds.shape, d, i, h.dtype, scores.dtype))
        return launches[key](inputs=[h, inds, scores, *packed])

    return call


def plan(form: Form, inds: tuple[int, ...], d: int, i: int, dtype: mx.Dtype, scores: mx.Dtype) -> CudaLaunch:
    """Return the launch for inds (B, L, k), `d` rows of `i` weights.

    Products and partial sums are rounded to `scores`.
    """
    *leading, k = inds
    tiles = on_tensor_cores(form.packing, math.prod(inds))
    rows = 16 if tiles else ROWS
    sizes: Template = {"T": dtype, "R": scores, "D": d, "I": i, "TOP": k, "ROWS": rows}
    template: Template = {**sizes, **constants(form.packing), "BIASED": form.biased}
    return CudaLaunch(
        MMA if tiles else ROWS_OF,
        template=template,
        blocks=(d // rows, math.prod(leading)),
        threads=32 * k,
        outputs=[((*leading, d), dtype)],
    )
