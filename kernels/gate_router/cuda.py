"""The launches on CUDA: a thread block multiplies the gate's rows for a token, and one of its warps is the router."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from zmlx_bench.measured.api import Unavailable, require_parts

from .._lib.gpu.cuda import CudaLaunch, CudaSource, Template, number, prepare, read_cuda
from .._lib.gpu.launch import WORDS, Source
from .._lib.gpu.packed import GROUP, SERVED
from .._lib.gpu.settle import Call
from ..moe_router.gpu import LANES, MOST_EXPERTS, SIGMOID, SOFTMAX

_FOLDER = Path(__file__).resolve().parent
Router = Callable[[mx.array], Any]
WARPS = 16
GATES_8BIT = (_FOLDER / "gates_8bit.cu").read_text()
"""The gates alone, which decoder_step takes over."""


def _source(gates: str, inputs: tuple[str, ...], router: Source) -> CudaSource:
    read = read_cuda(_FOLDER, gates, inputs, ("inds", "scores"), "cuda_qmm.h")
    body = f"{read.body}\nif (threadIdx.x < {LANES}) {{\n{router.body}\n}}\n"
    return replace(read, name=f"router_{gates}", body=body, header=read.header + WORDS["cuda"] + router.header)


EIGHT_BIT = _source("gates_8bit", ("x", "w", "scales", "biases"), SOFTMAX)
DENSE = _source("gates_dense", ("x", "w", "correction", "scale"), SIGMOID)


def _check(experts: int, k: int, d: int, step: int, longest: int) -> None:
    if experts > MOST_EXPERTS or experts % WARPS or k > experts or d % step or d > longest:
        raise Unavailable(f"top-{k} of a gate of {experts} rows of {d} weights is not served")


def plan(source: CudaSource, template: Template, leading: tuple[int, ...], scores: mx.Dtype) -> CudaLaunch:
    """Return the launch for x of shape (*leading, D): inds (*leading, K) uint32, scores (*leading, K)."""
    shape = (*leading, number(template, "K"))
    return CudaLaunch(
        source,
        template={**template, "WARPS": WARPS, "STRIDE": 0},
        blocks=(1, math.prod(leading)),
        threads=LANES * WARPS,
        outputs=[(shape, mx.uint32), (shape, scores)],
    )


def softmax(block: Any) -> Router:
    """Return router(x) for a MoE block whose gate is quantised to 8 bit; raise Unavailable for another."""
    require_parts("gate_router", block, "gate", "top_k", "norm_topk_prob")
    gate, k = block.gate, block.top_k
    if not isinstance(gate, nn.QuantizedLinear) or "bias" in gate:
        raise Unavailable("gate_router needs a quantised gate without bias")
    if (gate.mode, gate.bits, gate.group_size) != ("affine", 8, GROUP) or gate.scales.dtype not in SERVED:
        raise Unavailable(f"the gate is {gate.mode}, {gate.bits} bit; affine 8 bit in groups of {GROUP} is served")
    experts, d, dtype = gate.weight.shape[0], gate.weight.shape[1] * 4, gate.scales.dtype
    _check(experts, k, d, 256, 32 * GROUP)
    constants = {"T": dtype, "D": d, "E": experts, "K": k, "READS": 16 // dtype.size}
    template: Template = {**constants, "ONLINE": True, "NORMALIZE": block.norm_topk_prob}
    packed = (gate.weight, gate.scales, gate.biases)
    launches: dict[tuple[int, ...], Call] = {}

    def call(x: mx.array) -> Any:
        launch = launches.get(x.shape)
        if launch is None:
            launch = launches[x.shape] = prepare(plan(EIGHT_BIT, template, x.shape[:-1], dtype))
        return launch(inputs=[x, *packed])

    return call


def sigmoid_bias(gate: Any, others: Router) -> Router:
    """Return router(x) for a MoEGate with one group of experts; `others` is the router of more than one token.

    MLX multiplies one token's row by a matrix-vector kernel and several on cuBLAS, whose order is its own.
    """
    weight, dtype, k = gate.weight, gate.weight.dtype, gate.top_k
    if dtype not in SERVED:
        raise Unavailable(f"the gate is {dtype}; bfloat16 and float16 are served")
    experts, d = weight.shape
    _check(experts, k, d, 128, 4096)
    constants = {"T": dtype, "D": d, "E": experts, "K": k, "READS": -(-experts // LANES)}
    template: Template = {**constants, "NORMALIZE": k > 1 and gate.norm_topk_prob}
    rest = (weight, gate.e_score_correction_bias, mx.array([gate.routed_scaling_factor], mx.float32))
    one: list[Call] = []

    def call(x: mx.array) -> Any:
        if x.size != d:
            return others(x)
        if not one:
            one.append(prepare(plan(DENSE, template, x.shape[:-1], mx.float32)))
        return one[0](inputs=[x, *rest])

    return call
