"""Which rows of packed weights the CUDA kernels serve, and the constants of their loops."""

from __future__ import annotations

from zmlx_bench.measured.api import Unavailable

from ..packings import Packing
from .cuda import Template
from .cuda_rows import ON_TENSOR_CORES

LONGEST = 8192
"""Most weights of a row: a lane holds its share of two rows in registers."""
BLOCK = 8
"""Rows that a block takes, of gate and of up."""


def check_rows(packing: Packing, n: int, k: int) -> None:
    """Raise Unavailable for `n` rows of `k` weights that the kernels do not serve."""
    step = max(64, packing.group_size)
    if n % BLOCK or k % step:
        raise Unavailable(f"{n} rows of {k} weights; on CUDA multiples of {BLOCK} and {step} are served")
    if k > LONGEST:
        raise Unavailable(f"rows of {k} weights; at most {LONGEST} are served on CUDA")


def most_slots(n: int) -> int | None:
    """Return how many vectors of `n` rows each, counted over tokens and experts, are served; None for any.

    From 8 on MLX takes the tensor cores; its kernel that is repeated wants multiples of 128 rows.
    """
    return None if n % 128 == 0 else ON_TENSOR_CORES - 1


def constants(packing: Packing) -> Template:
    """Return what says in the text how the weights are packed."""
    return {"BITS": packing.bits, "GROUP": packing.group_size, "FLOATS": packing.mode != "affine"}
