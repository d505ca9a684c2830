"""The launch on Metal: a threadgroup for 4 rows of a token, a simdgroup of it for each of the token's experts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx

from zmlx_bench.patch.contract import Unavailable

from ..gpu.cuda_rows import Weights
from ..gpu.launch import Launch, Run
from ..gpu.metal_qmv import LANES, ROWS, loop, read_qmv

INPUTS = ("h", "inds", "scores", "w", "scales", "biases")
SOURCE = read_qmv(Path(__file__).resolve().parent, "down_combine", INPUTS, "out")
MOST_PLACES = 1024 // LANES


def plan(shape: tuple[int, ...], down: Weights, scores: mx.Dtype, mode: str) -> Launch:
    """Return the launch for inds of `shape` (B, L, k), but for its inputs; its output is (B, L, D).

    Scores, products and partial sums are rounded to P: in mode `stock` to `scores`, their dtype, to which MLX
    promotes y * scores (Qwen: the model's dtype, GLM: float32), else to float32.
    """
    *leading, places = shape
    if places > MOST_PLACES:
        raise Unavailable(f"{places} experts a token; at most {MOST_PLACES} are served")
    _, n, packed = down.w.shape
    dtype = down.scales.dtype
    tokens = 1
    for size in leading:
        tokens *= size
    template = [
        *loop(mode, dtype, n, packed * 8),
        ("PLACES", places),
        ("P", scores if mode == "stock" else mx.float32),
        ("FUSED", mode == "fp32"),
    ]
    grid = (LANES, places * -(-n // ROWS), tokens)
    return Launch(SOURCE, (), [(*leading, n)], [dtype], grid, (LANES, places, 1), template)


def down_combine(down: Weights, mode: str, run: Run) -> Callable[[mx.array, mx.array, mx.array], mx.array]:
    """Return down_combine(h, inds, scores) over the packed weights (E, D, I / 8)."""
    launches: dict[tuple[int, ...], Launch] = {}

    def call(h: mx.array, inds: mx.array, scores: mx.array) -> mx.array:
        launch = launches.get(inds.shape)
        if launch is None:
            launch = launches[inds.shape] = plan(inds.shape, down, scores.dtype, mode)
        return run(launch._replace(inputs=(h, inds, scores, *down)))[0]

    return call
