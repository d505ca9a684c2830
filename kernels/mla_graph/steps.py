"""Steps through the chain."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable

from .._lib.graph.compiled import machine_code
from .._lib.graph.held import Rows, Sequences, spares
from .._lib.graph.launches import Planned, make_chain, program
from .plan import HEADERS, Plan
from .shape import Shape, shape_of

SCORES = 3
"""Arrays of a score for each head and key: by latent, by place, and the weights."""


class ChainSteps:
    """call(h (1, 1, D), caches, ...) -> the last norm (1, 1, D), as `Steps` is called."""

    def __init__(self, stack: Any, extension: ModuleType, *, ahead: bool) -> None:
        """Put the chain together; raise Unavailable where the compiler fails. `ahead`: each step has the next one
        captured."""
        self._stack, self._extension, self._shape, self._ahead = stack, extension, shape_of(stack), ahead
        links = Plan(stack, self._shape, extension).links()
        try:
            text = program(HEADERS, [each for each in links if isinstance(each, Planned)])
            code = machine_code(extension, text)
        except RuntimeError as error:
            raise Unavailable(f"mla_graph: {error}") from error
        self.chain = make_chain(extension, code, links, spares(self._shape.d, self._shape.dtype))
        self._rows = rows_of(self._shape)
        self._sequences = sequences(self._shape, extension)

    def __call__(self, h: mx.array, caches: Sequence[Any], **_: Any) -> Any:
        """Do a step; append to every cache."""
        if not self._serves(h, caches):
            return self._stock(h, caches)
        held = self._sequences.hold(caches)
        end = held.end + 1
        out = self._extension.step(h, self.chain, held.buffers, [held.end, end])
        if self._ahead and end < held.capacity:
            self.chain.prepare(held.buffers, [end, end + 1])
        self._sequences.advance(caches, held)
        return out

    def _stock(self, h: mx.array, caches: Sequence[Any]) -> Any:
        for layer, cache in zip(self._stack.pipeline_layers, caches, strict=True):
            h = layer(h, None, cache)
        return self._stack.norm(h)

    def _serves(self, h: mx.array, caches: Sequence[Any]) -> bool:
        # MLX multiplies one key by another kernel.
        s = self._shape
        return h.shape == (1, 1, s.d) and h.dtype == s.dtype and self._rows.fit(caches) and caches[0].offset > 0


def rows_of(s: Shape) -> Rows:
    """Return what a step appends: the latent as the key, the positions' part as the value, as mlx-lm keeps them."""
    return Rows(s.layers, 1, s.rank, s.rope, s.dtype)


def sequences(s: Shape, extension: ModuleType) -> Sequences:
    """Return sequences with scores beside their caches."""
    return Sequences(
        rows_of(s), extension, lambda capacity: [mx.zeros((s.heads, capacity), s.dtype) for _ in range(SCORES)]
    )
