"""Steps through the graph."""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable

from .._lib.graph.compiled import machine_code
from .._lib.graph.embedding import Embedding, Given
from .._lib.graph.held import Held, Rows, Sequences, spares
from .._lib.graph.launches import make_graph, program
from .._lib.graph.steps import StackSteps
from .plan import HEADERS, ONE_PASS, Plan, shape_of


class GraphSteps(StackSteps):
    """Steps of a stack whose layers are alike."""

    def __init__(self, stack: Any, extension: ModuleType, embedding: Embedding) -> None:
        """Put the graphs of both forms of attention together; raise Unavailable where the compiler fails."""
        s = shape_of(stack)
        rows = Rows(s.layers, s.hk, s.hd, s.hd, s.dtype)
        super().__init__(stack, s.d, rows, Sequences(rows, extension), embedding)
        self._extension = extension
        plan = Plan(stack, s, extension, embedding)
        one_pass, two_passes = (plan.launches(long=long) for long in (False, True))
        try:
            code = machine_code(extension, program(HEADERS, [*one_pass, *two_passes]))
        except RuntimeError as error:
            raise Unavailable(f"decoder_graph: {error}") from error
        self._one_pass = make_graph(extension, code, one_pass, spares(s.d, s.dtype))
        self._two_passes = make_graph(extension, code, two_passes, spares(s.d, s.dtype))
        # Never the same twice, whatever the sequence: a launch waits for values of its own step.
        self._numbers = itertools.count(1)

    def _step(self, given: Given, held: Held) -> mx.array:
        graph = self._one_pass if held.end < ONE_PASS else self._two_passes
        number = next(self._numbers) % (1 << 31)
        numbers = [held.end, held.capacity, number, given.kind]
        out: mx.array = self._extension.step(given.value, graph, held.buffers, numbers)
        return out
