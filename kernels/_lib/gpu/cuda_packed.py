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
SHORTEST_OF_FLOATS = 512
"""Fewest weights of a row of floats: shorter ones MLX 0.32.4 multiplies as it does integers."""


def check_rows(packing: Packing, n: int, k: int) -> None:
    """Raise Unavailable for `n` rows of `k` weights that the kernels do not serve."""
    step = max(64, packing.group_size)
    if n % BLOCK or k % step:
        raise Unavailable(f"{n} rows of {k} weights; on CUDA multiples of {BLOCK} and {step} are served")
    if k > LONGEST:
        raise Unavailable(f"rows of {k} weights; at most {LONGEST} are served on CUDA")
    if packing.mode != "affine" and k < SHORTEST_OF_FLOATS:
        raise Unavailable(f"rows of {k} weights; of {packing.mode} at least {SHORTEST_OF_FLOATS} are served on CUDA")


def most_slots(packing: Packing, n: int) -> int | None:
    """Return how many vectors of `n` rows each, counted over tokens and experts, are served; None for any.

    From 8 on MLX takes affine rows to the tensor cores; its kernel that is repeated wants multiples of 128 of them.
    """
    return ON_TENSOR_CORES - 1 if packing.mode == "affine" and n % 128 else None


def on_tensor_cores(packing: Packing, slots: int) -> bool:
    """Return whether MLX takes `slots` vectors, counted over tokens and experts, to the tensor cores.

    0.32.4 multiplies floats of chosen experts by matrix-vector products, however many there are.
    """
    return packing.mode == "affine" and slots >= ON_TENSOR_CORES


def constants(packing: Packing) -> Template:
    """Return what says in the text how the weights are packed."""
    return {"BITS": packing.bits, "GROUP": packing.group_size, "FLOATS": packing.mode != "affine"}
