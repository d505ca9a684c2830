"""Which rows of packed weights the CUDA kernels serve, and the constants of their loops."""

from __future__ import annotations

from zmlx_bench.measured.api import Unavailable

from ..packings import Packing
from .cuda import Template

LONGEST = 8192
"""Most weights of a row: a lane holds its share of two rows in registers."""


def check_rows(packing: Packing, n: int, k: int) -> None:
    """Raise Unavailable unless MLX multiplies `n` rows of `k` weights by the algorithms that are repeated."""
    step = max(64, packing.group_size)
    if n % 128 or k % step:
        raise Unavailable(f"{n} rows of {k} weights; on CUDA multiples of 128 and {step} are served")
    if k > LONGEST:
        raise Unavailable(f"rows of {k} weights; at most {LONGEST} are served on CUDA")


def constants(packing: Packing) -> Template:
    """Return what says in the text how the weights are packed."""
    return {"BITS": packing.bits, "GROUP": packing.group_size, "FLOATS": packing.mode != "affine"}
