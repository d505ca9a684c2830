"""Which of MLX's two CUDA algorithms multiplies quantised rows, and what their kernels here serve."""

from __future__ import annotations

from zmlx_bench.measured.api import Unavailable

from .packed import GROUP

ROW_STEP = 512
"""Weights of a row that MLX's matrix-vector kernel takes a step, 16 a lane: SlotRows::STEP."""
ON_TENSOR_CORES = 8
"""MLX 0.32.4 takes tensor cores from this many rows of x on, counted over tokens and experts."""
ACCURACY = {"stock": 0, "fp32": 1, "fp32_no_fma": 2}


def mma_bytes(k: int) -> int:
    """Shared memory in bytes of 16 rows of `k` weights with their scales and biases: MmaRows::BYTES."""
    row = k // GROUP * 2
    return 16 * k // 2 + 2 * 16 * (row + (16 if row % 64 == 0 else 0))


def check_rows(n: int, k: int, *, on_tensor_cores: bool, rows: int) -> None:
    """Raise Unavailable unless `n` rows of `k` weights suit the algorithm; a block takes `rows` rows."""
    if on_tensor_cores and (k % 128 or n % 128):
        raise Unavailable(f"{n} rows of {k} weights; on tensor cores both are multiples of 128")
    if not on_tensor_cores and (k % GROUP or k > 32 * GROUP):
        raise Unavailable(f"rows of {k} weights; multiples of {GROUP} up to {32 * GROUP} are served")
    if n % rows:
        raise Unavailable(f"{n} rows; a block takes {rows}")
