"""Steps through the graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable

from .._lib.graph.compiled import machine_code
from .._lib.graph.held import Rows, Sequences, spares
from .._lib.graph.launches import make_graph, program
from .plan import HEADERS, ONE_PASS, Plan, shape_of


class GraphSteps:
    """call(h (1, 1, D), offset, attends, caches) -> the last norm (1, 1, D), as `Steps` is called."""

    def __init__(self, stack: Any, steps: Callable[..., Any], extension: ModuleType) -> None:
        """Put the graphs of both forms of attention together; raise Unavailable where the compiler fails."""
        self._steps, self._extension, self._shape = steps, extension, shape_of(stack)
        s, plan = self._shape, Plan(stack, self._shape, extension)
        one_pass, two_passes = (plan.launches(long=long) for long in (False, True))
        try:
            code = machine_code(extension, program(HEADERS, [*one_pass, *two_passes]))
        except RuntimeError as error:
            raise Unavailable(f"decoder_graph: {error}") from error
        self._one_pass = make_graph(extension, code, one_pass, spares(s.d, s.dtype))
        self._two_passes = make_graph(extension, code, two_passes, spares(s.d, s.dtype))
        # Never the same twice, whatever the sequence: a launch waits for values of its own step.
        self._numbers = itertools.count(1)
        self._rows = Rows(s.layers, s.hk, s.hd, s.hd, s.dtype)
        self._sequences = Sequences(self._rows, extension)

    def __call__(self, h: mx.array, offset: Any, attends: Sequence[Callable[..., Any]], caches: Sequence[Any]) -> Any:
        """Do a step; append to every cache."""
        if not self._serves(h, caches):
            return self._steps(h=h, offset=offset, attends=attends, caches=caches)
        held = self._sequences.hold(caches)
        graph = self._one_pass if held.end < ONE_PASS else self._two_passes
        out = self._extension.step(h, graph, held.buffers, [held.end, held.capacity, next(self._numbers) % (1 << 31)])
        self._sequences.advance(caches, held)
        return out

    def _serves(self, h: mx.array, caches: Sequence[Any]) -> bool:
        s = self._shape
        return h.shape == (1, 1, s.d) and h.dtype == s.dtype and self._rows.fit(caches)
