"""Our Metal texts beside the shipped kernels: in the shim, with the same stand-ins and the same lowering of fmuladd."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np

from tests.air.lower import Contraction
from tests.kernels.gpu import module
from tests.shim.run import run_kernel

_WORDS = module("_lib.gpu.launch").WORDS["metal"]
_settle, _text = module("_lib.gpu.settle"), module("_lib.gpu.text")
CONTRACTED = {
    "return scale * dot + sum * bias;": "return fused(scale, dot, mul_rn(sum, bias));",
    "return x[0] * first + x[1] * second + x[2] * third + x[3] * fourth;": (
        "return fused(x[3], fourth, fused(x[2], third, fused(x[0], first, mul_rn(x[1], second))));"
    ),
    "weights[i] = scale * float((word >> (4 * i)) & 0xfu) + bias;": (
        "weights[i] = fused(scale, float((word >> (4 * i)) & 0xfu), bias);"
    ),
    "dot += x[i] * weights[i];": "dot = fused(x[i], weights[i], dot);",
    "return dot + x * q;": "return fused(x, q, dot);",
    "return x[0] * q[0] + x[1] * q[1] + x[2] * q[2] + x[3] * q[3];": (
        "return fused(x[3], q[3], fused(x[2], q[2], fused(x[0], q[0], mul_rn(x[1], q[1]))));"
    ),
}
"""Statements that `contract(on)` makes fmuladd of, in clang's order: a sum of products fuses the left one. The shim's
compiler never contracts."""


def run_ours(launch: Any, contraction: Contraction = "fused") -> list[mx.array]:
    """Run a launch in the text that a Mac gets when it is settled: short, with its constants at its head.

    What stands under `contract(on)` is fused, or not, as the shipped kernels' fmuladd.
    """
    source = launch.source
    header = source.header
    if contraction == "fused":
        for statement, fused in CONTRACTED.items():
            header = header.replace(statement, fused)
        if header == source.header and "contract(on)" in header:
            raise AssertionError("a contracted statement was changed; say in CONTRACTED what it becomes")
    return run_kernel(
        _settle.constants(tuple(launch.template), "metal") + _text.short(source.body),
        _text.short(_WORDS + header),
        inputs=dict(zip(source.inputs, launch.inputs, strict=True)),
        outputs={
            name: (shape, dtype)
            for name, shape, dtype in zip(source.outputs, launch.output_shapes, launch.output_dtypes, strict=True)
        },
        grid=launch.grid,
        threadgroup=launch.threadgroup,
        fast_apart=True,
    )


def changed(launch: Any, right: str, wrong: str) -> Any:
    """Return the launch with one place of its text changed; it must stand there exactly once."""
    source = launch.source
    assert (source.header + source.body).count(right) == 1, right
    return launch._replace(
        source=replace(source, header=source.header.replace(right, wrong), body=source.body.replace(right, wrong))
    )


def differing(got: mx.array, stock: mx.array) -> int:
    """Return how many elements have other bits; any NaN is as another, whose bits no program of MLX reads."""
    assert (got.dtype, got.size) == (stock.dtype, stock.size)
    kind = {2: mx.uint16, 4: mx.uint32}[got.dtype.size]
    bits = [np.array(array.reshape(-1).view(kind)) for array in (got, stock)]
    apart = bits[0] != bits[1]
    if got.dtype != mx.uint32:
        numbers = [np.array(array.reshape(-1).astype(mx.float32)) for array in (got, stock)]
        apart &= ~(np.isnan(numbers[0]) & np.isnan(numbers[1]))
    return int(apart.sum())
