"""The launch on Metal: a simdgroup for 4 rows of gate and of up, which share the loads of x."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx

from ..gpu.cuda_rows import Weights
from ..gpu.launch import Launch, Run
from ..gpu.metal_qmv import LANES, SIMDGROUPS, loop, read_qmv, swiglu, tiles

INPUTS = ("x", "inds", "gate_w", "gate_s", "gate_b", "up_w", "up_s", "up_b")
SOURCE = read_qmv(Path(__file__).resolve().parent, "swiglu", INPUTS, "h")


def plan(shape: tuple[int, ...], gate: Weights, mode: str) -> Launch:
    """Return the launch for inds of `shape` (B, L, k), but for its inputs; its output is h (B, L, k, I)."""
    _, n, packed = gate.w.shape
    dtype, places = gate.scales.dtype, shape[-1]
    slots = places
    for size in shape[:-1]:
        slots *= size
    template = [*loop(mode, dtype, n, packed * 8), *swiglu(dtype), ("PLACES", places)]
    grid = (LANES, tiles(n) * SIMDGROUPS, slots)
    return Launch(SOURCE, (), [(*shape, n)], [dtype], grid, (LANES, SIMDGROUPS, 1), template)


def experts(gate: Weights, up: Weights, mode: str, run: Run) -> Callable[[mx.array, mx.array], mx.array]:
    """Return experts(x, inds) over the packed weights (E, I, D / 8) of gate and up."""
    launches: dict[tuple[int, ...], Launch] = {}

    def call(x: mx.array, inds: mx.array) -> mx.array:
        launch = launches.get(inds.shape)
        if launch is None:
            launch = launches[inds.shape] = plan(inds.shape, gate, mode)
        return run(launch._replace(inputs=(x, inds, *gate, *up)))[0]

    return call
