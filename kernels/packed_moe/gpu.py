"""The two launches on Metal: those of the single sites with one place more, which is the shared expert."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from .._lib.gpu.launch import Launch
from .._lib.gpu.metal_packed import loop, read_packed
from .._lib.gpu.metal_qmv import LANES, ROWS, SIMDGROUPS, swiglu, tiles
from .._lib.gpu.moe_block import check_order
from .._lib.packings import Packing
from ..gather_qmm_moe.names import DOWNS, GATES

_FOLDER = Path(__file__).resolve().parent
ALL_EXPERTS = read_packed(_FOLDER, "all_experts", ("x", "inds", *GATES), "h")
ALL_DOWNS = read_packed(_FOLDER, "all_downs", ("h", "inds", "scores", *DOWNS), "out")


def plan_experts(packing: Packing, x: mx.array, inds: mx.array, *packed: mx.array) -> Launch:
    """Return the launch for one token x (1, 1, D) and inds (1, 1, k); its output is h (k + 1, I).

    `packed` are words (E, I, D * bits / 32), scales and biases (E, I, D / group_size) of gate and of up, then the
    shared expert's without E.
    """
    n, k = packed[0].shape[1], x.shape[-1]
    template = [*loop(packing, x.dtype, n, k), *swiglu(x.dtype), ("PLACES", inds.size)]
    grid = (LANES, tiles(n) * SIMDGROUPS, inds.size + 1)
    return Launch(
        ALL_EXPERTS, (x, inds, *packed), [(inds.size + 1, n)], [x.dtype], grid, (LANES, SIMDGROUPS, 1), template
    )


def plan_downs(packing: Packing, h: mx.array, inds: mx.array, scores: mx.array, *packed: mx.array) -> Launch:
    """Return the launch for one token: h (k + 1, I), inds and scores (1, 1, k) -> out (1, 1, D).

    `packed` are words (E, D, I * bits / 32), scales and biases (E, D, I / group_size) of down, then the shared
    expert's without E. Raises Unavailable where MLX adds as many experts in another order.
    """
    check_order("stock", "metal", inds.size)
    places, (n, k) = inds.size, (packed[0].shape[1], h.shape[-1])
    template = [*loop(packing, h.dtype, n, k), ("PLACES", places), ("P", scores.dtype)]
    grid, threadgroup = (LANES, (places + 1) * -(-n // ROWS), 1), (LANES, places + 1, 1)
    return Launch(ALL_DOWNS, (h, inds, scores, *packed), [(1, 1, n)], [h.dtype], grid, threadgroup, template)
