"""The caches of mlx-lm that steps write in place."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import mlx.core as mx
from mlx_lm.models.cache import KVCache

_submit: Any = mx.async_eval
SPARES = 4
"""Buffers for outputs; more than steps that are under way at once."""


def spares(size: int, dtype: mx.Dtype) -> list[mx.array]:
    """Return buffers for the outputs of a step, (1, 1, size) each, evaluated."""
    found = [mx.zeros((1, 1, size), dtype) for _ in range(SPARES)]
    mx.eval(found)
    return found


@dataclass(frozen=True)
class Rows:
    """What a step appends to each layer's cache: keys (1, heads, 1, of_key) and values (1, heads, 1, of_value)."""

    layers: int
    heads: int
    of_key: int
    of_value: int
    dtype: mx.Dtype

    def fit(self, caches: Sequence[Any]) -> bool:
        """Return whether these are one sequence's own caches, all of one length and, unless empty, of such rows."""
        if len(caches) != self.layers:
            return False
        start = caches[0].offset
        if not all(type(each) is KVCache and each.offset == start for each in caches):
            return False
        return start == 0 or all(
            kept.shape[:2] == (1, self.heads) and kept.shape[3] == width and kept.dtype == self.dtype
            for each in (caches[0], caches[-1])
            for kept, width in ((each.keys, self.of_key), (each.values, self.of_value))
        )


class Held(NamedTuple):
    """The arrays of a sequence's caches as the last step left them."""

    keys: list[mx.array]
    values: list[mx.array]
    buffers: Any
    """The extension's: keys and values of each layer, then what `more` made."""
    end: int
    capacity: int

    def fits(self, caches: Sequence[Any]) -> bool:
        """Return whether the caches are as they were left, with room for another row."""
        return self.end < self.capacity and all(
            each.keys is keys and each.values is values and each.offset == self.end
            for each, keys, values in zip(caches, self.keys, self.values, strict=True)
        )


def _nothing(_: int) -> list[mx.array]:
    return []


class Sequences:
    """The sequences that steps have gone through.

    A cache's arrays are written in place only where this object made them, for this very cache, and left off at its
    offset. Any other cache's rows are copied first: a trimmed one, a copy, one that stock wrote to.
    """

    def __init__(self, rows: Rows, extension: ModuleType, more: Callable[[int], list[mx.array]] = _nothing) -> None:
        """`more` returns further arrays of a sequence, given its capacity."""
        self._rows, self._extension, self._more = rows, extension, more
        self._held: weakref.WeakKeyDictionary[Any, Held] = weakref.WeakKeyDictionary()

    def hold(self, caches: Sequence[Any]) -> Held:
        """Return what a step writes; the caches have to fit the rows."""
        held = self._held.get(caches[0])
        return held if held is not None and held.fits(caches) else self._made(caches)

    def advance(self, caches: Sequence[Any], held: Held) -> None:
        """Note that a step appended a row to every cache."""
        end = held.end + 1
        for each in caches:
            each.offset = end
        self._held[caches[0]] = held._replace(end=end)

    def _made(self, caches: Sequence[Any]) -> Held:
        """Give every cache arrays of its own with room for more rows."""
        rows, end = self._rows, caches[0].offset
        capacity = (end // KVCache.step + 1) * KVCache.step

        def with_room(kept: mx.array | None, width: int) -> mx.array:
            if end == 0 or kept is None:
                return mx.zeros((1, rows.heads, capacity, width), rows.dtype)
            room = mx.zeros((1, rows.heads, capacity - end, width), rows.dtype)
            return mx.concatenate([kept[..., :end, :], room], axis=2)

        keys = [with_room(each.keys, rows.of_key) for each in caches]
        values = [with_room(each.values, rows.of_value) for each in caches]
        more = self._more(capacity)
        _submit(keys, values, more)
        for each, own_keys, own_values in zip(caches, keys, values, strict=True):
            each.keys, each.values = own_keys, own_values
        arrays = [one for both in zip(keys, values, strict=True) for one in both]
        return Held(keys, values, self._extension.Buffers([*arrays, *more]), end, capacity)
