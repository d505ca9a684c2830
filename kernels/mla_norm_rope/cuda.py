"""On CUDA: norms, q_b, rotations and heads in one launch; MLX takes its matrix-vector loop for up to 7 sequences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable

from .._lib.gpu.cuda import CudaLaunch, CudaSource, prepare
from .._lib.gpu.cuda_rows import check_rows
from .._lib.gpu.launch import WORDS
from .._lib.gpu.packed import weights_of
from .._lib.gpu.settle import Call
from .gpu import LANES, Front

_HERE = Path(__file__).resolve().parent
_SHARED = _HERE.parent / "_lib" / "gpu"
SOURCE = CudaSource(
    "norms_q_b_heads",
    ("projected", "q_weight", "kv_weight", "w", "s", "z", "offsets"),
    ("q_nope", "q_pe", "kv_latent", "k_pe"),
    (_HERE / "norms_q_b_heads.cu").read_text(),
    (_SHARED / "cuda_qmm.h").read_text() + WORDS["cuda"] + (_SHARED / "mla_words.h").read_text(),
)
WARPS, ROWS = 4, 4
"""A block has the 128 threads of MLX's norm."""
FrontLaunch = Callable[[mx.array, mx.array], Any]


def norms_q_b_heads(front: Front, attention: Any, scales: tuple[float, float], *, rows: bool) -> FrontLaunch:
    """Return launch(projected (B, 1, q_rank + rank + rope), offsets) -> q_nope, q_pe, kv_latent, k_pe, as `Front.heads`
    and `Front.norms` give them; raise Unavailable for a q_b that is not served."""
    sizes, packed = front.sizes, weights_of(attention.q_b_proj)
    weights = attention.q_a_layernorm.weight, attention.kv_a_layernorm.weight
    check_rows(packed.w.shape[0], sizes.q_rank, on_tensor_cores=False, rows=WARPS * ROWS)
    if sizes.nope % ROWS or sizes.rope % ROWS or sizes.rope > 2 * WARPS * LANES:
        raise Unavailable(f"heads of {sizes.nope} and {sizes.rope} elements are not served")
    if packed.scales.dtype != front.dtype:
        raise Unavailable(f"scales are {packed.scales.dtype} and norms {front.dtype}")
    prepared: dict[tuple[int, int], Call] = {}

    def first(b: int, offsets: int) -> Call:
        norms, heads = front.norms(b, offsets), front.heads(b, offsets, scales, rows=rows and b == 1)
        constants = dict(norms.template) | dict(heads.template) | {"WARPS": WARPS, "ROWS": ROWS}
        shapes = [*heads.output_shapes, *norms.output_shapes[1:]]
        launch = CudaLaunch(
            SOURCE,
            template=constants,
            blocks=(packed.w.shape[0] // (WARPS * ROWS) + 2, b),
            threads=WARPS * LANES,
            outputs=[(shape, front.dtype) for shape in shapes],
        )
        found = prepared[b, offsets] = prepare(launch)
        return found

    def call(projected: mx.array, offsets: mx.array) -> Any:
        key = projected.shape[0], offsets.size
        launch = prepared.get(key) or first(*key)
        return launch(inputs=[projected, *weights, *packed, offsets])

    return call
