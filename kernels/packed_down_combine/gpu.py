"""The launch on Metal: a threadgroup for 4 rows of a token, a simdgroup of it for each of the token's experts."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from .._lib.gpu.launch import Launch
from .._lib.gpu.metal_packed import loop, read_packed
from .._lib.gpu.metal_qmv import LANES, ROWS
from .._lib.gpu.moe_block import check_order
from .._lib.gpu.packed_weights import Form

INPUTS = ("h", "inds", "scores", "w", "scales", "biases", "bias")
SOURCE = read_packed(Path(__file__).resolve().parent, "down_combine", INPUTS, "out")


def plan(form: Form, h: mx.array, inds: mx.array, scores: mx.array, *packed: mx.array) -> Launch:
    """Return the launch for h (B, L, k, I), inds, scores (B, L, k) and the packed down; its output is (B, L, D).

    `packed` are words (E, D, I * bits / 32), scales and biases (E, D, I / group_size), then the biases (E, D) of its
    rows, for which the scales stand where they have none. Products and partial sums are
    rounded to the scores' dtype, to which MLX promotes y * scores (the model's dtype, or float32). Raises Unavailable
    where MLX adds as many experts in another order.
    """
    *tokens, places, k = h.shape
    check_order("stock", "metal", places)
    n = packed[0].shape[1]
    template = [*loop(form.packing, h.dtype, n, k), ("BIASED", form.biased), ("PLACES", places), ("P", scores.dtype)]
    grid = (LANES, places * -(-n // ROWS), inds.size // places)
    return Launch(SOURCE, (h, inds, scores, *packed), [(*tokens, n)], [h.dtype], grid, (LANES, places, 1), template)
