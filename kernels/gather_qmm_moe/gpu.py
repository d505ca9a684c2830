"""The two launches on Metal: those of the single sites with one place more, which is the shared expert."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable

from .._lib.gpu.launch import Launch
from .._lib.gpu.metal_qmv import LANES, ROWS, SIMDGROUPS, dense_as_gathered, loop, read_qmv, swiglu, tiles
from .._lib.gpu.moe_block import check_order
from .._lib.gpu.packed import weights_of
from .._lib.gpu.settle import Settle, by_shape
from ..gather_qmm_down_combine.gpu import MOST_PLACES
from .names import DOWNS, GATES

_FOLDER = Path(__file__).resolve().parent
ALL_EXPERTS = read_qmv(_FOLDER, "all_experts", ("x", "inds", *GATES), "h")
ALL_DOWNS = read_qmv(_FOLDER, "all_downs", ("h", "inds", "scores", *DOWNS), "out")
Call = Callable[[mx.array, mx.array, mx.array], mx.array]


def plan_experts(x: mx.array, inds: mx.array, *packed: mx.array) -> Launch:
    """Return the launch for one token x (1, 1, D) and inds (1, 1, k); its output is h (k + 1, I).

    `packed` are words (E, I, D / 8), scales and biases (E, I, D / 64) of gate and of up, then the shared expert's
    without E.
    """
    n, k = packed[0].shape[1], x.shape[-1]
    template = [*loop("stock", x.dtype, n, k), *swiglu(x.dtype), ("PLACES", inds.size)]
    grid = (LANES, tiles(n) * SIMDGROUPS, inds.size + 1)
    return Launch(
        ALL_EXPERTS, (x, inds, *packed), [(inds.size + 1, n)], [x.dtype], grid, (LANES, SIMDGROUPS, 1), template
    )


def plan_downs(h: mx.array, inds: mx.array, scores: mx.array, *packed: mx.array) -> Launch:
    """Return the launch for one token: h (k + 1, I), inds and scores (1, 1, k) -> out (1, 1, D).

    `packed` are words (E, D, I / 8), scales and biases (E, D, I / 64) of down, then the shared expert's without E.
    Raises Unavailable where MLX adds as many experts in another order.
    """
    check_order("stock", "metal", inds.size)
    places, (n, k) = inds.size, (packed[0].shape[1], h.shape[-1])
    template = [*loop("stock", h.dtype, n, k), ("PLACES", places), ("P", scores.dtype)]
    grid, threadgroup = (LANES, (places + 1) * -(-n // ROWS), 1), (LANES, places + 1, 1)
    return Launch(ALL_DOWNS, (h, inds, scores, *packed), [(1, 1, n)], [h.dtype], grid, threadgroup, template)


def moe(block: Any, settle: Settle, several: Call) -> Call:
    """Return moe(x, inds, scores) for a MoE block with a shared expert; `several` takes more than one token.

    Raises Unavailable where MLX would take another loop for the shared expert than for the routed ones.
    """
    switch, shared = block.switch_mlp, block.shared_experts
    gates = [*weights_of(switch.gate_proj), *weights_of(switch.up_proj)]
    gates += [*weights_of(shared.gate_proj), *weights_of(shared.up_proj)]
    downs = [*weights_of(switch.down_proj), *weights_of(shared.down_proj)]
    _, i, d = switch.gate_proj.weight.shape
    if shared.gate_proj.weight.shape != (i, d) or switch.down_proj.weight.shape[1:] != shared.down_proj.weight.shape:
        raise Unavailable("the shared expert is not of the experts' size")
    dense_as_gathered(i, d * 8)
    dense_as_gathered(switch.down_proj.weight.shape[1], i)
    experts_of, downs_of = by_shape(settle, plan_experts), by_shape(settle, plan_downs)

    def call(x: mx.array, inds: mx.array, scores: mx.array) -> mx.array:
        if inds.size != inds.shape[-1] or inds.size >= MOST_PLACES:
            return several(x, inds, scores)
        h = experts_of(x, inds, *gates)[0]
        return downs_of(h, inds, scores, *downs)[0]

    return call
