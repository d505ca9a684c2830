"""The launch on Metal: gate, up and SwiGLU of a dense MLP, in the loop that MLX takes for as many rows of x."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..gpu.cuda_rows import Weights
from ..gpu.launch import Launch, Run
from ..gpu.metal_qmv import LANES, SIMDGROUPS, loop, read_qmv, swiglu, tiles

_FOLDER = Path(__file__).resolve().parent
INPUTS = ("x", "gate_w", "gate_s", "gate_b", "up_w", "up_s", "up_b")
SOURCE = read_qmv(_FOLDER, "swiglu", INPUTS, "h")
WIDE = read_qmv(_FOLDER, "swiglu_wide", INPUTS, "h", (_FOLDER / "wide.h").read_text())
WIDE_SINCE = 15
"""MLX multiplies 2 to 5 rows of x at once from this generation of Apple's GPUs on (M3), else each by itself."""
WIDE_TOKENS = 5


def generation(architecture: str) -> int:
    """Return the generation in the name that the device gives its architecture, as MLX reads it; 0 without one."""
    digits = architecture[-3:-1]
    return int(digits) if digits.isdecimal() else 0


def plan(shape: tuple[int, ...], gate: Weights, mode: str, architecture: str) -> Launch:
    """Return the launch for x of `shape` (B, L, D), but for its inputs; its output is h (B, L, I)."""
    n, packed = gate.w.shape
    dtype = gate.scales.dtype
    tokens = 1
    for size in shape[:-1]:
        tokens *= size
    template = [*loop(mode, dtype, n, packed * 8), *swiglu(dtype)]
    output = [(*shape[:-1], n)], [dtype]
    if mode == "stock" and 2 <= tokens <= WIDE_TOKENS and generation(architecture) >= WIDE_SINCE:
        template = [(name, value) for name, value in template if name in ("T", "N", "K", "S", "SIMDGROUPS")]
        grid = (LANES, tiles(n) * SIMDGROUPS, 1)
        return Launch(WIDE, (), *output, grid, (LANES, SIMDGROUPS, 1), [*template, ("TOKENS", tokens)])
    return Launch(SOURCE, (), *output, (LANES, tiles(n) * SIMDGROUPS, tokens), (LANES, SIMDGROUPS, 1), template)


def shared_experts(
    mlp: Any, gate: Weights, up: Weights, mode: str, architecture: str, run: Run
) -> Callable[[mx.array], mx.array]:
    """Return shared_experts(x) over the packed weights (I, D / 8); the MLP's own down projection follows."""
    launches: dict[tuple[int, ...], Launch] = {}

    def call(x: mx.array) -> mx.array:
        launch = launches.get(x.shape)
        if launch is None:
            launch = launches[x.shape] = plan(x.shape, gate, mode, architecture)
        out: mx.array = mlp.down_proj(run(launch._replace(inputs=(x, *gate, *up)))[0])
        return out

    return call
