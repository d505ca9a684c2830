"""The launch on CUDA."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from zmlx_bench.patch.contract import Unavailable

from ..gpu.cuda import prepare, read_cuda
from ..gpu.launch import WORDS
from ..gpu.packed import GROUP, SERVED
from ..gpu.settle import Call
from ..moe_router.gpu import MOST_EXPERTS, SOFTMAX

_GATES = read_cuda(
    Path(__file__).resolve().parent, "gates", ("x", "w", "scales", "biases"), ("inds", "scores"), "cuda_qmm.h"
)
SOURCE = replace(
    _GATES,
    name="gate_router",
    body=f"{_GATES.body}\nif (threadIdx.x < 32) {{\n{SOFTMAX.body}\n}}\n",
    header=_GATES.header + WORDS["cuda"] + SOFTMAX.header,
)
WARPS = 16
STEP = 256
"""Weights a warp takes a step, 8 a lane."""


def gate_router(block: Any) -> Callable[[mx.array], tuple[mx.array, ...]]:
    """Return router(x) for a MoE block whose gate is quantised to 8 bit; raise Unavailable for another."""
    gate = block.gate
    if not isinstance(gate, nn.QuantizedLinear) or "bias" in gate:
        raise Unavailable("gate_router needs a quantised gate without bias")
    if (gate.mode, gate.bits, gate.group_size) != ("affine", 8, GROUP) or gate.scales.dtype not in SERVED:
        raise Unavailable(f"the gate is {gate.mode}, {gate.bits} bit; affine 8 bit in groups of {GROUP} is served")
    experts, d = gate.weight.shape[0], gate.weight.shape[1] * 4
    if experts > MOST_EXPERTS or experts % WARPS or d % STEP or d > 32 * GROUP:
        raise Unavailable(f"a gate of {experts} rows of {d} weights is not served")
    template: dict[str, mx.Dtype | int | bool] = {
        "T": gate.scales.dtype,
        "D": d,
        "E": experts,
        "K": block.top_k,
        "WARPS": WARPS,
        "READS": 16 // gate.scales.dtype.size,
        "STRIDE": 0,
        "ONLINE": True,
        "NORMALIZE": block.norm_topk_prob,
    }
    packed = (gate.weight, gate.scales, gate.biases)
    launches: dict[tuple[int, ...], Call] = {}

    def call(x: mx.array) -> tuple[mx.array, ...]:
        launch = launches.get(x.shape)
        if launch is None:
            *leading, _ = x.shape
            shape = (*leading, template["K"])
            launch = launches[x.shape] = prepare(
                SOURCE,
                template=template,
                blocks=(1, math.prod(leading)),
                threads=32 * WARPS,
                outputs=[(shape, mx.uint32), (shape, template["T"])],
            )
        return tuple(launch(inputs=[x, *packed]))

    return call
