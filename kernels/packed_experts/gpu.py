"""The launch on Metal: a simdgroup for 4 rows of gate and of up, which share the loads of x."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from .._lib.gpu.launch import Launch
from .._lib.gpu.metal_packed import loop, read_packed
from .._lib.gpu.metal_qmv import LANES, SIMDGROUPS, swiglu, tiles
from .._lib.gpu.packed_weights import Form

INPUTS = ("x", "inds", "gate_w", "gate_s", "gate_b", "up_w", "up_s", "up_b", "gate_bias", "up_bias")
SOURCE = read_packed(Path(__file__).resolve().parent, "experts", INPUTS, "h")


def plan(form: Form, x: mx.array, inds: mx.array, *packed: mx.array) -> Launch:
    """Return the launch for x (B, L, D), inds (B, L, k) and the packed gate and up; its output is h (B, L, k, I).

    `packed` are words (E, I, D * bits / 32), scales and biases (E, I, D / group_size) of gate, and the same of up, then
    the biases (E, I) of gate's rows and of up's, for which the scales stand where they have none:
    Metal keeps arrays of fewer than 8 elements elsewhere.
    """
    n, k = packed[0].shape[1], x.shape[-1]
    template = [*loop(form.packing, x.dtype, n, k), *swiglu(x.dtype), *form.constants(x.dtype)]
    template.append(("PLACES", inds.shape[-1]))
    grid = (LANES, tiles(n) * SIMDGROUPS, inds.size)
    return Launch(SOURCE, (x, inds, *packed), [(*inds.shape, n)], [x.dtype], grid, (LANES, SIMDGROUPS, 1), template)
