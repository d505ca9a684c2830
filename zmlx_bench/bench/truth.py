"""How an output compares: with stock's bit for bit, and with a float32 reference on the same inputs and weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from zmlx_bench.bench.schema import Deviation
from zmlx_bench.measured.inputs import Filled, Values, ready
from zmlx_bench.measured.steps import Span

_BITS = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32, 8: mx.uint64}


def differing(ours: Sequence[mx.array], stock: Sequence[mx.array]) -> tuple[int, int]:
    """Return how many elements differ in any bit, and how many there are. Another dtype differs wholly.

    ValueError for another number of outputs or another shape, whatever the mode's numerics: the model cannot go on.
    """
    if len(ours) != len(stock):
        raise ValueError(f"it returns {len(ours)} arrays where the unpatched model has {len(stock)}")
    differ = total = 0
    for number, (a, b) in enumerate(zip(ours, stock, strict=True), 1):
        if a.shape != b.shape:
            raise ValueError(
                f"array {number} of {len(stock)} that it returns has shape {a.shape}, the unpatched model's {b.shape}"
            )
        total += b.size
        if a.dtype != b.dtype:
            differ += b.size
            continue
        bits = _BITS[a.dtype.size]
        changed: Any = mx.contiguous(a).view(bits) != mx.contiguous(b).view(bits)
        differ += int(np.count_nonzero(np.array(changed)))
    return differ, total


def in_float32(module: Any) -> Any:
    """Return a copy of the module with float32 scales, biases and unquantised weights, none of it shared."""
    other = copy.deepcopy(module)
    other.update(tree_map(_wide, module.parameters()))
    mx.eval(other.parameters())
    return other


def reference(span: Span, module: Any, inputs: Values) -> tuple[Any, ...]:
    """Return the outputs of stock's steps in float32, on the CPU: a GPU's matmuls may round float32 to TF32.

    It works on copies, because CUDA moves what a CPU reads to slower memory, for good.
    """
    wide = {name: _wide(value) for name, value in inputs.items()}
    module = in_float32(module)
    device = mx.default_device()
    mx.disable_compile()
    mx.set_default_device(mx.cpu)
    try:
        outputs = span.stock(module)(**ready(wide))
        mx.eval(outputs)
    finally:
        mx.set_default_device(device)
        mx.enable_compile()
    return outputs


def deviation(span: Span, outputs: Sequence[mx.array], truth: Sequence[mx.array], experts: int) -> Deviation:
    """Return how far the outputs are from the reference's, all of them together.

    Selected experts and their scores are compared as one weight for each expert, in whatever order they come.
    """
    largest = squares = size = 0.0
    for ours, theirs in zip(_comparable(span, outputs, experts), _comparable(span, truth, experts), strict=True):
        difference = ours - theirs
        largest = max(largest, float(np.abs(difference).max()))
        squares += float((difference**2).sum())
        size += float((theirs**2).sum())
    return Deviation(largest=largest, relative=math.sqrt(squares / size) if size else 0.0)


def _comparable(span: Span, outputs: Sequence[mx.array], experts: int) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    named = dict(zip(span.outputs, outputs, strict=True))
    inds = named.pop("inds", None)
    if inds is not None:
        chosen = np.array(inds).reshape(-1, inds.shape[-1])
        weights = np.zeros((chosen.shape[0], experts))
        np.put_along_axis(weights, chosen, _double(named.pop("scores")).reshape(chosen.shape), -1)
        return [weights, *(_double(value) for value in named.values())]
    return [_double(value) for value in named.values()]


def _double(value: mx.array) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(value.astype(mx.float32)).astype(np.float64)


def _wide(value: Any) -> Any:
    if isinstance(value, Filled) or (isinstance(value, mx.array) and value.dtype in (mx.bfloat16, mx.float16)):
        return value.astype(mx.float32)
    return value * 1 if isinstance(value, mx.array) else value
