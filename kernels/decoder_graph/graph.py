"""Steps through the graph, and the caches that it writes in place."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import mlx.core as mx
from mlx_lm.models.cache import KVCache

from zmlx_bench.measured.api import Unavailable

from .._lib.graph.launches import machine_code, make_graph, program
from .plan import HEADERS, ONE_PASS, Plan, shape_of

_submit: Any = mx.async_eval
SPARES = 4
"""Buffers for outputs; more than steps that are under way at once."""


class Held(NamedTuple):
    """The arrays of a sequence's caches as the last step left them."""

    keys: list[mx.array]
    values: list[mx.array]
    buffers: Any
    end: int
    capacity: int


class GraphSteps:
    """call(h (1, 1, D), offset, attends, caches) -> the last norm (1, 1, D), as `Steps` is called.

    A cache's arrays are written in place only where this object made them, for this very cache, and left off at its
    offset. Any other cache's rows are copied first: a trimmed one, a copy, one that stock wrote to.
    """

    def __init__(self, stack: Any, steps: Callable[..., Any], extension: ModuleType) -> None:
        """Put the graphs of both forms of attention together; raise Unavailable where the compiler fails."""
        self._steps, self._extension, self._shape = steps, extension, shape_of(stack)
        plan = Plan(stack, self._shape, extension)
        launches = [plan.launches(long=long) for long in (False, True)]
        spares = [mx.zeros((1, 1, self._shape.d), self._shape.dtype) for _ in range(2 * SPARES)]
        mx.eval(spares)
        try:
            code = machine_code(extension, program(HEADERS, [*launches[0], *launches[1]]))
        except RuntimeError as error:
            raise Unavailable(f"decoder_graph: {error}") from error
        self._one_pass = make_graph(extension, code, launches[0], spares[:SPARES])
        self._two_passes = make_graph(extension, code, launches[1], spares[SPARES:])
        # Never the same twice, whatever the sequence: a launch waits for values of its own step.
        self._numbers = itertools.count(1)
        self._held: weakref.WeakKeyDictionary[Any, Held] = weakref.WeakKeyDictionary()

    def __call__(self, h: mx.array, offset: Any, attends: Sequence[Callable[..., Any]], caches: Sequence[Any]) -> Any:
        """Do a step; append to every cache."""
        if not self._serves(h, caches):
            return self._steps(h=h, offset=offset, attends=attends, caches=caches)
        held = self._held.get(caches[0])
        if held is None or not _is_held(held, caches):
            held = self._hold(caches)
        end = held.end + 1
        graph = self._one_pass if end <= ONE_PASS else self._two_passes
        out = self._extension.step(h, graph, held.buffers, [held.end, held.capacity, next(self._numbers) % (1 << 31)])
        for each in caches:
            each.offset = end
        self._held[caches[0]] = held._replace(end=end)
        return out

    def _serves(self, h: mx.array, caches: Sequence[Any]) -> bool:
        s = self._shape
        if h.shape != (1, 1, s.d) or h.dtype != s.dtype or len(caches) != s.layers:
            return False
        start = caches[0].offset
        if not all(type(each) is KVCache and each.offset == start for each in caches):
            return False
        if start == 0:
            return True
        row = (1, s.hk, s.hd)
        return all(
            (*kept.shape[:2], kept.shape[3]) == row and kept.dtype == s.dtype
            for each in (caches[0], caches[-1])
            for kept in (each.keys, each.values)
        )

    def _hold(self, caches: Sequence[Any]) -> Held:
        """Give every cache arrays of its own with room for more rows."""
        s, end = self._shape, caches[0].offset
        capacity = (end // KVCache.step + 1) * KVCache.step
        room = mx.zeros((1, s.hk, capacity - end, s.hd), s.dtype)

        def with_room(rows: mx.array | None) -> mx.array:
            if end == 0 or rows is None:
                return mx.zeros((1, s.hk, capacity, s.hd), s.dtype)
            return mx.concatenate([rows[..., :end, :], room], axis=2)

        keys = [with_room(each.keys) for each in caches]
        values = [with_room(each.values) for each in caches]
        _submit(keys, values)
        for each, own_keys, own_values in zip(caches, keys, values, strict=True):
            each.keys, each.values = own_keys, own_values
        arrays = [one for both in zip(keys, values, strict=True) for one in both]
        return Held(keys, values, self._extension.Buffers(arrays), end, capacity)


def _is_held(held: Held, caches: Sequence[Any]) -> bool:
    if held.end == held.capacity:
        return False
    end = held.end
    return all(
        each.keys is keys and each.values is values and each.offset == end
        for each, keys, values in zip(caches, held.keys, held.values, strict=True)
    )
