"""The launch on Metal: a threadgroup for 4 rows of a token, a simdgroup of it for each of the token's experts."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from .._lib.gpu.launch import Launch
from .._lib.gpu.metal_qmv import LANES, ROWS, loop, read_qmv
from .._lib.gpu.moe_block import check_order

INPUTS = ("h", "inds", "scores", "w", "scales", "biases")
SOURCE = read_qmv(Path(__file__).resolve().parent, "down_combine", INPUTS, "out")
MOST_PLACES = 1024 // LANES


def plan(mode: str, h: mx.array, inds: mx.array, scores: mx.array, *packed: mx.array) -> Launch:
    """Return the launch for h (B, L, k, I), inds, scores (B, L, k) and the packed down; its output is (B, L, D).

    `packed` are words (E, D, I / 8), scales and biases (E, D, I / 64). Scores, products and partial sums are rounded
    to P: in mode `stock` to the scores' dtype, to which MLX promotes y * scores (the model's dtype, or
    float32), else to float32. Raises ValueError for more experts a token than a threadgroup has simdgroups, and
    Unavailable where MLX adds them in another order.
    """
    *tokens, places, k = h.shape
    check_order(mode, "metal", places)
    if places > MOST_PLACES:
        raise ValueError(f"{places} experts a token; at most {MOST_PLACES} are served")
    n = packed[0].shape[1]
    template = [
        *loop(mode, h.dtype, n, k),
        ("PLACES", places),
        ("P", scores.dtype if mode == "stock" else mx.float32),
        ("FUSED", mode == "fp32"),
    ]
    grid = (LANES, places * -(-n // ROWS), inds.size // places)
    return Launch(SOURCE, (h, inds, scores, *packed), [(*tokens, n)], [h.dtype], grid, (LANES, places, 1), template)
