"""Steps through the chain."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable

from .._lib.graph.compiled import machine_code
from .._lib.graph.embedding import Embedding, Given
from .._lib.graph.held import Held, Rows, Sequences, spares
from .._lib.graph.launches import Planned, make_chain, program
from .._lib.graph.steps import StackSteps
from .plan import HEADERS, Plan
from .shape import Shape, shape_of

SCORES = 3
"""Arrays of a score for each head and key: by latent, by place, and the weights."""


class ChainSteps(StackSteps):
    """Steps of a stack with latent attention."""

    def __init__(self, stack: Any, extension: ModuleType, embedding: Embedding, *, ahead: bool) -> None:
        """Put the chain together; raise Unavailable where the compiler fails. `ahead`: each step has the next one
        captured."""
        s = shape_of(stack)
        super().__init__(stack, s.d, rows_of(s), sequences(s, extension), embedding)
        self._extension, self._ahead = extension, ahead
        links = Plan(stack, s, extension, embedding).links()
        try:
            text = program(HEADERS, [each for each in links if isinstance(each, Planned)])
            code = machine_code(extension, text)
        except RuntimeError as error:
            raise Unavailable(f"mla_graph: {error}") from error
        self.chain = make_chain(extension, code, links, spares(s.d, s.dtype))

    def _step(self, given: Given, held: Held) -> mx.array:
        end = held.end + 1
        out: mx.array = self._extension.step(given.value, self.chain, held.buffers, [held.end, end, given.kind])
        if self._ahead and end < held.capacity:
            self.chain.prepare(held.buffers, [end, end + 1, given.kind])
        return out

    def _serves(self, h: mx.array, caches: Sequence[Any]) -> bool:
        # MLX multiplies one key by another kernel.
        return super()._serves(h, caches) and caches[0].offset > 0


def rows_of(s: Shape) -> Rows:
    """Return what a step appends: the latent as the key, the positions' part as the value, as mlx-lm keeps them."""
    return Rows(s.layers, 1, s.rank, s.rope, s.dtype)


def sequences(s: Shape, extension: ModuleType) -> Sequences:
    """Return sequences with scores beside their caches."""
    return Sequences(
        rows_of(s), extension, lambda capacity: [mx.zeros((s.heads, capacity), s.dtype) for _ in range(SCORES)]
    )
