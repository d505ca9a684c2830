"""What the Metal launches of the quantised MoE kernels share: their header and the constants of their loops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable

from .launch import Source, read_metal
from .packed import SERVED

_HEADER = (Path(__file__).resolve().parent / "metal_qmv.h").read_text()
LANES = 32
ROWS = 4
"""Output rows of a simdgroup (of gate and of up each), as in MLX's own kernels."""
SIMDGROUPS = 2

Template = list[tuple[str, mx.Dtype | int | bool]]


def read_qmv(folder: Path, name: str, inputs: Sequence[str], output: str, header: str = "") -> Source:
    """Read `<name>.metal` from `folder` as a source over metal_qmv.h and `header`."""
    return read_metal(folder, name, inputs, (output,), _HEADER + header)


def loop(mode: str, dtype: mx.Dtype, n: int, k: int) -> Template:
    """Return the constants for `n` rows of `k` weights: MLX takes its fast kernel where both sizes fill its tile.

    Raises Unavailable for an x of another type than weights have: the text would not compile.
    """
    if dtype not in SERVED:
        raise Unavailable(f"activations are {dtype}; bfloat16 and float16 are served on Metal")
    fast = n % 8 == 0 and k % 512 == 0
    return [
        ("T", dtype),
        ("N", n),
        ("K", k),
        ("VALUES", 16 if fast else 8),
        ("ROWS", ROWS),
        ("STOCK", mode == "stock"),
        ("CONTRACT", mode != "fp32_no_fma"),
    ]


def dense_as_gathered(n: int, k: int) -> None:
    """Raise Unavailable for `n` dense rows of `k` weights that MLX multiplies in another loop than gathered ones.

    Read in 0.32.4's binaries: the dense product takes its fast kernel by k alone, and for 64 and 128 one of its own.
    """
    if n % 8 or k in (64, 128):
        raise Unavailable(
            f"MLX on Metal has a loop of its own for {n} dense rows of {k} weights, which is not repeated"
        )


def swiglu(dtype: mx.Dtype) -> Template:
    """Return the constants of SwiGLU and of its grid: S is the type of the sigmoid's steps, see metal_qmv.h."""
    return [("S", mx.bfloat16 if dtype == mx.bfloat16 else mx.float32), ("SIMDGROUPS", SIMDGROUPS)]


def tiles(n: int) -> int:
    """Return how many threadgroups of SIMDGROUPS x ROWS rows `n` rows need."""
    return -(-n // (ROWS * SIMDGROUPS))
