"""A launch whose shapes, template and grid are settled once, so that a call only hands over its inputs.

The template's types and numbers become constants of the source: MLX reads a template anew at every call.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from .launch import WORDS, Launch, Source, check_taken
from .text import by_reference, short

Call = Callable[..., list[mx.array]]
"""Takes `inputs=`, the arrays of the launch in its order, and `output_shapes=` where they are not the settled ones;
lazy as every operation of MLX."""
Settle = Callable[[Launch], Call]
Template = tuple[tuple[str, mx.Dtype | int | bool], ...]

TYPES = {
    "metal": {mx.float32: "float", mx.float16: "half", mx.bfloat16: "bfloat16_t"},
    "cuda": {mx.float32: "float", mx.float16: "__half", mx.bfloat16: "__nv_bfloat16"},
}


def settler(backend: str) -> Settle:
    """Return what settles a launch on `backend`, "metal" or "cuda"; its inputs are not looked at."""

    def settle(launch: Launch) -> Call:
        return functools.partial(
            _kernel(launch.source, backend, tuple(launch.template)),
            grid=launch.grid,
            threadgroup=launch.threadgroup,
            output_shapes=list(launch.output_shapes),
            output_dtypes=list(launch.output_dtypes),
        )

    return settle


def by_shape(settle: Settle, plan: Callable[..., Launch]) -> Callable[..., list[mx.array]]:
    """Return run(*inputs), which settles plan(*inputs) once for each shape of the first input.

    The shapes of the other inputs and all dtypes have to follow from that shape.
    """
    settled: dict[tuple[int, ...], Call] = {}

    def run(*inputs: mx.array) -> list[mx.array]:
        shape = inputs[0].shape
        call = settled.get(shape)
        if call is None:
            call = settled[shape] = settle(plan(*inputs))
        return call(inputs=inputs)

    return run


def bits(value: float) -> int:
    """Return the bits of a float32: a template holds no floats."""
    return int(np.float32(value).view(np.int32))


def constants(template: Template, backend: str) -> str:
    """Return the template as declarations for the head of a body."""
    lines = []
    for name, value in template:
        if isinstance(value, bool):
            lines.append(f"constexpr bool {name} = {str(value).lower()};")
        elif isinstance(value, int):
            lines.append(f"constexpr int {name} = {value};")
        else:
            lines.append(f"using {name} = {TYPES[backend][value]};")
    return "\n".join(lines) + "\n"


@functools.cache
def _kernel(source: Source, backend: str, template: Template) -> Any:
    check_taken(source, backend)
    head, header = constants(template, backend), WORDS[backend] + source.header
    # MLX knows compiled kernels by their names, and the constants are no longer part of it.
    name = f"{source.name}_{hashlib.sha256(f'{head}{source.body}{header}'.encode()).hexdigest()[:12]}"
    names: dict[str, Any] = {
        "name": name,
        "input_names": list(source.inputs),
        "output_names": list(source.outputs),
        "ensure_row_contiguous": not source.strided,
    }
    if backend == "metal":
        return mx.fast.metal_kernel(**names, source=head + short(source.body), header=short(header))
    return mx.fast.cuda_kernel(**names, source=head + by_reference(source.body), header=by_reference(header))
