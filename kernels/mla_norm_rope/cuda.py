"""On CUDA: q_b and the heads in one launch, for up to 7 rows of x, which MLX multiplies as matrix-vector products."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from zmlx_bench.patch.contract import Unavailable

from ..gpu.cuda import CudaSource, prepare
from ..gpu.cuda_rows import check_rows, weights_of
from ..gpu.launch import WORDS
from ..gpu.settle import Call
from .gpu import Front

_HERE = Path(__file__).resolve().parent
_SHARED = _HERE.parent / "gpu"
SOURCE = CudaSource(
    "q_b_heads",
    ("q_normed", "w", "s", "z", "offsets"),
    ("q_nope", "q_pe"),
    (_HERE / "q_b_heads.cu").read_text(),
    # The quantised rows include headers of MLX, which the words' macros must not reach.
    (_SHARED / "cuda_qmm.h").read_text() + WORDS["cuda"] + (_SHARED / "mla_words.h").read_text(),
)
WARPS, ROWS = 4, 4
Heads = Callable[[mx.array, mx.array], Any]


def q_b_heads(front: Front, q_b: Any, scales: tuple[float, float], *, rows: bool) -> Heads:
    """Return heads(q_normed (B, 1, q_rank), offsets) -> q_nope, q_pe as `Front.heads` gives them from q_b's output;
    raise Unavailable for a projection that is not served."""
    sizes, packed = front.sizes, weights_of(q_b)
    check_rows(packed.w.shape[0], sizes.q_rank, on_tensor_cores=False, rows=WARPS * ROWS)
    if sizes.nope % ROWS or sizes.rope % ROWS:
        raise Unavailable(f"heads of {sizes.nope} and {sizes.rope} elements; multiples of {ROWS} are served")
    if packed.scales.dtype != front.dtype:
        raise Unavailable(f"scales are {packed.scales.dtype} and norms {front.dtype}")
    prepared: dict[tuple[int, int], Call] = {}

    def first(b: int, offsets: int) -> Call:
        launch = front.heads(b, offsets, scales, rows=rows and b == 1)
        own = {"Q_RANK": sizes.q_rank, "WARPS": WARPS, "ROWS": ROWS}
        found = prepared[b, offsets] = prepare(
            SOURCE,
            template=dict(launch.template) | own,
            blocks=(packed.w.shape[0] // (WARPS * ROWS), b),
            threads=WARPS * 32,
            outputs=list(zip(launch.output_shapes, launch.output_dtypes, strict=True)),
        )
        return found

    def call(q_normed: mx.array, offsets: mx.array) -> Any:
        key = q_normed.shape[0], offsets.size
        return (prepared.get(key) or first(*key))(inputs=[q_normed, *packed, offsets])

    return call
