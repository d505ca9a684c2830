"""The launch on Metal: gate, up and SwiGLU of a dense MLP, in the loop that MLX takes for as many rows of x."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from .._lib.gpu.launch import Launch
from .._lib.gpu.metal_qmv import LANES, SIMDGROUPS, loop, read_qmv, swiglu, tiles

_FOLDER = Path(__file__).resolve().parent
INPUTS = ("x", "gate_w", "gate_s", "gate_b", "up_w", "up_s", "up_b")
SOURCE = read_qmv(_FOLDER, "swiglu", INPUTS, "h")
WIDE = read_qmv(_FOLDER, "swiglu_wide", INPUTS, "h", (_FOLDER / "metal_wide.h").read_text())
WIDE_SINCE = 15
"""MLX multiplies 2 to 5 rows of x at once from this generation of Apple's GPUs on (M3), else each by itself."""
WIDE_TOKENS = 5


def generation(architecture: str) -> int:
    """Return the generation in the name that the device gives its architecture, as MLX reads it; 0 without one."""
    digits = architecture[-3:-1]
    return int(digits) if digits.isdecimal() else 0


def plan(mode: str, architecture: str, x: mx.array, *packed: mx.array) -> Launch:
    """Return the launch for x (B, L, D) and the packed gate and up; its output is h (B, L, I).

    `packed` are words (I, D / 8), scales and biases (I, D / 64) of gate, and the same of up.
    """
    n, k = packed[0].shape[0], x.shape[-1]
    tokens = x.size // k
    template = [*loop(mode, x.dtype, n, k), *swiglu(x.dtype)]
    source, grid = SOURCE, (LANES, tiles(n) * SIMDGROUPS, tokens)
    if mode == "stock" and 2 <= tokens <= WIDE_TOKENS and generation(architecture) >= WIDE_SINCE:
        used = ("T", "N", "K", "S", "SIMDGROUPS")
        template = [*(constant for constant in template if constant[0] in used), ("TOKENS", tokens)]
        source, grid = WIDE, (LANES, tiles(n) * SIMDGROUPS, 1)
    output = (*x.shape[:-1], n)
    return Launch(source, (x, *packed), [output], [x.dtype], grid, (LANES, SIMDGROUPS, 1), template)
