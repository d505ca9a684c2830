"""The embedding in a step: where a model's own made the row that a step is given, the step takes the token instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable, replace_call, stock_call

from ..gpu.packed import Weights, weights_of
from .launches import Parameter, Planned, array

_BODY = (Path(__file__).resolve().parent / "embed.cu").read_text()
THREADS = 256
_ROW, _TOKEN = 0, 1
"""What a step may be given, as its launches are told."""


class Given(NamedTuple):
    """What a step begins with: a row (1, 1, D), or a token (1, 1) whose row it makes."""

    value: mx.array
    kind: int


class Embedding:
    """A model's embedding of tokens, whose rows a step can make from the tokens where it knows the weights.

    A row that a step has made is never computed for itself: it was put together, and nobody else has asked for it.
    """

    def __init__(self, module: Any, dtype: mx.Dtype) -> None:
        """Remember what `module` gives last, until `undo`; `dtype` is that of a step."""
        self.undo: Callable[[], None] = _nothing
        self.weights = _weights(module, dtype)
        self._last: tuple[mx.array, mx.array] | None = None
        if self.weights is None:
            return
        stock = stock_call(module)

        def call(tokens: mx.array) -> mx.array:
            row: mx.array = stock(tokens)
            if tokens.shape == (1, 1) and tokens.dtype in (mx.int32, mx.uint32):
                self._last = row, tokens
            return row

        self.undo = replace_call(module, call)

    def given(self, row: mx.array) -> Given:
        """Return the token whose row this is, or the row."""
        last = self._last
        return Given(last[1], _TOKEN) if last is not None and last[0] is row else Given(row, _ROW)


def _nothing() -> None:
    pass


def _weights(module: Any, dtype: mx.Dtype) -> Weights | None:
    try:
        found = weights_of(module)
    except Unavailable:
        return None
    return found if found.scales.dtype == dtype else None


def plan_begin(
    extension: ModuleType, embedding: Embedding, x: Parameter, kind: int, after: str, *more: Parameter, made: Parameter
) -> Planned:
    """Return a step's first launch, which makes x (D,) and does what `after` says with `more` and `made`.

    `kind` is the place of the number that says what is given.
    """
    size, dtype, weights = x.value.size, x.dtype, embedding.weights
    given = [Parameter("given", extension.Input(), dtype), Parameter("by_token", extension.Number(kind))]
    if weights is None:
        body = "for (int i = threadIdx.x; i < D; i += blockDim.x) {\n  x[i] = given[i];\n}\n"
        return Planned("begin", body + after, {"D": size}, [*given, *more], [x, made], (1, 1, 1), THREADS)
    given += [array(name, each) for name, each in zip("wsz", weights, strict=True)]
    constants = {"T": dtype, "D": size, "VOCABULARY": weights.w.shape[0]}
    return Planned("begin", _BODY + after, constants, [*given, *more], [x, made], (1, 1, 1), THREADS)
