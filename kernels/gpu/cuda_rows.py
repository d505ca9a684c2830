"""Which of MLX's two CUDA algorithms multiplies quantised rows, and what their kernels here serve."""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx

from zmlx_bench.patch.contract import Unavailable

ON_TENSOR_CORES = 8
"""MLX 0.32.4 takes tensor cores from this many rows of x on, counted over tokens and experts."""
GROUP = 64
ACCURACY = {"stock": 0, "fp32": 1, "fp32_no_fma": 2}
SERVED = (mx.bfloat16, mx.float16)


class Weights(NamedTuple):
    """Packed weights (E, N, K / 8) uint32 or (N, K / 8), scales and biases (E, N, K / 64) or (N, K / 64)."""

    w: mx.array
    scales: mx.array
    biases: mx.array


def weights_of(projection: Any) -> Weights:
    """Return a projection's packed weights; raise Unavailable unless they are affine, 4 bit, in groups of 64."""
    found = tuple(getattr(projection, name, None) for name in ("mode", "bits", "group_size"))
    if found != ("affine", 4, GROUP):
        given = f"{found[0]}, {found[1]} bit in groups of {found[2]}"
        raise Unavailable(f"weights are {given}; affine 4 bit in groups of {GROUP} are served")
    if "bias" in projection:
        raise Unavailable("a projection with a bias of its own is not served")
    if projection.scales.dtype not in SERVED:
        raise Unavailable(f"scales are {projection.scales.dtype}; bfloat16 and float16 are served")
    return Weights(projection.weight, projection.scales, projection.biases)


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
